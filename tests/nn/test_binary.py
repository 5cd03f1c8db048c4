"""Binary layers act with signs, learn with real numbers, and write to no parameter."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from metaplast.nn import BinaryConv2d, BinaryLinear, SignActivation, binarize, hidden_weights, sign

seeds = st.integers(0, 2**32 - 1)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(st.lists(st.floats(allow_nan=False, width=32), min_size=1))
def test_a_binary_weight_is_never_anything_but_one_or_minus_one(values: list[float]) -> None:
    expected = [1.0 if value >= 0 else -1.0 for value in values]
    assert sign(torch.tensor(values)).tolist() == expected


@given(seeds)
def test_the_gradient_passes_straight_through_to_the_hidden_weight(seed: int) -> None:
    hidden = draw(seed, 3, 4).requires_grad_()
    factor = draw(seed + 1, 3, 4)
    (binarize(hidden) * factor).sum().backward()  # type: ignore[no-untyped-call]
    assert hidden.grad is not None
    assert torch.equal(hidden.grad, factor)


@given(st.lists(st.floats(-3, 3, width=32) | st.sampled_from([-1.0, 1.0, 1 + 2**-23]), min_size=1))
def test_the_sign_activation_passes_gradients_inside_its_window_only(values: list[float]) -> None:
    a = torch.tensor(values, requires_grad=True)
    SignActivation()(a).sum().backward()
    assert a.grad is not None
    assert a.grad.tolist() == [float(abs(value) <= 1) for value in values]


@given(seeds)
def test_a_binary_linear_layer_multiplies_with_the_signs_of_its_weight(seed: int) -> None:
    torch.manual_seed(seed)
    layer, x = BinaryLinear(5, 3), draw(seed, 2, 7, 5)
    before = layer.weight.detach().clone()
    assert torch.equal(layer(x), x @ sign(layer.weight).T)
    assert torch.equal(layer.weight, before)
    assert layer.weight.abs().max() <= 0.05


@given(seeds, st.integers(1, 600))
def test_integers_are_multiplied_in_int8_to_the_bits_of_the_float_product(seed: int, n_inputs: int) -> None:
    torch.manual_seed(seed)
    floats, integers = BinaryLinear(n_inputs, 3), BinaryLinear(n_inputs, 3, integer_input=True)
    integers.load_state_dict(floats.state_dict())
    x, factor = draw(seed, 2, 7, n_inputs).sign().requires_grad_(), draw(seed + 1, 2, 7, 3)
    expected, actual = floats(x), integers(x)
    assert torch.equal(actual, expected)
    for got, wanted in zip(
        torch.autograd.grad(actual, [x, integers.weight], factor),
        torch.autograd.grad(expected, [x, floats.weight], factor),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted)


@given(seeds)
def test_a_binary_convolution_convolves_with_the_signs_of_its_weight(seed: int) -> None:
    torch.manual_seed(seed)
    layer, x = BinaryConv2d(2, 3, kernel_size=3, padding=1), draw(seed, 4, 2, 6, 6)
    assert torch.equal(layer(x), F.conv2d(x, sign(layer.weight), padding=1))


def test_hidden_weights_are_the_ordinary_parameters_of_the_state_dict() -> None:
    network = nn.Sequential(BinaryConv2d(1, 2, 3), nn.Linear(2, 2), BinaryLinear(4, 2))
    assert list(hidden_weights(network)) == ["0", "2"]
    assert hidden_weights(network)["2"] is network.get_parameter("2.weight")
    assert "2.weight" in network.state_dict()
