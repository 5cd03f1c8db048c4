"""EWC in Avalanche's own loop follows a literal version with one term a task, and goes on from its state to the bit."""

import io
import logging
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch
from avalanche.logging import TextLogger
from avalanche.training import Naive
from avalanche.training.plugins import EvaluationPlugin, EWCPlugin, SupervisedPlugin
from torch import Tensor, nn
from torch.nn import functional as F

from metaplast.data import TaskTensors, seed_of
from metaplast.errors import UserError
from metaplast.nn import TaskCrossEntropy, bnn, mlp
from metaplast.scenarios import Scenario, task_tensors
from metaplast.strategies.fisher import Labels, diagonal_fisher
from metaplast.strategies.plugins.ewc import EWC, AvalancheEWC, ewc_plugin
from metaplast.strategies.regularization import Weights, frozen_batchnorm

N_TASKS, N_IMAGES, N_CLASSES = 3, 30, 4


@pytest.fixture(scope="module")
def experiences() -> Any:
    generator = torch.Generator().manual_seed(0)
    tasks = [
        TaskTensors(
            torch.randint(256, (N_IMAGES, 1, 3, 3), generator=generator) / 256,  # sums of such pixels are exact
            torch.randint(N_CLASSES, (N_IMAGES,), generator=generator).sort().values,
        )
        for _ in range(N_TASKS)
    ]
    return Scenario.from_tensors(tasks, tasks, N_CLASSES).benchmark.train_stream


def network(kind: str, **settings: Any) -> nn.Sequential:
    torch.manual_seed(0)
    makers: dict[str, Callable[..., nn.Sequential]] = {"bnn": bnn, "mlp": mlp}
    return makers[kind]((1, 3, 3), N_CLASSES, hidden=[12], **settings)


def naive(model: nn.Module, plugins: list[Any]) -> Naive:
    return Naive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05),
        train_mb_size=10,
        train_epochs=2,
        plugins=plugins,
        evaluator=EvaluationPlugin(loggers=TextLogger(io.StringIO())),
    )


def train(model: nn.Module, plugin: Any, experiences: Any) -> dict[str, Tensor]:
    """Train on each experience, in an order of batches that only its number decides, and return the parameters."""
    strategy = naive(model, [plugin])
    for experience in experiences:
        torch.manual_seed(experience.current_experience)
        strategy.train(experience)
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


class LiteralEWC(SupervisedPlugin):  # type: ignore[misc]
    """λ/2 Σ_t Σ_i F_ti (w_i − w_ti)² written out, with a Fisher information of one sample after the other."""

    def __init__(self, ewc_lambda: float, binary: bool, gamma: float | None) -> None:
        super().__init__()
        self.ewc_lambda, self.binary, self.gamma = ewc_lambda, binary, gamma
        self.terms: list[dict[str, tuple[Tensor, Tensor]]] = []

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        hidden = {name: p for name, p in model.named_parameters() if name.startswith("layer")}
        if not self.binary:
            return dict(hidden)
        return {name: h + (torch.where(h < 0, -1.0, 1.0) - h).detach() for name, h in hidden.items()}

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        weights = self.weights(strategy.model)
        for term in self.terms:
            for name, (fisher, old) in term.items():
                strategy.loss += self.ewc_lambda / 2 * (fisher * (weights[name] - old) ** 2).sum()

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        x, y = task_tensors(strategy.experience).batch(slice(None))
        weights = self.weights(strategy.model)
        total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        strategy.model.eval()
        for n in range(len(x)):
            strategy.model.zero_grad()
            F.cross_entropy(strategy.model(x[n : n + 1]), y[n : n + 1]).backward()  # type: ignore[no-untyped-call]
            for name in total:
                gradient = strategy.model.get_parameter(name).grad
                total[name] += gradient**2 / len(x)
        strategy.model.train()
        if self.gamma is not None and self.terms:
            older = self.terms.pop()
            total = {name: fisher + self.gamma * older[name][0] for name, fisher in total.items()}
        self.terms.append({name: (total[name], weight.detach().clone()) for name, weight in weights.items()})


