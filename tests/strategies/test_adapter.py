"""What a plugin finds in its strategy: live attributes, and a network whose parameters stay.

A plugin that asks for what the bridge cannot give is answered by one sentence, before anything is trained.
"""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from avalanche.core import SupervisedMetaLearningPlugin, SupervisedPlugin
from avalanche.models import IncrementalClassifier
from avalanche.training.plugins import CoPEPlugin, EarlyStoppingPlugin, EvaluationPlugin
from avalanche.training.supervised import Naive
from torch import nn

from metaplast.errors import UserError
from metaplast.nn import TaskCrossEntropy
from metaplast.strategies.adapter import EVENTS, StrategyView, implements_event, used_attributes
from metaplast.strategies.bridge import Bridge
from metaplast.testing.avalanche_parity import small_digits


def view(network: nn.Module, criterion: nn.Module | None = None) -> StrategyView:
    one = StrategyView([], train_mb_size=5, eval_mb_size=7, train_epochs=2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    learner: Any = SimpleNamespace(
        network=network, criterion=criterion or nn.CrossEntropyLoss(), device=torch.device("cpu")
    )
    trainer: Any = SimpleNamespace(optimizers=[optimizer])
    one.attach(learner, trainer)
    return one


def test_it_shows_the_live_network_and_optimizer() -> None:
    network = nn.Linear(2, 3)
    one = view(network)
    assert one.model is network
    assert one.optimizer.param_groups[0]["params"][0] is network.weight
    assert (one.train_mb_size, one.eval_mb_size, one.train_epochs, one.device.type) == (5, 7, 2, "cpu")
    assert one.is_eval is not one.is_training


def test_a_batch_is_seen_by_its_parts_and_its_loss_is_that_of_the_criterion() -> None:
    one = view(nn.Linear(2, 3))
    x, y, t = torch.rand(4, 2), torch.tensor([0, 1, 2, 0]), torch.zeros(4, dtype=torch.int64)
    one.mbatch = [x, y, t]
    one.mb_output = one.forward()
    assert one.mb_x is x
    assert one.mb_y is y
    assert one.mb_task_id is t
    assert torch.equal(one.criterion(), nn.functional.cross_entropy(one.model(x), y))


def test_a_test_of_a_known_task_may_only_be_answered_with_its_classes() -> None:
    one = view(nn.Linear(2, 4), TaskCrossEntropy(4, [[0, 1], [2, 3]]))
    one.mbatch = [torch.rand(2, 2), torch.tensor([0, 3]), torch.zeros(2, dtype=torch.int64)]
    assert one.masked_logits().isinf().tolist() == [[False, False, True, True], [True, True, False, False]]


def test_a_network_put_in_place_gives_its_values_and_empties_the_optimizer() -> None:
    network, other = nn.Linear(2, 3), nn.Linear(2, 3)
    one = view(network)
    network(torch.rand(1, 2)).sum().backward()
    one.optimizer.step()
    assert one.optimizer.state
    one.model = network  # the same: nothing happens
    assert one.optimizer.state
    one.model = other
    assert one.model is network
    assert torch.equal(network.weight, other.weight)
    assert not one.optimizer.state


def test_a_network_of_another_shape_is_refused() -> None:
    with pytest.raises(UserError, match=r"^a plugin put a network of another shape in place of the trained one"):
        view(nn.Linear(2, 3)).model = nn.Linear(2, 4)


def test_a_network_that_grows_with_its_classes_is_refused() -> None:
    one = view(nn.Sequential(nn.Flatten(), IncrementalClassifier(64, initial_out_features=2)))
    one.experience = small_digits().benchmark.train_stream[1]  # digits 3 to 5
    with pytest.raises(UserError, match=r"^the network has an Avalanche module that grows with the classes it sees"):
        one.model_adaptation()


def test_the_end_of_an_experience_leaves_nothing_of_it() -> None:
    one = view(nn.Linear(2, 3))
    one.experience, one.adapted_dataset, one.mbatch, one.dataloader = object(), [1], [torch.zeros(1)], [1]
    one.loss = torch.ones(1)
    one.clear()
    assert not any((one.experience, one.adapted_dataset, one.mbatch, one.mb_output, one.dataloader))
    assert one.loss.tolist() == [0.0]


class ReadsUnknown(SupervisedPlugin):  # type: ignore[misc]
    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        strategy.loss += strategy.nonsense


class ReadsInAHelper(SupervisedPlugin):  # type: ignore[misc]
    def helper(self, strategy: Any) -> None:
        strategy.nonsense()


class InheritsTheWish(ReadsInAHelper):
    pass


class CallsItOtherwise(SupervisedPlugin):  # type: ignore[misc]
    def after_forward(self, agent: Any, **kwargs: Any) -> None:
        agent.nonsense = agent.nonsense + 1


class LeavesANote(SupervisedPlugin):  # type: ignore[misc]
    def before_training(self, strategy: Any, **kwargs: Any) -> None:
        strategy.nonsense = 1


class KeepsTheGraph(SupervisedPlugin):  # type: ignore[misc]
    def before_training(self, strategy: Any, **kwargs: Any) -> None:
        strategy.retain_graph = True


class OtherEvent(SupervisedPlugin):  # type: ignore[misc]
    def after_lunch(self, strategy: Any, **kwargs: Any) -> None:
        pass


class Meta(SupervisedMetaLearningPlugin):  # type: ignore[misc]
    pass


@pytest.mark.parametrize(
    ("plugin", "sentence"),
    [
        (ReadsUnknown(), "ReadsUnknown uses strategy.nonsense, which the bridge does not provide"),
        (ReadsInAHelper(), "ReadsInAHelper uses strategy.nonsense, which the bridge does not provide"),
        (InheritsTheWish(), "InheritsTheWish uses strategy.nonsense, which the bridge does not provide"),
        (KeepsTheGraph(), "KeepsTheGraph uses strategy.retain_graph, but Lightning runs the backward pass"),
        (
            CoPEPlugin(),
            "CoPEPlugin uses strategy.stop_training, but no experience can end early, "
            "since the number of the epoch decides which task is trained",
        ),
        (
            EarlyStoppingPlugin(1, "test"),
            "EarlyStoppingPlugin uses strategy.evaluator, "
            "which is there only if an EvaluationPlugin is among strategy.plugins",
        ),
        (OtherEvent(), "OtherEvent implements the event after_lunch, which supervised training does not fire"),
        (Meta(), "Meta implements the event after_inner_updates, which supervised training does not fire"),
        (3, "expected Avalanche plugins, got int, which has no event"),
    ],
)
def test_an_unmet_wish_is_refused_at_set_up(plugin: Any, sentence: str) -> None:
    with pytest.raises(UserError) as error:
        Bridge([plugin], None, 10, 10, 1)
    assert str(error.value) == f"strategy.plugins: {sentence}"


@pytest.mark.parametrize("plugins", [[CallsItOtherwise()], [ReadsUnknown(), LeavesANote()]])
def test_plugins_may_leave_notes_for_each_other(plugins: list[Any]) -> None:
    assert Bridge(plugins, None, 10, 10, 1).plugins == plugins


@pytest.mark.filterwarnings("ignore:No loggers specified")
def test_an_evaluation_plugin_becomes_the_evaluator() -> None:
    evaluation = EvaluationPlugin()
    assert Bridge([evaluation], None, 10, 10, 1).view.evaluator is evaluation


def test_the_events_are_those_that_avalanches_strategies_fire() -> None:
    fired = {name[1:] for name in dir(Naive) if name.startswith(("_before_", "_after_"))}
    assert fired == set(EVENTS)


def test_writing_counts_as_using_and_reading_does_not_count_as_writing() -> None:
    assert used_attributes(ReadsUnknown(), written=False) == {"loss", "nonsense"}
    assert used_attributes(ReadsUnknown(), written=True) == {"loss"}
    assert used_attributes(CallsItOtherwise(), written=True) == {"nonsense"}


def test_a_plugin_implements_event_the_events_that_its_class_defines() -> None:
    assert implements_event(LeavesANote(), "before_training")
    assert implements_event(InheritsTheWish(), "before_training") is False
