"""SI in Avalanche's own loop has the path integrals of a loop written by hand, and resumes to the bit."""

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from avalanche.logging import TextLogger
from avalanche.training import Naive
from avalanche.training.plugins import EvaluationPlugin, SupervisedPlugin, SynapticIntelligencePlugin
from torch import Tensor, nn
from torch.nn import functional as F

from metaplast.data import TaskTensors
from metaplast.nn import bnn, mlp
from metaplast.optim import MetaplasticAdam
from metaplast.scenarios import Scenario
from metaplast.strategies.plugins.si import SI
from metaplast.strategies.regularization import Weights

N_TASKS, N_IMAGES, N_CLASSES = 3, 30, 4
Batch = tuple[Tensor, Tensor]


@pytest.fixture(scope="module")
def experiences() -> Any:
    generator = torch.Generator().manual_seed(0)
    tasks = [
        TaskTensors(
            torch.randint(256, (N_IMAGES, 1, 3, 3), generator=generator) / 256,  # sums of such pixels are exact
            torch.randint(N_CLASSES, (N_IMAGES,), generator=generator),
        )
        for _ in range(N_TASKS)
    ]
    return Scenario.from_tensors(tasks, tasks, N_CLASSES).benchmark.train_stream


def network(kind: str, **settings: Any) -> nn.Sequential:
    torch.manual_seed(0)
    makers: dict[str, Callable[..., nn.Sequential]] = {"bnn": bnn, "mlp": mlp}
    return makers[kind]((1, 3, 3), N_CLASSES, hidden=[12], **settings)


class Recorder(SupervisedPlugin):  # type: ignore[misc]
    """The batches of each experience, and the path integrals at its end."""

    def __init__(self, plugin: Any) -> None:
        super().__init__()
        self.plugin = plugin
        self.batches: list[list[Batch]] = []
        self.paths: list[dict[str, Tensor]] = []

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.batches.append([])

    def before_forward(self, strategy: Any, **kwargs: Any) -> None:
        self.batches[-1].append((strategy.mb_x, strategy.mb_y))

    def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        self.paths.append({name: path.clone() for name, path in self.plugin.integral.items()})


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    return MetaplasticAdam(model.parameters(), lr=0.02)


def train(model: nn.Module, plugins: list[Any], experiences: Any) -> dict[str, Tensor]:
    """Train on each experience, in an order of batches that only its number decides, and return the parameters."""
    evaluator = EvaluationPlugin(loggers=TextLogger(io.StringIO()))
    strategy = Naive(
        model=model,
        optimizer=optimizer_of(model),
        train_mb_size=5,
        train_epochs=1,
        plugins=plugins,
        evaluator=evaluator,
    )
    for experience in experiences:
        torch.manual_seed(experience.current_experience)
        strategy.train(experience)
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def by_hand(
    model: nn.Module, tasks: list[list[Batch]], c: float, xi: float, binary: bool, binary_path: bool
) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
    """Path integrals of every task and importances at the end; the parameters of `model` are trained."""
    hidden = {name: p for name, p in model.named_parameters() if name.startswith("layer")}

    def weights(binary: bool) -> dict[str, Tensor]:
        if not binary:
            return dict(hidden)
        return {name: h + (torch.where(h < 0, -1.0, 1.0) - h).detach() for name, h in hidden.items()}

    def now(binary: bool) -> dict[str, Tensor]:
        return {name: weight.detach().clone() for name, weight in weights(binary).items()}

    optimizer = optimizer_of(model)
    omega = {name: torch.zeros_like(p) for name, p in hidden.items()}
    anchor, paths = now(binary), []
    model.train()
    for batches in tasks:
        start = now(binary_path)
        paths.append({name: torch.zeros_like(p) for name, p in hidden.items()})
        for x, y in batches:
            loss = F.cross_entropy(model(x), y)
            gradients = torch.autograd.grad(loss, list(hidden.values()), retain_graph=True)
            for name, weight in weights(binary).items():
                loss = loss + c * (omega[name] * (weight - anchor[name]) ** 2).sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            before = now(binary_path)
            optimizer.step()
            for (name, after), g in zip(now(binary_path).items(), gradients, strict=True):
                paths[-1][name] -= g * (after - before[name])
        anchor, end = now(binary), now(binary_path)
        for name, path in paths[-1].items():
            omega[name] = (omega[name] + path / ((end[name] - start[name]) ** 2 + xi)).clamp(min=0)
    return paths, omega


