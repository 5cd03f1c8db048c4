"""Binary layers act with signs, learn with real numbers, and write to no parameter."""

import copy
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from metaplast.nn import BinaryConv2d, BinaryLinear, binarize, hidden_weights, sign

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


def second_derivative(y: torch.Tensor, at: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
    """∂/∂of of the squared norm of ∂‖y‖²/∂at."""
    (first,) = torch.autograd.grad(y.square().sum(), at, create_graph=True)
    return torch.autograd.grad(first.square().sum(), of)[0]


@pytest.mark.parametrize("rows", [1, 15, 16, 64])
@pytest.mark.parametrize("integer", [False, True])
def test_second_derivatives_are_those_of_the_formula(rows: int, integer: bool) -> None:
    torch.manual_seed(0)
    layer, x = BinaryLinear(20, 30, integer_input=integer), torch.randint(-3, 4, (rows, 20)).float().requires_grad_()
    for at in (x, layer.weight):
        for of in (x, layer.weight):
            expected = second_derivative(F.linear(x, binarize(layer.weight)), at, of)
            assert expected.abs().sum() > 0
            torch.testing.assert_close(second_derivative(layer(x), at, of), expected, rtol=1e-4, atol=1e-2)


def test_third_derivatives_are_those_of_the_formula() -> None:
    torch.manual_seed(0)
    layer, x = BinaryLinear(3, 4), torch.randn(20, 3, requires_grad=True)
    third = []
    for y in (layer(x), F.linear(x, binarize(layer.weight))):
        value = y.pow(4).sum()
        for _ in range(3):
            (gradient,) = torch.autograd.grad(value, x, create_graph=True)
            value = gradient.square().sum()
        third.append(value.detach())
    torch.testing.assert_close(*third, rtol=1e-4, atol=0)


def test_a_weight_may_be_written_to_between_forward_and_backward_pass() -> None:
    layer, x = BinaryLinear(4, 3), torch.randn(20, 4, requires_grad=True)
    binary, y = sign(layer.weight), layer(x)
    with torch.no_grad():
        layer.weight.neg_()
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, binary.sum(0).expand(20, 4))


@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("shape", [(5,), (0, 5), (1, 5), (16, 5), (2, 0, 5), (2, 3, 5), (2, 2, 2, 5), (40, 5)], ids=str)
def test_inputs_of_every_shape_are_multiplied(shape: tuple[int, ...], integer: bool) -> None:
    layer, x = BinaryLinear(5, 3, integer_input=integer), torch.randint(-2, 3, shape).float().requires_grad_()
    expected = F.linear(x, binarize(layer.weight))
    assert torch.equal(layer(x), expected)
    for actual, wanted in zip(
        torch.autograd.grad(layer(x).sum(), [x, layer.weight]),
        torch.autograd.grad(expected.sum(), [x, layer.weight]),
        strict=True,
    ):
        assert torch.equal(actual, wanted)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x.t().contiguous().t(),
        lambda x: x[::2],
        lambda x: x[:1].expand(40, 40),
        lambda x: x.flip(1),
        lambda x: torch.as_strided(x, (20, 40), (1, 1)),
    ],
    ids=["columns", "every other row", "one row repeated", "flipped", "overlapping"],
)
def test_inputs_of_every_stride_are_multiplied(make: Any) -> None:
    x = make(torch.randint(-2, 3, (40, 40)).float())
    for integer in (False, True):
        layer = BinaryLinear(40, 24, integer_input=integer)
        assert torch.equal(layer(x), x @ sign(layer.weight).T)


@pytest.mark.parametrize("shape", [(), (4,), (6,), (3, 4), (2, 3, 6), (3, 0)], ids=str)
@pytest.mark.parametrize("integer", [False, True])
def test_an_input_of_another_size_is_refused_before_it_is_multiplied(shape: tuple[int, ...], integer: bool) -> None:
    with pytest.raises(ValueError, match=r"input.shape=.*: expected \(\*, 5\)"):
        BinaryLinear(5, 3, integer_input=integer)(torch.zeros(shape))


def test_types_that_do_not_fit_are_refused_as_by_torch() -> None:
    for x in (torch.zeros(20, 5, dtype=torch.float64), torch.zeros(20, 5, dtype=torch.long), torch.zeros(20, 5).half()):
        with pytest.raises(RuntimeError, match="dtype"):
            BinaryLinear(5, 3)(x)


def test_the_type_and_the_device_of_a_layer_are_chosen_as_those_of_torchs_layers() -> None:
    double = BinaryLinear(5, 3, dtype=torch.float64)
    assert double(torch.ones(2, 5, dtype=torch.float64)).dtype == torch.float64
    assert BinaryLinear(5, 3, device="meta").weight.device.type == "meta"
    assert BinaryLinear(5, 3, device="meta")(torch.zeros(7, 5, device="meta")).shape == (7, 3)
    assert BinaryConv2d(1, 2, 3, dtype=torch.bfloat16, device="cpu").weight.dtype == torch.bfloat16
    empty: Any = nn.utils.skip_init(BinaryLinear, 5, 3)  # type: ignore[no-untyped-call]
    assert empty.weight.shape == (3, 5)


@pytest.mark.parametrize("layer", [BinaryLinear(30, 40), BinaryConv2d(3, 20, 5), BinaryLinear(30, 40, init_bound=2.0)])
def test_parameters_are_reset_to_where_they_start(layer: BinaryLinear | BinaryConv2d) -> None:
    before = layer.weight.detach().clone()
    layer.reset_parameters()
    assert not torch.equal(layer.weight, before)
    assert 0.9 * layer.init_bound < layer.weight.abs().max() <= layer.init_bound
    assert abs(layer.weight.mean().item()) < 0.1 * layer.init_bound


@pytest.mark.parametrize("width", [0.0, -0.05, float("inf"), float("nan"), None, "0.05", True])
def test_a_width_out_of_range_is_refused(width: Any) -> None:
    with pytest.raises(ValueError, match=r"init_bound=.*: expected a finite number > 0"):
        BinaryLinear(5, 3, width)
    with pytest.raises(ValueError, match=r"init_bound=.*: expected a finite number > 0"):
        BinaryConv2d(1, 2, 3, init_bound=width)


@pytest.mark.parametrize(
    "arguments",
    [
        {"stride": 2},
        {"stride": (1, 2), "padding": (2, 1)},
        {"dilation": 2},
        {"groups": 2},
        {"padding": "same"},
        {"padding": 1, "padding_mode": "reflect"},
    ],
    ids=str,
)
def test_a_binary_convolution_takes_the_arguments_of_torchs(arguments: dict[str, Any]) -> None:
    ours, theirs = BinaryConv2d(2, 4, 3, **arguments), nn.Conv2d(2, 4, 3, bias=False, **arguments)
    with torch.no_grad():
        theirs.weight.copy_(sign(ours.weight))
    x = torch.randn(2, 2, 9, 9)
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours(x[0]), theirs(x[0]))


@pytest.mark.parametrize("layer", [BinaryLinear(3, 2, integer_input=True), BinaryConv2d(1, 2, 3, stride=2)])
def test_layers_can_be_copied_and_pickled(layer: BinaryLinear | BinaryConv2d) -> None:
    x = torch.ones(2, 3) if isinstance(layer, BinaryLinear) else torch.ones(2, 1, 5, 5)
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(copied(x), layer(x))
        assert repr(copied) == repr(layer)
