"""A verdict needs three seeds and intervals that exclude the tolerance; fewer seeds only point somewhere."""

import pytest

from metaplast.metrics.intervals import PairedDifference
from metaplast.reproduction.verdict import Criterion, NotComparableError, judge


def margin(*values: float) -> list[PairedDifference]:
    return [PairedDifference(values)]


@pytest.mark.parametrize(
    ("margins", "outcome"),
    [
        ([(1.0, 1.1, 0.9), (2.0, 2.1, 2.0)], "held"),
        ([(1.0, 1.1, 0.9), (-2.0, -2.1, -2.0)], "held in part"),
        ([(1.0, 1.1, 0.9), (-2.0, 5.0, 0.1)], "held in part"),
        ([(-1.0, -1.1, -0.9), (-2.0, -2.1, -2.0)], "did not hold"),
        ([(-2.0, 5.0, 0.1), (-2.0, -2.1, -2.0)], "did not hold"),
        ([(-2.0, 5.0, 0.1)], "undecided"),
        ([(9.0,)], "one seed: points this way"),
        ([(9.0,), (-1.0,)], "one seed: points this way in part"),
        ([(-9.0,)], "one seed: points the other way"),
        ([(9.0, 9.0)], "too few seeds: points this way"),
        ([(9.0, 9.0, 9.0), (9.0,)], "one seed: points this way"),
    ],
)
def test_only_intervals_over_three_seeds_decide(margins: list[tuple[float, ...]], outcome: str) -> None:
    verdict = judge([Criterion("so much", margin(*values)) for values in margins])
    assert verdict.outcome == outcome
    assert verdict.n == min(map(len, margins))
    assert bool(verdict.margin) == (verdict.n >= 3)


def test_a_verdict_without_common_seeds_is_refused() -> None:
    with pytest.raises(NotComparableError, match="share no seed"):
        judge([Criterion("so much", margin())])
