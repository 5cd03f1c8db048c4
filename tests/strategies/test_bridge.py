"""The bridge fires Avalanche's events in Avalanche's order, shows plugins the same things, and does what they ask."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins import EWCPlugin, LwFPlugin, ReplayPlugin
from torch import nn

from metaplast.errors import UserError
from metaplast.nn import bnn
from metaplast.scenarios import Scenario
from metaplast.strategies.adapter import EVENTS
from metaplast.strategies.bridge import Bridge
from metaplast.testing import avalanche_parity
from metaplast.testing.avalanche_parity import (
    EPOCHS,
    LR,
    N_TASKS,
    difference,
    small_digits,
    through_avalanche,
    through_bridge,
)
from metaplast.testing.plugin_docs import CASES, OURS, plain
from metaplast.training.datamodule import Schedule
from metaplast.training.learner import Learner

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Avalanche's, about parts of itself and of NumPy
    pytest.mark.filterwarnings("ignore:No loggers specified"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*"),  # Lightning's, about torch
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
]

BASELINES = (
    "EWCPlugin",
    "SynapticIntelligencePlugin",
    "LwFPlugin",
    "MASPlugin",
    "ReplayPlugin",
    "AGEMPlugin",
    "GEMPlugin",
    "RWalkPlugin",
)
"""Avalanche's own; test_plugin_register.py has ours."""


def small_bnn() -> nn.Module:
    return bnn((1, 8, 8), 10, hidden=[16], norm="batch", norm_per_task=False, test_statistics="running")


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return small_digits()


