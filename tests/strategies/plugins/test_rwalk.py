"""RWalk differs from Avalanche's by its state and by the mode that the network is trained in."""

from typing import Any

import pytest
from avalanche.training.plugins import RWalkPlugin
from torch import nn

from metaplast.nn import mlp
from metaplast.strategies.plugins.rwalk import RWalk
from metaplast.testing.avalanche_parity import difference, small_digits, through_avalanche
from metaplast.testing.plugin_docs import plain


def with_batch_norm() -> nn.Module:
    return mlp((1, 8, 8), 10, hidden=[16], norm="batch", norm_per_task=False, test_statistics="running")


def test_behind_batch_normalization_it_differs_from_avalanches() -> None:
    scenario = small_digits()
    theirs = through_avalanche(with_batch_norm, lambda *_: [RWalkPlugin(1.0, 0.8, 5)], scenario)
    ours = through_avalanche(with_batch_norm, lambda *_: [RWalk(1.0, 0.8, 5, norm_parameters=True)], scenario)
    assert difference(ours, theirs) > 0


@pytest.mark.parametrize(("kind", "training"), [(RWalkPlugin, False), (RWalk, True)])
def test_the_network_is_trained_in_training_mode(kind: type[Any], training: bool) -> None:
    modes = []

    class Watching(kind):  # type: ignore[misc]
        def before_forward(self, strategy: Any, **kwargs: Any) -> None:
            modes.append(strategy.model.training)

    through_avalanche(plain, lambda *_: [Watching()], small_digits())
    assert set(modes) == {training}


def test_a_task_shorter_than_the_time_between_scores_has_one_score_where_avalanches_is_lost() -> None:
    scenario = small_digits()
    ours, theirs, free = (
        through_avalanche(plain, lambda *_, plugin=plugin: [plugin], scenario)
        for plugin in (RWalk(1.0, 0.8, 1000), RWalkPlugin(1.0, 0.8, 1000), RWalk(0.0, 0.8, 1000))
    )
    assert any(tensor.isnan().any() for tensor in theirs.values())
    assert all(tensor.isfinite().all() for tensor in ours.values())
    assert difference(ours, free) > 1e-4


@pytest.mark.parametrize("norm_parameters", [False, True])
def test_gamma_and_beta_are_held_where_asked_for_alone(norm_parameters: bool) -> None:
    plugin = RWalk(1.0, 0.8, 5, norm_parameters)
    through_avalanche(with_batch_norm, lambda *_: [plugin], small_digits())
    held = {name for name, penalty in plugin.exp_penalties.items() if penalty.data.any()}
    weights = {"layer1.weight", "layer2.weight"}
    assert (held == weights) is not norm_parameters
    assert held >= weights
    largest = max(float(plugin.exp_penalties[name].data.max()) for name in held)
    assert 1 <= largest <= 2
