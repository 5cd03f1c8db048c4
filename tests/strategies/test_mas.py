"""MAS differs from Avalanche's by its state alone."""

from avalanche.training.plugins import MASPlugin

from metaplast.analysis.plugin_table import plain
from metaplast.analysis.two_loops import difference, small_digits, through_avalanche
from metaplast.strategies.mas import MAS


def test_it_trains_as_avalanches_does() -> None:
    scenario = small_digits()
    theirs = through_avalanche(plain, lambda *_: [MASPlugin(2.0, 0.3)], scenario)
    assert difference(through_avalanche(plain, lambda *_: [MAS(2.0, 0.3)], scenario), theirs) == 0
    assert difference(through_avalanche(plain, lambda *_: [], scenario), theirs) > 1e-3
