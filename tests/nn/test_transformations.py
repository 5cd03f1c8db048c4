"""PyTorch's transformations of layers: each gives what the layer gives by itself, gradients included."""

import copy
import importlib.util
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.fx
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jvp, vjp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint

from metaplast.nn import (
    KWTA,
    BatchNorm,
    BinaryConv2d,
    BinaryLinear,
    FixedScale,
    GateActivation,
    LayerNorm,
    SignActivation,
    bcnn,
    bnn,
    set_population_statistics,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:.torch.jit.(trace|script|trace_method). is deprecated:FutureWarning",  # torch.func calls it as well
    "ignore:.torch.jit.(trace|script|trace_method). is deprecated:DeprecationWarning",
    "ignore::torch.jit.TracerWarning",  # torch's own checks of a batch warn that they are not traced
)

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: BinaryLinear(6, 5), (20, 6)),
    "integer linear": (lambda: BinaryLinear(6, 5, integer_input=True), (20, 6)),
    "convolution": (lambda: BinaryConv2d(2, 3, 3, padding=1), (20, 2, 6, 6)),
    "sign": (SignActivation, (20, 6)),
    "gate": (GateActivation, (20, 6)),
    "kwta": (lambda: KWTA(0.3), (20, 6)),
    "batch norm": (lambda: BatchNorm(6), (20, 6)),
    "batch norm of the batch": (lambda: BatchNorm(6, test_statistics="batch"), (20, 6)),
    "running batch norm": (lambda: BatchNorm(6, test_statistics="running"), (20, 6)),
    "layer norm": (lambda: LayerNorm(6), (20, 6)),
    "scale": (lambda: FixedScale(6), (20, 6)),
    "bnn": (lambda: bnn((1, 4, 4), 3, hidden=[8, 6]), (20, 1, 4, 4)),
    "gated bnn": (lambda: bnn((1, 4, 4), 3, hidden=[8, 6], activation="gate", norm="layer"), (20, 1, 4, 4)),
    "bcnn": (lambda: bcnn((1, 8, 8), 3, channels=[2, 3], kernel_size=3), (20, 1, 8, 8)),
}
"""By name, a layer and the shape of its input. Adding a line here runs every transformation on it."""


def build(name: str, *, training: bool = False) -> tuple[nn.Module, Tensor]:
    """The layer, ready to be used, and an input of integers as `integer_input` promises them."""
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    layer, x = make(), torch.randint(-3, 4, shape).float()
    set_population_statistics(layer, lambda: [x])
    return layer.train(training), x


def gradients(layer: Any, x: Tensor) -> list[Tensor]:
    """Gradients of a weighted sum of the outputs at the input and at every parameter."""
    x = x.clone().requires_grad_()
    y = layer(x)
    pull = torch.arange(1.0, y.numel() + 1).view_as(y) / y.numel()
    return [*torch.autograd.grad((y * pull).sum(), [x, *layer.parameters()])]


