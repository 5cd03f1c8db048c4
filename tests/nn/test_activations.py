"""Binary activations: forward and gradient rule, element by element, and layers behind them."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from metaplast.errors import UserError
from metaplast.nn import KWTA, BinaryLinear, GateActivation, SignActivation, bcnn, bnn, vgg
from metaplast.nn.activations import ACTIVATIONS, with_gradient_of
from metaplast.strategies.fisher import diagonal_fisher

values = st.lists(
    st.floats(-4, 4, width=32) | st.sampled_from([-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1 + 2**-23, 1.5]), min_size=1
)


def both(activation: nn.Module, a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The output of the activation and the gradient of the sum of 1, 2, 3, … times its elements."""
    a = a.clone().requires_grad_()
    y = activation(a)
    (gradient,) = torch.autograd.grad(y, a, torch.arange(1.0, a.numel() + 1).view_as(a))
    return y.detach(), gradient


@given(values)
def test_the_sign_passes_gradients_inside_its_window_only(values: list[float]) -> None:
    y, gradient = both(SignActivation(), torch.tensor(values))
    assert y.tolist() == [float((value > 0) - (value < 0)) for value in values]
    assert gradient.tolist() == [i * float(abs(value) <= 1) for i, value in enumerate(values, 1)]


@given(values, st.floats(0, 3, width=32), st.floats(0, 2, width=32), st.floats(0.125, 2, width=32))
def test_the_gate_is_one_far_from_zero_and_pulls_outwards_in_its_window(
    values: list[float], threshold: float, lower: float, width: float
) -> None:
    upper = lower + width
    y, gradient = both(GateActivation(threshold, (lower, upper)), torch.tensor(values, dtype=torch.float64))
    assert y.tolist() == [float(abs(value) > threshold) for value in values]
    assert gradient.tolist() == [
        i * math.copysign(1, value) if lower < abs(value) < upper and value else 0 for i, value in enumerate(values, 1)
    ]


@given(st.lists(st.lists(st.integers(-8, 8), min_size=5, max_size=5), min_size=1), st.floats(0.01, 1))
def test_the_winners_of_a_sample_are_its_largest_units(rows: list[list[int]], share: float) -> None:
    a = torch.tensor(rows, dtype=torch.float32) / 2
    y, gradient = both(KWTA(share), a)
    k = max(1, int(share * 5))
    for i, row in enumerate(a.tolist()):
        threshold = sorted(row, reverse=True)[k - 1]
        assert y[i].tolist() == [float(value >= threshold) for value in row]
        assert gradient[i].tolist() == [
            (5 * i + j) * float(abs(value - threshold) <= 1) for j, value in enumerate(row, 1)
        ]


def test_the_winners_of_an_image_are_those_of_all_its_channels_and_pixels() -> None:
    a = torch.randn(3, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    y = KWTA(0.1)(a)
    assert y.flatten(1).sum(1).tolist() == [10, 10, 10]
    assert torch.equal(y.flatten(1), KWTA(0.1)(a.flatten(1)))


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_activations_keep_shape_and_type_of_any_batch(name: str, dtype: torch.dtype) -> None:
    for shape in ((0, 3), (1, 1), (2, 3, 4, 4)):
        y = ACTIVATIONS[name]()(torch.randn(shape).to(dtype))
        assert (y.shape, y.dtype) == (shape, dtype)
        assert {*y.flatten().tolist()} <= {-1.0, 0.0, 1.0}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_second_derivative_is_that_of_the_gradient_rule(name: str) -> None:
    """The gradient is a step function of `a` times the incoming one, so a curvature comes from behind alone."""
    a = torch.tensor([[0.7, -1.2, 0.9, -0.8]], dtype=torch.float64, requires_grad=True)
    factor = torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=torch.float64, requires_grad=True)
    y = ACTIVATIONS[name]()(a)
    (gradient,) = torch.autograd.grad((y * factor.square()).sum(), a, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), factor)
    passes = gradient.detach() / factor.detach().square()
    assert passes.abs().sum() > 0
    torch.testing.assert_close(second, 2 * factor.detach() * passes)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_layer_behind_an_activation_multiplies_in_int8_to_the_bits_of_the_float_product(name: str) -> None:
    torch.manual_seed(0)
    x = ACTIVATIONS[name]()(torch.randn(64, 300))
    floats, integers = BinaryLinear(300, 40), BinaryLinear(300, 40, integer_input=True)
    integers.load_state_dict(floats.state_dict())
    assert torch.equal(integers(x), floats(x))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_network_with_the_activation_trains_and_its_fisher_is_that_of_single_samples(name: Any) -> None:
    torch.manual_seed(0)
    network, x = bnn((1, 4, 4), 3, hidden=[32, 24], activation=name, norm="layer"), torch.randn(20, 1, 4, 4)
    y = torch.randint(3, (20,))
    expected = {key: torch.zeros_like(parameter) for key, parameter in network.named_parameters()}
    for n in range(20):
        network.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(network(x[n : n + 1]), y[n : n + 1]))
        for key, parameter in network.named_parameters():
            assert parameter.grad is not None
            expected[key] += parameter.grad.square() / 20
    assert all(total.abs().sum() > 0 for total in expected.values())
    for key, fisher in diagonal_fisher(network, [(x, y)]).items():
        torch.testing.assert_close(fisher, expected[key], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("make", [bnn, bcnn, vgg])
def test_an_unknown_activation_is_refused_by_name(make: Any) -> None:
    with pytest.raises(UserError, match=r"model\.activation=relu: expected one of sign, gate, kwta"):
        make((1, 28, 28), 3, activation="relu")


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("make", [bcnn, vgg])
def test_convolutional_networks_take_every_activation(make: Any, name: Any) -> None:
    small = {"channels": [3, 4], "kernel_size": 3} if make is bcnn else {"channels": [3, 4], "hidden": [8]}
    network = make((1, 12, 12), 3, activation=name, **small)
    kinds = {type(layer) for key, layer in network.named_children() if key.startswith("act")}
    assert kinds == {type(ACTIVATIONS[name]())}
    torch.autograd.backward(network(torch.randn(9, 1, 12, 12)).square().sum())
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())


def test_a_value_keeps_its_bits_with_the_gradient_of_another() -> None:
    value, surrogate = torch.tensor([0.1, 1e30, -3.0]), torch.tensor([1e30, 0.1, 7.0], requires_grad=True)
    assert torch.equal(with_gradient_of(surrogate, value), value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GateActivation(threshold=-1.0), "threshold=-1.0: expected a finite number >= 0"),
        (lambda: GateActivation(threshold=math.nan), "threshold=nan"),
        (lambda: GateActivation(threshold="1"), "threshold='1'"),  # type: ignore[arg-type]
        (lambda: GateActivation(window=(1.0, 0.5)), r"window=\(1.0, 0.5\): expected two finite numbers"),
        (lambda: GateActivation(window=(0.5,)), r"window=\(0.5,\)"),
        (lambda: KWTA(0.0), "share=0.0: expected a number > 0 and <= 1"),
        (lambda: KWTA(1.5), "share=1.5"),
        (lambda: KWTA()(torch.zeros(3)), r"input.shape=\(3,\): expected \(N, \*\) with at least one unit"),
        (
            lambda: KWTA()(torch.zeros(3, 2, dtype=torch.long)),
            r"input.dtype=torch.int64: expected a floating-point type",
        ),
        (lambda: KWTA()(torch.zeros(3, 0)), r"input.shape=\(3, 0\)"),
    ],
)
def test_arguments_out_of_range_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
