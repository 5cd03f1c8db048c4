"""Hidden weights: sign flips since the last call, and a histogram that counts every finite weight."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metaplast.metrics import SignFlips
from metaplast.metrics.hidden_weights import BINS, weight_histogram

WEIGHTS = st.lists(st.sampled_from([-0.5, -0.0, 0.0, 0.5]), min_size=6, max_size=6)


def sign(hidden: float) -> int:
    return 1 if hidden >= 0 else -1


@settings(deadline=None)
@given(st.lists(WEIGHTS, min_size=2, max_size=5))
def test_the_fraction_is_the_share_of_signs_that_changed_since_the_last_call(steps: list[list[float]]) -> None:
    hidden = torch.tensor(steps[0]).reshape(2, 3)
    flips = SignFlips({"layer": hidden})
    for before, after in pairwise(steps):
        hidden.copy_(torch.tensor(after).reshape(2, 3))
        changed = sum(sign(a) != sign(b) for a, b in zip(before, after, strict=True))
        assert flips.update() == {"layer": changed / 6}


def test_each_layer_is_reported_under_its_name_in_the_order_given() -> None:
    b, a = torch.nn.Parameter(torch.ones(4)), torch.nn.Parameter(torch.ones(2, 5))
    flips = SignFlips({"b": b, "a": a})
    with torch.no_grad():
        a[0] = -1
    assert list(flips.update().items()) == [("b", 0.0), ("a", 0.5)]


@settings(deadline=None)
@given(WEIGHTS, WEIGHTS, WEIGHTS)
def test_a_resumed_count_equals_one_that_was_never_cut(
    start: list[float], saved_at: list[float], end: list[float]
) -> None:
    hidden = torch.tensor(start)
    flips = SignFlips({"layer": hidden})
    hidden.copy_(torch.tensor(saved_at))
    flips.update()
    state = flips.state_dict()
    hidden.copy_(torch.tensor(end))
    resumed = SignFlips({"layer": hidden})
    resumed.load_state_dict(state)
    assert resumed.update() == flips.update()


def test_the_state_is_one_bool_a_weight_and_stays_as_it_was_saved() -> None:
    hidden = torch.tensor([[1.0, -1.0]])
    flips = SignFlips({"layer": hidden})
    state = flips.state_dict()
    hidden.neg_()
    flips.update()
    assert state["layer"].dtype == torch.bool
    assert state["layer"].tolist() == [[True, False]]


@pytest.mark.parametrize("state", [{}, {"other": torch.ones(2) > 0}, {"layer": torch.ones(3) > 0}])
def test_a_state_of_other_layers_is_refused(state: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ValueError, match=r"state: expected layers of shapes \{'layer': \(2,\)\}, got \{"):
        SignFlips({"layer": torch.ones(2)}).load_state_dict(state)


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