def compiled(layer: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    return torch.compile(layer, backend="aot_eager", fullgraph=True)


def traced(layer: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    return torch.jit.trace(layer, x)  # type: ignore[no-any-return, no-untyped-call]


def symbolically_traced(layer: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    return torch.fx.symbolic_trace(layer)


def exported(layer: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    free = {0: torch.export.Dim("batch", min=2)}
    return torch.export.export(layer, (x,), dynamic_shapes=(free,)).module()


def functional(layer: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: functional_call(layer, dict(layer.named_parameters()), (x,))


def retraced(layer: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    return make_fx(layer)(x)


def checkpointed(layer: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: checkpoint(layer, x, use_reentrant=False)


def deep_copied(layer: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    return copy.deepcopy(layer)


def pickled(layer: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    return pickle.loads(pickle.dumps(layer))  # type: ignore[no-any-return]


def saved(layer: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    return torch.load(file, weights_only=False)  # type: ignore[no-any-return]


TRANSFORMATIONS = [
    compiled,
    traced,
    symbolically_traced,
    exported,
    functional,
    retraced,
    checkpointed,
    deep_copied,
    pickled,
    saved,
]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("transform", TRANSFORMATIONS, ids=lambda f: f.__name__)
def test_a_transformed_layer_answers_as_the_layer_does(transform: Any, name: str) -> None:
    layer, x = build(name)
    torch._dynamo.reset()
    other = transform(layer, x)
    torch.testing.assert_close(other(x), layer(x))
    if transform in (exported, compiled):  # another batch size too
        torch.testing.assert_close(other(x[:7]), layer(x[:7]))


@pytest.mark.parametrize("name", LAYERS)
def test_a_compiled_layer_has_the_gradients_of_the_layer_in_training(name: str) -> None:
    layer, x = build(name, training=True)
    torch._dynamo.reset()
    twin = copy.deepcopy(layer)
    other = torch.compile(twin, backend="aot_eager", fullgraph=True)
    for actual, expected in zip(gradients(other, x), gradients(layer, x), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)
    for actual, expected in zip(twin.buffers(), layer.buffers(), strict=True):
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("name", LAYERS)
def test_the_gradients_of_single_samples_are_those_of_a_loop(name: str) -> None:
    layer, x = build(name)
    parameters = {key: parameter.detach() for key, parameter in layer.named_parameters()}

    def loss(parameters: dict[str, Tensor], x_n: Tensor) -> Tensor:
        return functional_call(layer, parameters, (x_n.unsqueeze(0),)).square().sum()  # type: ignore[no-any-return]

    if name == "batch norm of the batch":
        pytest.skip("samples see each other")
    at_once = vmap(grad(loss, argnums=(0, 1)), in_dims=(None, 0))(parameters, x)
    for n in range(3):
        x_n = x[n : n + 1].clone().requires_grad_()
        wanted = torch.autograd.grad(layer(x_n).square().sum(), [x_n, *layer.parameters()])
        torch.testing.assert_close(at_once[1][n], wanted[0][0], rtol=1e-4, atol=1e-4)
        for key, expected in zip(parameters, wanted[1:], strict=True):
            torch.testing.assert_close(at_once[0][key][n], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", LAYERS)
def test_derivatives_along_a_direction_are_the_products_with_the_gradient(name: str) -> None:
    layer, x = build(name)
    direction = torch.randn_like(x)
    y, forward = jvp(layer, (x,), (direction,))  # type: ignore[misc]
    torch.testing.assert_close(y, layer(x))
    pull = torch.randn_like(y)
    (back,) = vjp(layer, x)[1](pull)
    torch.testing.assert_close((forward * pull).sum(), (back * direction).sum(), rtol=1e-4, atol=1e-3)
    with forward_ad.dual_level():
        dual = layer(forward_ad.make_dual(x, direction))  # type: ignore[no-untyped-call]
        tangent = forward_ad.unpack_dual(dual).tangent  # type: ignore[no-untyped-call]
    torch.testing.assert_close(tangent, forward, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["linear", "integer linear", "sign", "gate", "batch norm", "layer norm"])
def test_a_hessian_is_that_of_differentiating_twice(name: str) -> None:
    layer, x = build(name)
    x = x[:2]

    def loss(x: Tensor) -> Tensor:
        return layer(x).pow(3).sum()  # type: ignore[no-any-return]

    expected = torch.autograd.functional.hessian(loss, x)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(hessian(loss)(x), expected, rtol=1e-4, atol=1e-3)


def test_the_default_compiler_takes_a_whole_network() -> None:
    layer, x = build("bnn")
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(layer)(x), layer(x))


def test_an_ensemble_of_networks_runs_at_once() -> None:
    networks = [build("gated bnn")[0] for _ in range(3)]
    for seed, network in enumerate(networks):
        torch.manual_seed(seed)
        for parameter in network.parameters():
            nn.init.normal_(parameter)
    x = torch.randn(4, 1, 4, 4)
    parameters, buffers = torch.func.stack_module_state(networks)

    def call(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(networks[0], (parameters, buffers), (x,))  # type: ignore[no-any-return]

    together = vmap(call, in_dims=(0, 0, None))(parameters, buffers, x)
    torch.testing.assert_close(together, torch.stack([network(x) for network in networks]), rtol=1e-4, atol=1e-4)


def test_an_export_to_onnx_needs_its_packages_and_says_so() -> None:
    """The path that the exporter takes, torch.export, is in the table above; its own packages are no dependency."""
    layer, x = build("bnn")
    if importlib.util.find_spec("onnxscript") is None:
        with pytest.raises(ImportError, match="onnx"):
            torch.onnx.export(layer, (x,), dynamo=True, verbose=False)
    else:
        assert torch.onnx.export(layer, (x,), dynamo=True, verbose=False) is not None
