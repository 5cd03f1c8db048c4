"""A plugin that asks for what the bridge cannot give is answered by one sentence, before anything is trained."""

from typing import Any

import pytest
from avalanche.core import SupervisedMetaLearningPlugin, SupervisedPlugin
from avalanche.training.plugins import CoPEPlugin, EarlyStoppingPlugin, EvaluationPlugin
from avalanche.training.supervised import Naive

from metaplast.errors import UserError
from metaplast.strategies.bridge import Bridge
from metaplast.strategies.compat import EVENTS, implements_event, used_attributes


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
