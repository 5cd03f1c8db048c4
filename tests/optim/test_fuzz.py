"""Optimizers given parameters and gradients of any shape, type and stride: a documented error, or plain formulas.

`METAPLAST_FUZZ=10000` draws that many cases a test.
"""

import os
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from metaplast.optim import MetaplasticAdam, MetaplasticSGD, f_exponential, f_meta, parameter_groups

fuzz = settings(
    deadline=None,
    max_examples=int(os.environ.get("METAPLAST_FUZZ", "30")),
    suppress_health_check=[HealthCheck.too_slow],
)
Array = npt.NDArray[np.float64]
DTYPES = [torch.float32] * 3 + [torch.float64] * 2 + [torch.bfloat16, torch.float16, torch.int64, torch.complex64]
TOLERANCES = {torch.float64: 1e-9, torch.float32: 2e-5, torch.bfloat16: 0.1, torch.float16: 0.02}
SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, 7]), max_size=4)
numbers = st.sampled_from([0.0, 0.3, 1.0, 1.35, 20.0, -1.0, float("nan"), float("inf"), "1.3", None, True, [1.0]])


def strided(draw: st.DrawFn, shape: list[int], dtype: torch.dtype, seed: int) -> Tensor:
    """Numbers in that shape, contiguous or seen through other strides, some of them 0."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-8, 9, shape, generator=generator).to(dtype) / (1 if dtype == torch.int64 else 8)
    view = draw(st.sampled_from(["as is", "transposed", "every other", "column major"]))
    if not shape or view == "as is":
        return x
    if view == "transposed":
        return x.transpose(0, -1).contiguous().transpose(0, -1)
    if view == "every other":
        return torch.stack([x, x], dim=-1)[..., 0]
    return x.movedim(0, -1).contiguous().movedim(-1, 0)


@st.composite
def parameters(draw: st.DrawFn) -> tuple[nn.Parameter, list[Tensor]]:
    """A parameter and the gradients of a few steps, each through strides of its own."""
    shape, dtype, seed = draw(SHAPES), draw(st.sampled_from(DTYPES)), draw(st.integers(0, 2**31))
    real = dtype != torch.int64
    parameter = nn.Parameter(strided(draw, shape, dtype, seed), requires_grad=real)
    return parameter, [strided(draw, shape, dtype, seed + step) for step in range(1, draw(st.integers(2, 5)))]


def share(consolidation: str, m: float, w: Array) -> Array:
    return np.exp(-m * np.abs(w)) if consolidation == "exponential" else 1 - np.tanh(m * np.abs(w)) ** 2


def step_of(pull: Array, w: Array, settings: dict[str, Any]) -> Array:
    """`pull`, less of it where it would shrink a hidden weight; vectors are none."""
    if w.ndim < 2:
        return pull
    return np.where(w * pull > 0, share(settings["consolidation"], settings["m"], w) * pull, pull)


def reference(kind: type, w: Array, gradients: list[Array], s: dict[str, Any]) -> Array:
    """The steps by the equations of the docstrings, in float64."""
    first, second = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gradients, start=1):
        w = w * (1 - s["decoupled_weight_decay"]) if w.ndim >= 2 else w
        g = g + s["weight_decay"] * w
        if kind is MetaplasticSGD:
            first = s["momentum"] * first + g
            w = w - s["lr"] * step_of(first, w, s)
            continue
        b1, b2 = s["betas"]
        first, second = b1 * first + (1 - b1) * g, b2 * second + (1 - b2) * g**2
        scale = s["lr"] * np.sqrt(1 - b2**t) / (1 - b1**t)
        w = w - scale * step_of(first, w, s) / (np.sqrt(second) + s["eps"])
    return w


KINDS: dict[str, tuple[type, dict[str, Any]]] = {
    "adam": (MetaplasticAdam, {"betas": (0.9, 0.99), "eps": 1e-3, "compiled": False}),
    "adam, small parameters together": (MetaplasticAdam, {"betas": (0.5, 0.9), "eps": 1e-3}),
    "adam, one pass": (MetaplasticAdam, {"betas": (0.0, 0.999), "eps": 1e-3, "compiled": True}),
    "sgd": (MetaplasticSGD, {"momentum": 0.9}),
    "sgd without momentum": (MetaplasticSGD, {"momentum": 0.0}),
}


compiles = pytest.mark.skipif("METAPLAST_FUZZ" not in os.environ, reason="each kind of tensor compiles for seconds")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[compiles] if name == "adam, one pass" else []) for name in KINDS]
)
@fuzz
@given(
    drawn=parameters(),
    m=st.sampled_from([0.0, 0.3, 1.35, 20.0]),
    decays=st.sampled_from([(0.0, 0.0), (0.1, 0.0), (0.0, 0.01)]),
    consolidation=st.sampled_from(["tanh", "exponential"]),
)
def test_an_optimizer_steps_by_its_equations_or_refuses(
    name: str, drawn: tuple[nn.Parameter, list[Tensor]], m: float, decays: tuple[float, float], consolidation: str
) -> None:
    kind, own = KINDS[name]
    parameter, gradients = drawn
    s = {"lr": 0.01, "m": m, "weight_decay": decays[0], "decoupled_weight_decay": decays[1], **own}
    s["consolidation"] = consolidation
    if not parameter.dtype.is_floating_point:
        with pytest.raises(ValueError, match="params: expected real floating-point tensors, got torch"):
            kind([parameter], **s)
        return
    optimizer = kind([parameter], **s)
    start, dtype, strides = parameter.detach().double().numpy().copy(), parameter.dtype, parameter.stride()
    kept = [gradient.clone() for gradient in gradients]
    for gradient in gradients:
        parameter.grad = gradient
        optimizer.step()
    expected = reference(kind, start, [gradient.double().numpy() for gradient in kept], s)
    tolerance = TOLERANCES[dtype]
    np.testing.assert_allclose(parameter.detach().double().numpy(), expected, rtol=tolerance, atol=tolerance)
    assert (parameter.dtype, parameter.stride()) == (dtype, strides)
    assert all(torch.equal(a, b) for a, b in zip(gradients, kept, strict=True)), "gradients are only read"


@fuzz
@given(
    kind=st.sampled_from([MetaplasticAdam, MetaplasticSGD]),
    name=st.sampled_from(["lr", "m", "weight_decay", "decoupled_weight_decay", "eps", "momentum", "betas"]),
    value=numbers,
    in_group=st.booleans(),
)
def test_a_setting_of_any_kind_is_taken_or_refused_by_name(kind: Any, name: str, value: Any, in_group: bool) -> None:
    if name not in kind.RANGES:
        return
    parameter = nn.Parameter(torch.ones(2, 2))
    try:
        optimizer = kind([{"params": [parameter], name: value}]) if in_group else kind([parameter], **{name: value})
    except ValueError as error:
        assert str(error).startswith(f"{name}=")  # noqa: PT017
        assert ": expected " in str(error)  # noqa: PT017
        return
    assert isinstance(value, float)
    parameter.grad = torch.ones(2, 2)
    optimizer.step()
    assert parameter.isfinite().all()


@fuzz
@given(drawn=parameters(), m=st.sampled_from([0.0, 0.3, 1.35, 20.0]))
def test_a_consolidation_function_is_its_formula(drawn: tuple[nn.Parameter, list[Tensor]], m: float) -> None:
    hidden = drawn[0].detach()
    if not hidden.dtype.is_floating_point:
        return
    w = hidden.double().numpy()
    for function, name in ((f_meta, "tanh"), (f_exponential, "exponential")):
        actual = function(m, hidden)
        assert actual.shape == hidden.shape
        tolerance = TOLERANCES[hidden.dtype]
        np.testing.assert_allclose(actual.double().numpy(), share(name, m, w), rtol=tolerance, atol=tolerance)


@fuzz
@given(
    shapes=st.lists(SHAPES, max_size=4),
    m=st.one_of(st.just(1.3), st.lists(st.sampled_from([0.0, 1.0, 2.5]), max_size=4)),
)
def test_groups_hold_every_parameter_once_with_the_m_of_its_layer(shapes: list[list[int]], m: Any) -> None:
    network = nn.ParameterList([nn.Parameter(torch.ones(shape)) for shape in shapes])
    weights = [parameter for parameter in network if parameter.dim() >= 2]
    values = m if isinstance(m, list) else [m] * len(weights)
    if len(values) != len(weights):
        with pytest.raises(ValueError, match=f"expected one number for each of {len(weights)} weight layers, got"):
            parameter_groups(network, m)
        return
    groups = parameter_groups(network, m)
    found = {id(parameter): group["m"] for group in groups for parameter in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(shapes) == len(found)
    assert [found[id(parameter)] for parameter in weights] == values
    assert all(not found[id(parameter)] for parameter in network if parameter.dim() < 2)
