"""Layers given inputs of any shape, type and stride: a documented error, or the result of plain formulas in float64.

`METAPLAST_FUZZ=10000` draws that many cases a test.
"""

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from metaplast.errors import UserError
from metaplast.nn import KWTA, BatchNorm, BinaryConv2d, BinaryLinear, GateActivation, LayerNorm, SignActivation

fuzz = settings(
    deadline=None,
    max_examples=int(os.environ.get("METAPLAST_FUZZ", "50")),
    suppress_health_check=[HealthCheck.too_slow],
)
DTYPES = [torch.float32, torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.bool]
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-3}


@st.composite
def inputs(draw: st.DrawFn) -> Tensor:
    """A tensor of 0 to 4 dimensions of small integers, contiguous or seen through other strides."""
    shape = draw(st.lists(st.sampled_from([0, 1, 2, 3, 5, 17]), max_size=4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    x = torch.randint(-4, 5, shape, generator=generator).to(draw(st.sampled_from(DTYPES)))
    view = draw(st.sampled_from(["as is", "transposed", "every other", "repeated", "column major"]))
    if not x.dim() or view == "as is":
        return x
    if view == "transposed":
        return x.transpose(0, -1)
    if view == "every other":
        return torch.cat([x, x])[::2]
    if view == "repeated":
        return x[:1].expand(3, *x.shape[1:]) if len(x) else x
    return x.transpose(0, -1).contiguous().transpose(0, -1)


def signs(weight: Tensor) -> Tensor:
    return torch.where(weight >= 0, 1.0, -1.0).double()


def reference(layer: nn.Module, x: Tensor) -> Tensor:
    """The layer by its formula, in float64."""
    x = x.double()
    if isinstance(layer, BinaryLinear):
        return x @ signs(layer.weight).T
    if isinstance(layer, BinaryConv2d):
        return F.conv2d(x, signs(layer.weight), None, layer.stride, layer.padding, layer.dilation, layer.groups)
    if isinstance(layer, SignActivation):
        return (x > 0).double() - (x < 0).double()
    if isinstance(layer, GateActivation):
        return (x.abs() > 1).double()
    if isinstance(layer, KWTA):
        units = x.flatten(1)
        k = max(1, int(layer.share * units.shape[1]))
        return (units >= units.sort(dim=1, descending=True).values[:, k - 1 : k]).double().view_as(x)
    assert isinstance(layer, BatchNorm | LayerNorm)
    dims = [d for d in range(x.dim()) if d != 1] if isinstance(layer, BatchNorm) else [*range(1, x.dim())]
    mean = x.mean(dims, keepdim=True)
    var = (x - mean).square().mean(dims, keepdim=True)
    return (x - mean) / (var + 1e-5).sqrt()


LAYERS: dict[str, Callable[[int], nn.Module]] = {
    "linear": lambda n: BinaryLinear(n, 3),
    "integer linear": lambda n: BinaryLinear(n, 20, integer_input=True),
    "double linear": lambda n: BinaryLinear(n, 3, dtype=torch.float64),
    "convolution": lambda n: BinaryConv2d(n, 2 * n, 2, padding=1, groups=n),
    "strided convolution": lambda n: BinaryConv2d(n, 3, (2, 1), stride=(1, 2), dilation=2),
    "sign": lambda _: SignActivation(),
    "gate": lambda _: GateActivation(),
    "kwta": lambda _: KWTA(0.3),
    "batch norm": lambda n: BatchNorm(n),
    "running batch norm": lambda n: BatchNorm(n, affine=False, test_statistics="running"),
    "double batch norm": lambda n: BatchNorm(n).double(),
    "layer norm": lambda n: LayerNorm(n),
}


@pytest.mark.parametrize("name", LAYERS)
@fuzz
@given(x=inputs(), width=st.sampled_from([1, 2, 3, 5, 17]), fits=st.booleans())
def test_a_layer_answers_by_its_formula_or_refuses(name: str, x: Tensor, width: int, fits: bool) -> None:
    if fits and x.dim():  # a width drawn by itself would hardly ever be that of the input
        width = max(1, x.shape[-1] if "linear" in name else x.shape[1 if x.dim() > 1 else 0])
    layer: Any = LAYERS[name](width)
    before = [parameter.detach().clone() for parameter in layer.parameters()]
    x = x.requires_grad_() if x.dtype.is_floating_point else x
    refusal = ""
    try:
        y = layer(x)
    except (ValueError, UserError, RuntimeError) as error:  # ours, and torch's own of types and sizes
        refusal = str(error)
    if refusal:
        words = (
            "expected",
            "Expected",
            "more than one",
            "dtype",
            "type",
            "size",
            "dimension",
            "not implemented",
            "supported",
        )
        assert any(word in refusal for word in words), refusal
        return
    expected = reference(layer, x.detach())
    assert y.shape == expected.shape
    tolerance = TOLERANCES.get(y.dtype, 5e-2)
    torch.testing.assert_close(y.double(), expected, rtol=tolerance, atol=tolerance)
    assert all(torch.equal(a, b) for a, b in zip(before, layer.parameters(), strict=True))
    if y.requires_grad:
        torch.autograd.backward(y.double().square().sum())
        for leaf in (x, *layer.parameters()):
            assert leaf.grad is None or (leaf.grad.shape == leaf.shape and leaf.grad.isfinite().all())