class Watcher(SupervisedPlugin):  # type: ignore[misc]
    """Records every event with what it can see."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, Any]]] = []
        for event in EVENTS:
            setattr(self, event, lambda strategy, event=event, **kwargs: self.look(event, strategy))

    def look(self, event: str, strategy: Any) -> None:
        experience = strategy.experience
        things = {
            "clock": dict(vars(strategy.clock)),
            "experience": None
            if experience is None
            else (experience.origin_stream.name, experience.current_experience),
            "training": strategy.is_training,
            "evaluating": strategy.is_eval,
            "mode": [module.training for module in strategy.model.modules()],
            "tests": len(list(strategy.current_eval_stream)),
            "sizes": (strategy.train_mb_size, strategy.train_epochs, strategy.eval_mb_size),
            "adapted": None if strategy.adapted_dataset is None else len(strategy.adapted_dataset),
            "batch": None if strategy.mbatch is None else [part.sum().item() for part in strategy.mbatch],
            "y": None if strategy.mbatch is None else (strategy.mb_y.tolist(), strategy.mb_task_id.tolist()),
            "output": None if strategy.mb_output is None else strategy.mb_output.sum().item(),
            "loss": strategy.loss.item(),
            "weights": sum(p.double().abs().sum().item() for p in strategy.model.parameters()),
            "gradients": self.gradients(strategy) if event in ("after_backward", "before_update") else None,
            "lr": [group["lr"] for group in strategy.optimizer.param_groups],
            "device": strategy.device,
        }
        self.seen.append((event, things))

    def gradients(self, strategy: Any) -> list[float]:
        return [parameter.grad.sum().item() for parameter in strategy.model.parameters()]


def test_every_event_fires_in_avalanches_order_and_sees_what_it_sees_there(scenario: Scenario) -> None:
    watchers = [Watcher(), Watcher()]
    through_bridge(plain, lambda *_: [watchers[0]], scenario)
    through_avalanche(plain, lambda *_: [watchers[1]], scenario)
    ours, theirs = (watcher.seen for watcher in watchers)
    assert [event for event, _ in ours] == [event for event, _ in theirs]
    assert {event for event, _ in theirs} == set(EVENTS)
    batches = -(-190 // avalanche_parity.BATCH_SIZE)
    assert [event for event, _ in theirs].count("after_update") == N_TASKS * EPOCHS * batches
    for (event, here), (_, there) in zip(ours, theirs, strict=True):
        assert here == there, event


@pytest.mark.parametrize("network", [plain, small_bnn])
@pytest.mark.parametrize("name", BASELINES)
def test_each_baseline_has_the_same_trajectory_in_both_loops(
    name: str, network: Callable[[], nn.Module], scenario: Scenario
) -> None:
    case = CASES[name]
    expected = through_avalanche(network, case.make, scenario)
    assert difference(through_bridge(network, case.make, scenario), expected) <= 1e-6
    acts = difference(expected, through_avalanche(network, lambda *_: [], scenario)) > 1e-3
    assert acts == (name != "SynapticIntelligencePlugin")  # which does nothing on a CPU


class AddsToLoss(SupervisedPlugin):  # type: ignore[misc]
    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        strategy.loss += sum(parameter.square().sum() for parameter in strategy.model.parameters())


class ReplacesLoss(SupervisedPlugin):  # type: ignore[misc]
    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        strategy.loss = strategy.mb_output.square().mean()


class ReplacesCriterion(SupervisedPlugin):  # type: ignore[misc]
    def before_training(self, strategy: Any, **kwargs: Any) -> None:
        strategy._criterion = nn.CrossEntropyLoss(label_smoothing=0.5)


class ReplacesOutput(SupervisedPlugin):  # type: ignore[misc]
    def after_forward(self, strategy: Any, **kwargs: Any) -> None:
        strategy.mb_output = strategy.mb_output * 3


class ExtendsBatch(SupervisedPlugin):  # type: ignore[misc]
    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        for i in range(len(strategy.mbatch)):
            strategy.mbatch[i] = torch.cat([strategy.mbatch[i], strategy.mbatch[i][:7]])


class ChangesGradients(SupervisedPlugin):  # type: ignore[misc]
    def after_backward(self, strategy: Any, **kwargs: Any) -> None:
        for parameter in strategy.model.parameters():
            parameter.grad.sign_()


class LeavesGradients(SupervisedPlugin):  # type: ignore[misc]
    """What it leaves is added to the gradient of the batch, as there is no zeroing between."""

    def after_forward(self, strategy: Any, **kwargs: Any) -> None:
        strategy.criterion().backward(retain_graph=True)


class ReplacesLoader(SupervisedPlugin):  # type: ignore[misc]
    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        strategy.dataloader = torch.utils.data.DataLoader(strategy.adapted_dataset, batch_size=50, shuffle=True)


class ReplacesData(SupervisedPlugin):  # type: ignore[misc]
    def after_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        strategy.adapted_dataset = strategy.adapted_dataset.subset(range(100))


class ReplacesModel(SupervisedPlugin):  # type: ignore[misc]
    def before_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        torch.manual_seed(7)
        strategy.model = plain()


class ChangesOptimizer(SupervisedPlugin):  # type: ignore[misc]
    def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        strategy.optimizer.param_groups[0]["lr"] *= 0.5


class ChangesWeightsAtTheEnd(SupervisedPlugin):  # type: ignore[misc]
    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        with torch.no_grad():
            strategy.model.layer1.weight.mul_(0.5)


@pytest.mark.parametrize(
    "plugin",
    [
        AddsToLoss,
        ReplacesLoss,
        ReplacesCriterion,
        ReplacesOutput,
        ExtendsBatch,
        ChangesGradients,
        LeavesGradients,
        ReplacesLoader,
        ReplacesData,
        ReplacesModel,
        ChangesOptimizer,
        ChangesWeightsAtTheEnd,
    ],
)
def test_what_a_plugin_writes_takes_effect_as_in_avalanche(plugin: type, scenario: Scenario) -> None:
    expected = through_avalanche(plain, lambda *_: [plugin()], scenario)
    assert difference(through_bridge(plain, lambda *_: [plugin()], scenario), expected) <= 1e-6
    assert difference(expected, through_avalanche(plain, lambda *_: [], scenario)) > 1e-3


class AnswersThree(SupervisedPlugin):  # type: ignore[misc]
    def after_eval_forward(self, strategy: Any, **kwargs: Any) -> None:
        strategy.mb_output = torch.nn.functional.one_hot(torch.full_like(strategy.mb_y, 3), 10).float()


def test_the_accuracy_matrix_counts_the_answers_that_plugins_give(scenario: Scenario) -> None:
    network = plain()
    learner, data = avalanche_parity.lightning(
        network, torch.optim.SGD(network.parameters(), lr=LR), [AnswersThree()], scenario
    )
    avalanche_parity.trainer(learner.schedule).fit(learner, datamodule=data)
    of_three = [(task.labels == 3).float().mean().item() for task in data.test_tasks]
    assert 0 < of_three[1] < 1
    for row in (*learner.matrix.compute(), learner.matrix.baseline()):
        assert row.tolist() == pytest.approx(of_three)


def test_a_network_of_another_shape_is_refused_in_a_sentence(scenario: Scenario) -> None:
    class PutsInAnother(SupervisedPlugin):  # type: ignore[misc]
        def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
            strategy.model = nn.Linear(2, 2)

    with pytest.raises(UserError, match="a network of another shape"):
        through_bridge(plain, lambda *_: [PutsInAnother()], scenario)


@pytest.mark.parametrize(("length", "error"), [(None, UserError), (9, RuntimeError)])
def test_a_loader_without_its_length_is_refused(length: int | None, error: type[Exception], scenario: Scenario) -> None:
    class Loader:
        def __iter__(self) -> Any:
            yield [torch.zeros(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64), torch.zeros(4, dtype=torch.int64)]

    class LoaderWithLength(Loader):
        def __len__(self) -> int:
            return length or 0

    class PutsInLoader(SupervisedPlugin):  # type: ignore[misc]
        def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
            strategy.dataloader = Loader() if length is None else LoaderWithLength()

    with pytest.raises(error, match="must define `__len__`" if length is None else "its length is 9"):
        through_bridge(plain, lambda *_: [PutsInLoader()], scenario)


def test_plugins_in_a_joint_stream_are_refused(scenario: Scenario) -> None:
    bridge = Bridge([LwFPlugin()], scenario.benchmark, 10, 10, 1)
    with pytest.raises(UserError, match=r"strategy\.task_order=joint"):
        Learner(plain(), torch.optim.SGD, Schedule(3, 1, joint=True), bridge=bridge)


class SaysNo(EWCPlugin):  # type: ignore[misc]
    uses_boundary = False


@pytest.mark.parametrize(
    ("plugins", "uses"),
    [
        ([], False),
        ([AddsToLoss()], False),
        ([AddsToLoss(), EWCPlugin(1.0)], True),
        ([ReplayPlugin()], True),
        ([SaysNo(1.0)], False),
        *[(case.make(plain(), torch.optim.SGD(plain().parameters())), True) for case in OURS.values()],
    ],
)
def test_plugins_that_wait_for_the_end_of_a_task_use_the_boundary(plugins: list[Any], uses: bool) -> None:
    assert Bridge(plugins, None, 10, 10, 1).uses_boundary is uses