@pytest.mark.parametrize("mode", [{}, {"mode": "online", "gamma": 0.7}])
@pytest.mark.parametrize(
    ("kind", "settings", "weights", "ewc_lambda"),
    [
        ("bnn", {"norm": "layer"}, "binary", 30.0),
        ("bnn", {"norm": "layer"}, "hidden", 30.0),
        ("bnn", {"test_statistics": "running"}, "binary", 30.0),
        ("mlp", {"norm": "none"}, "binary", 3.0),
        ("mlp", {"norm": "layer", "n_tasks": 3}, "hidden", 3.0),
    ],
)
def test_it_trains_as_the_literal_sum_of_one_term_a_task_does(
    kind: str, settings: dict[str, Any], weights: Weights, ewc_lambda: float, mode: dict[str, Any], experiences: Any
) -> None:
    ours = train(network(kind, **settings), EWC(ewc_lambda, weights=weights, **mode), experiences)
    binary = kind == "bnn" and weights == "binary"
    literal = train(network(kind, **settings), LiteralEWC(ewc_lambda, binary, mode.get("gamma")), experiences)
    without = train(network(kind, **settings), EWC(0.0, weights=weights, **mode), experiences)
    for name, expected in literal.items():
        torch.testing.assert_close(ours[name], expected, rtol=0, atol=1e-6)
    assert any(not torch.allclose(ours[name], without[name], atol=1e-4) for name in ours)


