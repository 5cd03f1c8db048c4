"""LwF differs from Avalanche's by its state, and by a teacher without dropout."""

from copy import deepcopy

from avalanche.training.plugins import LwFPlugin
from torch import nn

from metaplast.strategies.plugins.lwf import LwF, _without_dropout
from metaplast.testing.avalanche_parity import difference, small_digits, through_avalanche
from metaplast.testing.plugin_docs import plain


def test_it_trains_as_avalanches_does() -> None:
    scenario = small_digits()
    theirs = through_avalanche(plain, lambda *_: [LwFPlugin(2.0, 3.0)], scenario)
    assert difference(through_avalanche(plain, lambda *_: [LwF(2.0, 3.0)], scenario), theirs) == 0
    assert difference(through_avalanche(plain, lambda *_: [], scenario), theirs) > 1e-3


def test_the_teacher_drops_nothing() -> None:
    network = nn.Sequential(plain(), nn.Dropout(0.5)).train()
    plugin = LwF(2.0, 3.0)
    plugin.lwf.prev_model = deepcopy(network)
    _without_dropout(plugin.lwf.prev_model)
    assert [module.training for module in plugin.lwf.prev_model.modules() if isinstance(module, nn.Dropout)] == [False]
    assert network[1].training
