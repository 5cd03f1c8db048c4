"""However many terms are added up, one quadratic form has their value and their gradient.

Which weights a penalty acts on, and that its gradient arrives at the hidden ones.

With fixed statistics samples do not see each other, and afterwards nothing has changed.
"""

import io

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from metaplast.nn import bcnn, bnn, mlp, sign
from metaplast.nn.normalization import Statistics
from metaplast.strategies.regularization import QuadraticPenalty, Weights, frozen_batchnorm, penalized_weights, snapshot

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


def test_binary_layers_act_by_their_signs_and_pass_the_gradient_straight_through() -> None:
    network = bnn((4,), 3, hidden=[5])
    acted = penalized_weights(network, "binary")
    assert list(acted) == ["layer1.weight", "layer2.weight"]
    hidden = network.get_parameter("layer1.weight")
    assert torch.equal(acted["layer1.weight"], sign(hidden))
    (3 * acted["layer1.weight"]).sum().backward()  # type: ignore[no-untyped-call]
    assert hidden.grad is not None
    assert bool(hidden.grad.eq(3).all())


@pytest.mark.parametrize(("network", "weights"), [(bnn((4,), 3, hidden=[5]), "hidden"), (mlp((4,), 3), "binary")])
def test_hidden_weights_and_those_of_other_layers_are_the_parameters_themselves(
    network: nn.Module, weights: Weights
) -> None:
    assert all(weight is network.get_parameter(name) for name, weight in penalized_weights(network, weights).items())


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(3), nn.LayerNorm(3), nn.GroupNorm(1, 3)])
def test_normalizations_are_left_out_unless_asked_for_and_frozen_parameters_always(norm: nn.Module) -> None:
    network = nn.Sequential(nn.Linear(4, 3), norm)
    network[0].weight.requires_grad_(False)
    assert list(penalized_weights(network)) == ["0.bias"]
    assert list(penalized_weights(network, norm_parameters=True)) == ["0.bias", "1.weight", "1.bias"]


def test_a_snapshot_does_not_follow_the_weights() -> None:
    network = nn.Linear(2, 2)
    before = snapshot(penalized_weights(network))
    with torch.no_grad():
        network.weight.add_(1)
    torch.testing.assert_close(before["weight"], network.weight - 1)


@pytest.mark.parametrize("statistics", ["population", "running", "batch"])
def test_the_answer_to_a_sample_does_not_depend_on_its_neighbours(statistics: Statistics) -> None:
    torch.manual_seed(0)
    network = mlp((4,), 3, hidden=[6], test_statistics=statistics).eval()
    x = torch.rand(20, 4)
    with frozen_batchnorm(network, lambda: x.split(7)):  # type: ignore[no-untyped-call]
        torch.testing.assert_close(network(x)[3:4], network(x[3:4]))


def test_the_statistics_are_those_of_the_data() -> None:
    torch.manual_seed(0)
    network = mlp((4,), 3, hidden=[6], test_statistics="batch").eval()
    x = torch.rand(20, 4)
    expected = network(x)  # one batch that is all of the data
    with frozen_batchnorm(network, lambda: [x[:5], x[5:]]):
        torch.testing.assert_close(network(x), expected)


@pytest.mark.parametrize("statistics", ["population", "running", "batch"])
def test_statistics_and_settings_come_back_even_after_an_error(statistics: Statistics) -> None:
    torch.manual_seed(0)
    network = bcnn((1, 8, 8), 3, channels=[4], test_statistics=statistics)
    x = torch.rand(6, 1, 8, 8)
    network(x)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(RuntimeError, match="interrupted"), frozen_batchnorm(network, lambda: [x]):
        raise RuntimeError("interrupted")
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)
    assert {network.norm1.test_statistics, network.norm2.test_statistics} == {statistics}  # type: ignore[union-attr]
