"""Means and standard deviations over seeds, judged by NumPy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metaplast.report.over_seeds import numbers, over_seeds, percent

FRACTIONS = st.lists(st.floats(0, 1), min_size=2, max_size=8)


@given(FRACTIONS)
def test_mean_and_sample_standard_deviation_are_numpys(values: list[float]) -> None:
    spread = over_seeds(enumerate(map(numbers, values)))
    assert float(spread.mean) == pytest.approx(np.mean(values))
    assert float(spread.sd) == pytest.approx(np.std(values, ddof=1), abs=1e-12)
    assert spread.n == len(values)


@given(FRACTIONS, st.integers(1, 3))
def test_a_run_done_again_with_its_seed_changes_nothing(values: list[float], times: int) -> None:
    once = over_seeds(enumerate(map(numbers, values)))
    again = over_seeds([(seed, numbers(value)) for seed, value in enumerate(values) for _ in range(times)])
    assert (float(again.mean), float(again.sd), again.n) == pytest.approx((float(once.mean), float(once.sd), once.n))


def test_matrices_are_averaged_cell_by_cell_and_a_cell_not_measured_stays_unknown() -> None:
    first, second = [[0.5, None], [0.25, 1.0]], [[1.0, 0.5], [0.75, 1.0]]
    spread = over_seeds([(0, numbers(first)), (1, numbers(second))])
    assert spread.mean.nan_to_num(-1).tolist() == [[0.75, -1], [0.5, 1.0]]


def test_one_seed_has_a_mean_and_no_spread_and_no_run_has_neither() -> None:
    assert percent(over_seeds([(0, numbers(0.5))])) == "50.0"
    assert percent(over_seeds([])) == "–"
    assert math.isnan(float(over_seeds([(0, torch.ones(()))]).sd))


def test_a_mean_that_rounds_to_zero_has_no_sign() -> None:
    assert percent(over_seeds([(0, numbers(-0.0001)), (1, numbers(-0.0001))])) == "0.0 ± 0.0"
