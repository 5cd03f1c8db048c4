"""Retention and plasticity part what an average accuracy mixes."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metaplast.metrics import average_accuracy, backward_transfer
from metaplast.metrics.retention import last_plasticity, plasticity, retention


@given(fresh=st.lists(st.floats(0.01, 1), min_size=2, max_size=6), share=st.floats(0, 1))
def test_what_keeps_the_same_share_of_every_task_has_that_retention_whatever_it_learned(
    fresh: list[float], share: float
) -> None:
    R = torch.diag(torch.tensor(fresh, dtype=torch.float64))
    R[-1, :-1] = share * R.diagonal()[:-1]
    assert retention(R) == pytest.approx(share)
    assert plasticity(R) == pytest.approx(sum(fresh) / len(fresh))
    assert last_plasticity(R) == fresh[-1]


def test_nothing_lost_is_a_retention_of_one() -> None:
    R = torch.tensor([[0.9, 0.1], [0.9, 0.7]])
    assert retention(R) == 1
    assert backward_transfer(R) == 0
    assert average_accuracy(R) == pytest.approx(plasticity(R))


def test_what_was_not_measured_is_nan() -> None:
    R = torch.tensor([[math.nan, 0.1], [0.5, 0.7]])
    assert math.isnan(retention(R))
    assert math.isnan(plasticity(R))
    assert math.isnan(retention(torch.tensor([[0.9]])))
