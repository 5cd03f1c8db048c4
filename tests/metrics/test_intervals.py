"""The interval agrees with scipy's paired t-test, the exact test with its definition, and neither claims too much."""

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from metaplast.metrics.intervals import PairedDifference, paired_difference

VALUES = st.lists(st.floats(-50, 50).map(lambda value: round(value, 3)), min_size=3, max_size=9)


@given(values=VALUES.filter(lambda values: len({*values}) > 1))
def test_the_interval_is_that_of_the_paired_t_test(values: list[float]) -> None:
    expected = ttest_rel(values, [0.0] * len(values)).confidence_interval(0.95)
    low, high = PairedDifference(tuple(values)).interval()
    assert (low, high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("bound", [0.0, 1.0])
@pytest.mark.parametrize("values", [(1.0, 2.0, -0.5, 3.0, 2.5, 1.5), (0.1, -0.2, 0.3, 0.4, 0.2, 0.1, 5.0)])
def test_the_exact_test_counts_all_flips_of_signs(values: tuple[float, ...], bound: float) -> None:
    shifted = [value - bound for value in values]
    flipped = [
        sum(s * v for s, v in zip(signs, shifted, strict=True)) for signs in product((1, -1), repeat=len(values))
    ]
    as_far = sum(abs(total) >= abs(sum(shifted)) - 1e-12 for total in flipped)
    assert PairedDifference(values).p_value(bound) == as_far / 2 ** len(values)


@pytest.mark.parametrize("n", [0, 1, 2, 5, 21])
def test_the_exact_test_needs_six_pairs_and_stops_at_twenty(n: int) -> None:
    assert PairedDifference((1.0,) * n).p_value() is None


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_pairs_decide_nothing_however_large_the_difference(n: int) -> None:
    assert PairedDifference((100.0,) * n).exceeds() is None


def test_the_exact_test_can_withhold_what_the_interval_grants() -> None:
    """Six differences of which one is negative: the t interval excludes 0, 2 of 32 splits are at least as extreme."""
    difference = PairedDifference((-0.1, 1.0, 1.0, 1.0, 1.0, 0.05))
    low, _ = difference.interval()
    p = difference.p_value()
    assert p is not None
    assert low > 0
    assert p > 0.05
    assert difference.exceeds() is None


@given(values=VALUES, bound=st.floats(-50, 50))
def test_a_decision_agrees_with_the_mean_and_turns_with_the_sign(values: list[float], bound: float) -> None:
    difference = PairedDifference(tuple(values))
    decided = difference.exceeds(bound)
    if decided is not None:
        assert decided == (difference.mean > bound)
        assert PairedDifference(tuple(-value for value in values)).exceeds(-bound) is (not decided)


def test_one_pair_has_no_interval() -> None:
    assert PairedDifference((1.0,)).interval() == (-math.inf, math.inf)
    assert str(PairedDifference((1.0,))) == "+1.0"


def test_only_seeds_that_both_have_are_compared() -> None:
    assert paired_difference({2: 1.0, 0: 4.0}, {0: 1.0, 2: 0.5, 7: 9.0}).values == (0.5, 3.0)
