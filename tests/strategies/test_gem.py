"""GEM differs from Avalanche's by its state alone."""

from avalanche.training.plugins import GEMPlugin

from metaplast.analysis.plugin_table import plain
from metaplast.analysis.two_loops import difference, small_digits, through_avalanche
from metaplast.strategies.gem import GEM


def test_it_trains_as_avalanches_does() -> None:
    scenario = small_digits()
    theirs = through_avalanche(plain, lambda *_: [GEMPlugin(50, 0.5)], scenario)
    assert difference(through_avalanche(plain, lambda *_: [GEM(50, 0.5)], scenario), theirs) == 0
    assert difference(through_avalanche(plain, lambda *_: [], scenario), theirs) > 1e-3
