"""However many terms are added up, one quadratic form has their value and their gradient."""

import io

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from metaplast.strategies.quadratic_penalty import QuadraticPenalty

Term = tuple[Tensor, Tensor]


def terms(seed: int, n: int, dtype: torch.dtype) -> tuple[list[Term], Tensor]:
    """Importances, many of them 0 and some tiny, and weights of n tasks; and weights to measure at."""
    generator = torch.Generator().manual_seed(seed)

    def draw() -> Tensor:
        return torch.randn(3, 5, generator=generator, dtype=dtype)

    importances = [10 ** (4 * draw()) * (draw() > 0) for _ in range(n)]
    return [(importance, draw()) for importance in importances], draw()


def one_form(parts: list[Term]) -> QuadraticPenalty:
    total = QuadraticPenalty()
    for importance, weight in parts:
        total = total + QuadraticPenalty({"w": importance}, {"w": weight})
    return total


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@given(seed=st.integers(0, 2**32), n=st.integers(1, 8))
def test_it_equals_the_sum_of_separate_terms(dtype: torch.dtype, tolerance: float, seed: int, n: int) -> None:
    parts, w = terms(seed, n, dtype)
    one, separate = w.clone().requires_grad_(), w.clone().requires_grad_()
    value = one_form(parts)({"w": one})
    expected = sum(((f * (separate - w_t) ** 2).sum() for f, w_t in parts), torch.zeros(()))
    value.backward()  # type: ignore[no-untyped-call]
    expected.backward()  # type: ignore[no-untyped-call]
    assert one.grad is not None
    assert separate.grad is not None
    torch.testing.assert_close(value, expected.to(dtype), rtol=tolerance, atol=0)
    scale = sum(2 * f * (w.abs() + w_t.abs()) for f, w_t in parts)  # terms of opposite sign may cancel
    assert bool(((one.grad - separate.grad).abs() <= tolerance * scale).all())
    other = torch.ones_like(w)
    left = one_form(parts).removed_from(other + 0.5 * one.grad, "w", w, strength=0.5)
    assert bool(((left - other).abs() <= tolerance * (scale + 1)).all())


@given(seed=st.integers(0, 2**32), n=st.integers(2, 6), cut=st.integers(0, 6))
def test_terms_may_be_added_in_any_grouping(seed: int, n: int, cut: int) -> None:
    parts, w = terms(seed, n, torch.float64)
    grouped = one_form(parts[cut:]) + one_form(parts[:cut])
    torch.testing.assert_close(grouped({"w": w}), one_form(parts)({"w": w}), rtol=1e-12, atol=0)


def test_binary_weights_at_their_only_centre_cost_nothing() -> None:
    w = torch.tensor([1.0, -1.0, 1.0])
    parts = [(torch.rand(3), w) for _ in range(5)]
    assert one_form(parts)({"w": w}).item() == 0


def test_its_memory_does_not_grow_with_the_number_of_terms() -> None:
    parts, _ = terms(0, 8, torch.float32)
    for n in (1, 8):
        state = one_form(parts[:n]).state_dict()
        assert [tensor.shape for tensor in (state["importance"]["w"], state["centre"]["w"])] == [(3, 5), (3, 5)]


def test_names_that_only_one_term_has_are_kept_and_others_do_not_count() -> None:
    one = QuadraticPenalty({"a": torch.ones(1)}, {"a": torch.zeros(1)})
    two = QuadraticPenalty({"b": torch.ones(1)}, {"b": torch.zeros(1)})
    weights = {"a": torch.tensor([2.0]), "b": torch.tensor([3.0]), "new": torch.tensor([9.0])}
    assert (one + two)(weights).item() == 13
    assert QuadraticPenalty()(weights).item() == 0


def test_its_state_survives_a_file_without_pickled_objects() -> None:
    parts, w = terms(3, 4, torch.float32)
    file = io.BytesIO()
    torch.save(one_form(parts).state_dict(), file)
    file.seek(0)
    restored = QuadraticPenalty.from_state_dict(torch.load(file, weights_only=True))
    assert restored({"w": w}).item() == one_form(parts)({"w": w}).item()
