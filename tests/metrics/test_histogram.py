"""Every finite weight is counted once, between the smallest and the largest."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metaplast.metrics.histogram import BINS, weight_histogram

WEIGHTS = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=60)


@given(weights=WEIGHTS)
def test_every_weight_is_counted_between_the_smallest_and_the_largest(weights: list[float]) -> None:
    counts, edges = weight_histogram(torch.tensor(weights))
    assert (len(counts), len(edges)) == (BINS, BINS + 1)
    assert counts.sum() == len(weights)
    assert edges[0] <= min(weights)
    assert edges[-1] >= max(weights)


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_left_out(odd: float) -> None:
    counts, edges = weight_histogram(torch.tensor([[odd, 0.0], [1.0, 2.0]]), bins=2)
    assert counts.tolist() == [1, 2]
    assert edges.tolist() == [0, 1, 2]
