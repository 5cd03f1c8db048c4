"""MAS differs from Avalanche's by its state, and where Avalanche's stops."""

from types import SimpleNamespace

import pytest
import torch
from avalanche.training.plugins import MASPlugin
from torch import nn

from metaplast.analysis.plugin_table import plain
from metaplast.analysis.two_loops import BATCH_SIZE, difference, small_digits, through_avalanche, through_bridge
from metaplast.nn import mlp
from metaplast.strategies.mas import MAS


def test_it_trains_as_avalanches_does() -> None:
    scenario = small_digits()
    theirs = through_avalanche(plain, lambda *_: [MASPlugin(2.0, 0.3)], scenario)
    assert difference(through_avalanche(plain, lambda *_: [MAS(2.0, 0.3)], scenario), theirs) == 0
    assert difference(through_avalanche(plain, lambda *_: [], scenario), theirs) > 1e-3


def with_batch_norm() -> nn.Module:
    return mlp((1, 8, 8), 10, hidden=[16], norm="batch", norm_per_task=False, test_statistics="running")


@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*")
def test_a_last_image_is_not_shown_alone_to_batch_normalization() -> None:
    scenario = small_digits(n_train=BATCH_SIZE + 1)
    strong, none = (through_bridge(with_batch_norm, lambda *_, c=c: [MAS(c)], scenario) for c in (50.0, 0.0))
    assert difference(strong, none) > 1e-4


def test_a_loss_of_zero_is_a_loss() -> None:
    plugin = MAS(2.0)
    weight = nn.Parameter(torch.tensor([3.0]))
    plugin.load_state_dict({"importance": {"weight": torch.tensor([0.5])}, "params": {"weight": torch.tensor([1.0])}})
    model = nn.Module()
    model.weight = weight
    strategy = SimpleNamespace(model=model, loss=torch.zeros(1))
    plugin.before_backward(strategy)
    assert strategy.loss.item() == 2.0 * 0.5 * (3 - 1) ** 2