@pytest.mark.parametrize(
    ("kind", "settings", "weights", "path"),
    [
        ("mlp", {"norm": "none"}, "hidden", "hidden"),
        ("mlp", {"norm": "layer"}, "binary", "binary"),
        ("bnn", {}, "binary", "hidden"),
        ("bnn", {}, "binary", "binary"),
        ("bnn", {"norm": "layer", "n_tasks": 3}, "hidden", "hidden"),
    ],
)
def test_path_integrals_on_a_cpu_are_not_zero_and_equal_those_of_a_loop_by_hand(
    kind: str, settings: dict[str, Any], weights: Weights, path: Weights, experiences: Any
) -> None:
    plugin = SI(si_lambda=0.5, xi=0.1, weights=weights, path=path)
    recorder = Recorder(plugin)
    trained = train(network(kind, **settings), [plugin, recorder], experiences)
    model = network(kind, **settings)
    binary, binary_path = (kind == "bnn" and choice == "binary" for choice in (weights, path))
    paths, omega = by_hand(model, recorder.batches, c=0.5, xi=0.1, binary=binary, binary_path=binary_path)
    for ours, expected in zip(recorder.paths, paths, strict=True):
        for name, integral in expected.items():
            assert integral.abs().max() > 0
            torch.testing.assert_close(ours[name], integral, rtol=1e-4, atol=1e-6)  # a penalty's gradient is subtracted
    torch.testing.assert_close(dict(plugin.penalty.importance), omega, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(trained, dict(model.named_parameters()), rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # Avalanche gives tensors to NumPy
def test_avalanches_own_finds_no_importance_on_a_cpu(experiences: Any) -> None:
    plugin = SynapticIntelligencePlugin(si_lambda=0.5)
    train(network("mlp"), [plugin], experiences[:1])
    assert all(path.data.eq(0).all() for path in plugin.syn_data["trajectory"].values())


def test_the_penalty_holds_weights_back(experiences: Any) -> None:
    def moved(si_lambda: float) -> float:
        plugin = SI(si_lambda)
        model = network("mlp")
        train(model, [plugin], experiences[:1])
        anchor = plugin.penalty.centre["layer1.weight"]
        train(model, [plugin], experiences[1:2])
        return float((model.get_parameter("layer1.weight").detach() - anchor).norm())

    assert moved(100.0) < 0.5 * moved(0.0)


def test_importances_are_never_negative(experiences: Any) -> None:
    plugin = SI(0.1)
    train(network("mlp"), [plugin], experiences)
    assert all(importance.ge(0).all() for importance in plugin.penalty.importance.values())


def test_a_step_that_loss_scaling_skips_counts_nothing() -> None:
    class Strategy:
        model = nn.Linear(2, 1)

    plugin = SI(0.1)
    plugin.before_training_exp(Strategy)
    Strategy.model.weight.grad = torch.tensor([[float("inf"), float("nan")]])
    plugin.before_update(Strategy)
    plugin.after_update(Strategy)
    assert plugin.integral["weight"].eq(0).all()


def through_a_file(state: dict[str, Any]) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)  # refuses pickled objects


class Reloaded(SI):
    """Recreated from its saved state after every iteration."""

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        state = through_a_file(self.state_dict())
        self.__init__(0.5)  # type: ignore[misc]
        self.load_state_dict(state)


def test_going_on_from_a_state_saved_at_any_step_gives_the_same_bits(experiences: Any) -> None:
    plugin, reloaded = SI(0.5), Reloaded(0.5)
    whole = train(network("bnn"), [plugin], experiences)
    torch.testing.assert_close(train(network("bnn"), [reloaded], experiences), whole, rtol=0, atol=0)
    torch.testing.assert_close(reloaded.state_dict(), plugin.state_dict(), rtol=0, atol=0)


def test_a_loaded_state_is_not_shared(experiences: Any) -> None:
    one, two = SI(0.5), SI(0.5)
    one.integral = {"w": torch.zeros(1)}
    two.load_state_dict(one.state_dict())
    two.integral["w"].add_(1)
    assert one.integral["w"].item() == 0


class Unheard(nn.Module):
    """A layer that has no say in the loss, and so no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_parameters_without_a_gradient_count_nothing(experiences: Any) -> None:
    plugin = SI(0.5)
    train(nn.Sequential(network("mlp"), Unheard()), [plugin], experiences)
    assert plugin.penalty.importance["1.spare.weight"].eq(0).all()
    assert plugin.penalty.importance["0.layer1.weight"].gt(0).any()