@pytest.mark.parametrize("statistics", ["population", "batch"])
@pytest.mark.parametrize(("fewest", "seen"), [(10, 10), (20, 20), (500, N_IMAGES)])
def test_batch_normalization_uses_the_statistics_of_the_samples_or_of_more_where_these_are_few(
    fewest: int, seen: int, statistics: str, experiences: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metaplast.strategies.plugins.ewc.STATISTICS_SAMPLES", fewest)
    model, plugin = network("bnn", test_statistics=statistics), EWC(30.0, n_samples=10)
    train(model, plugin, experiences[:1])
    x, y = task_tensors(experiences[0]).batch(torch.arange(0, N_IMAGES, 3))  # spread evenly over sorted labels
    images, _ = task_tensors(experiences[0]).batch(torch.arange(seen) * N_IMAGES // seen)
    with frozen_batchnorm(model, lambda: [images]):
        fisher = diagonal_fisher(model, [(x, y)])
    torch.testing.assert_close(plugin.penalty.importance["layer1.weight"], fisher["layer1.weight"])


def consolidated(plugin: EWC, model: nn.Module, experience: Any, criterion: Any = None) -> Mapping[str, Tensor]:
    """The importances after one task, without training."""
    plugin.after_training_exp(SimpleNamespace(model=model, experience=experience, _criterion=criterion))
    return plugin.penalty.importance


def large_task(n: int = 1100) -> Any:
    """More images than are processed at once, of which the last ones are brighter."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(n, 1, 3, 3, generator=generator) * torch.linspace(0.1, 3, n).view(-1, 1, 1, 1)
    task = TaskTensors(images, torch.randint(N_CLASSES, (n,), generator=generator))
    return Scenario.from_tensors([task], [task], N_CLASSES).benchmark.train_stream[0]


@pytest.mark.parametrize("statistics", ["population", "batch"])
def test_the_statistics_are_those_of_all_samples_however_many(statistics: str) -> None:
    model, experience = network("bnn", test_statistics=statistics), large_task()
    x, y = task_tensors(experience).batch(slice(None))
    with frozen_batchnorm(model, lambda: [x]):
        fisher = diagonal_fisher(model, [(x, y)])
    for name, importance in consolidated(EWC(1.0), model, experience).items():
        torch.testing.assert_close(importance, fisher[name], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("n_samples", [1, 2, 3, 5])
def test_the_fisher_information_of_few_samples_is_no_larger_than_their_gradients(n_samples: int) -> None:
    """Of a single image every variance is 0, by which batch normalization would divide."""
    model, experience = network("bnn", test_statistics="batch"), large_task()
    whole, few = (consolidated(EWC(1.0, n_samples=n), model, experience) for n in (None, n_samples))
    for name, importance in few.items():
        assert importance.max() <= 100 * whole[name].max()


@pytest.mark.parametrize("n_samples", [N_IMAGES, N_IMAGES + 1, N_IMAGES + 10, 100 * N_IMAGES + 7])
def test_more_samples_than_the_task_has_are_all_of_them_once(n_samples: int, experiences: Any) -> None:
    model = network("mlp", norm="none")
    whole = consolidated(EWC(1.0), model, experiences[0])
    for name, importance in consolidated(EWC(1.0, n_samples=n_samples), model, experiences[0]).items():
        assert torch.equal(importance, whole[name])


@pytest.mark.parametrize("labels", get_args(Labels))
def test_in_task_incremental_learning_only_the_classes_of_the_task_count(labels: Labels, experiences: Any) -> None:
    model, own = network("mlp", norm="none"), [0, 2]
    x, y = task_tensors(experiences[0]).batch(slice(None))
    task = TaskTensors(x, torch.tensor(own)[y % 2])
    experience = Scenario.from_tensors([task], [task], N_CLASSES).benchmark.train_stream[0]
    criterion = TaskCrossEntropy(N_CLASSES, [own, [1, 3]])
    importance = consolidated(EWC(1.0, labels=labels), model, experience, criterion)
    generator = torch.Generator().manual_seed(seed_of(0, 0))
    masked = diagonal_fisher(model, [task.batch(slice(None))], labels, generator=generator, mask=criterion.mask)
    for name in importance:
        torch.testing.assert_close(importance[name], masked[name])
    assert importance["layer2.weight"][own].gt(0).any()
    assert not importance["layer2.weight"][[1, 3]].any()


@pytest.mark.parametrize("labels", get_args(Labels))
def test_each_kind_of_labels_arrives_at_the_fisher_information(labels: Labels, experiences: Any) -> None:
    model, plugin = network("mlp", norm="none"), EWC(30.0, labels=labels)
    train(model, plugin, experiences[:1])
    data = task_tensors(experiences[0]).batch(slice(None))
    fisher = diagonal_fisher(model, [data], labels, generator=torch.Generator().manual_seed(seed_of(0, 0)))
    torch.testing.assert_close(plugin.penalty.importance["layer1.weight"], fisher["layer1.weight"])


def test_gamma_and_beta_are_penalized_only_when_asked_for(experiences: Any) -> None:
    without, plugin = EWC(30.0), EWC(30.0, norm_parameters=True)
    train(network("bnn"), without, experiences[:1])
    train(network("bnn"), plugin, experiences[:1])
    assert list(without.penalty.importance) == ["layer1.weight", "layer2.weight"]
    assert plugin.penalty.importance.keys() == dict(network("bnn").named_parameters()).keys()


def test_shuffled_importances_are_the_same_ones_in_another_order_within_each_layer(experiences: Any) -> None:
    true, shuffled, again, other = EWC(0.0), *(EWC(0.0, shuffled=True, seed=seed) for seed in (1, 1, 2**16 + 1))
    for plugin in (true, shuffled, again, other):
        train(network("bnn", norm="layer"), plugin, experiences[:1])
    for name, importance in true.penalty.importance.items():
        mixed = shuffled.penalty.importance[name]
        assert torch.equal(mixed.flatten().sort().values, importance.flatten().sort().values)
        assert not torch.equal(mixed, importance)
        assert torch.equal(mixed, again.penalty.importance[name])
        assert not torch.equal(mixed, other.penalty.importance[name])
        assert torch.equal(shuffled.penalty.centre[name], true.penalty.centre[name])


def test_each_task_is_shuffled_in_its_own_way_and_only_the_shuffled_importances_are_kept(experiences: Any) -> None:
    true, shuffled = EWC(0.0, weights="hidden"), EWC(0.0, weights="hidden", shuffled=True)
    for plugin in (true, shuffled):
        train(network("mlp", norm="none"), plugin, [experiences[0], experiences[0]])
    for name, importance in true.penalty.importance.items():
        mixed = shuffled.penalty.importance[name]
        torch.testing.assert_close(mixed.sum(), importance.sum())
        assert not torch.allclose(mixed.flatten().sort().values, importance.flatten().sort().values)


def test_it_holds_no_more_after_three_tasks_than_after_one(experiences: Any) -> None:
    def size(plugin: EWC) -> int:
        penalty = plugin.state_dict()["penalty"]
        return sum(t.numel() for part in ("importance", "centre") for t in penalty[part].values())

    one, three = EWC(30.0), EWC(30.0)
    train(network("bnn"), one, experiences[:1])
    train(network("bnn"), three, experiences)
    assert size(one) == size(three) == 2 * (9 * 12 + 12 * N_CLASSES)


def through_a_file(state: dict[str, Any]) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)  # refuses pickled objects


@pytest.mark.parametrize("mode", [{}, {"mode": "online", "gamma": 0.7}])
def test_fisher_batch_is_avalanches_own(mode: dict[str, Any], experiences: Any) -> None:
    own = EWCPlugin(3.0, mode=mode.get("mode", "separate"), decay_factor=mode.get("gamma"))
    ours = train(network("bnn", norm="layer"), ewc_plugin(3.0, fisher="batch", **mode), experiences)
    torch.testing.assert_close(ours, train(network("bnn", norm="layer"), own, experiences), rtol=0, atol=0)


@pytest.mark.parametrize("mode", [{}, {"mode": "online", "decay_factor": 0.7}])
def test_avalanches_own_goes_on_from_a_saved_state(mode: dict[str, Any], experiences: Any) -> None:
    plugin, resumed = AvalancheEWC(3.0, **mode), AvalancheEWC(3.0, **mode)
    train(network("mlp", norm="layer"), plugin, experiences)
    resumed.load_state_dict(through_a_file(plugin.state_dict()))
    torch.testing.assert_close(resumed.state_dict(), plugin.state_dict(), rtol=0, atol=0)
    losses = []
    for one in (plugin, resumed):
        strategy = naive(network("mlp", norm="layer"), [])
        strategy.clock.train_exp_counter, strategy.loss = N_TASKS, torch.zeros(1)
        one.before_backward(strategy)
        losses.append(strategy.loss.item())
    assert losses[0] == losses[1] > 0


def test_fisher_batch_says_what_it_does_not_use(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        ewc_plugin(1.0, fisher="batch", labels="all")
    assert "weights, labels and n_samples have no effect" in caplog.text


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"mode": "online"}, "gamma=null: expected a number from 0 to 1 with mode=online, got null"),
        ({"gamma": 0.5}, "gamma=0.5: expected null"),
        ({"fisher": "exactly"}, "fisher=exactly: expected one of exact, batch"),
        ({"fisher": "batch", "shuffled": True}, "cannot shuffle its importances; fisher has to be exact here"),
        ({"fisher": "batch", "ewc_lambda": -1}, "ewc_lambda=-1: expected a number >= 0"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text):
        ewc_plugin(**{"ewc_lambda": 1.0, **settings})


def test_what_cannot_be_consolidated_is_refused_before_the_first_step(experiences: Any) -> None:
    per_task = network("bnn", n_tasks=3)
    with pytest.raises(UserError, match=r"norm_parameters=true: model\.norm_per_task=true keeps"):
        train(per_task, EWC(1.0, norm_parameters=True), experiences[:1])
    with pytest.raises(UserError, match="layers of type PReLU are not known"):
        train(nn.Sequential(nn.Flatten(), nn.Linear(9, N_CLASSES), nn.PReLU()), EWC(1.0), experiences[:1])


@pytest.mark.parametrize("n_samples", [1, 2, 3, 10])
def test_a_few_samples_give_a_fisher_information_of_the_usual_size(n_samples: int, experiences: Any) -> None:
    few, all_of_them = EWC(30.0, n_samples=n_samples), EWC(30.0)
    for plugin in (few, all_of_them):
        train(network("bnn"), plugin, experiences[:1])
    for name, importance in few.penalty.importance.items():
        assert importance.sum() < 100 * all_of_them.penalty.importance[name].sum()
