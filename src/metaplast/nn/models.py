"""The networks: the paper's binary one, its convolutional form, and the full-precision twin, as plain `nn.Sequential`s.

Layers are named `layer1, norm1, act1, layer2, …`, and every weight layer is followed by its normalization, the last
one too, and that by `scale` where `logit_scale` is not 1.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod
from typing import TypedDict, Unpack

from torch import Tensor, nn

from metaplast.errors import UserError
from metaplast.nn.activations import ACTIVATIONS, Activation, GateActivation
from metaplast.nn.binary import BinaryConv2d, BinaryLinear, hidden_weights
from metaplast.nn.normalization import BatchNorm, FixedScale, LayerNorm, Statistics


class NormSettings(TypedDict, total=False):
    """How a network normalizes; see `conf/model/parts/norm.yaml`."""

    norm: str
    norm_affine: bool
    norm_per_task: bool
    gamma_init: str
    test_statistics: Statistics
    logit_scale: float


def norm_layer(features: int, fan_in: int, n_tasks: int, **settings: Unpack[NormSettings]) -> nn.Module:
    """Build the normalization behind a layer of `features` outputs, each a sum of `fan_in` products."""
    kind = settings.get("norm", "batch")
    n_states = n_tasks if settings.get("norm_per_task", True) else 1
    affine, gamma_init = settings.get("norm_affine", True), settings.get("gamma_init", "ones")
    if kind == "batch":
        statistics = settings.get("test_statistics", "population")
        return BatchNorm(features, n_states, affine, gamma_init, statistics)
    if kind == "layer":
        return LayerNorm(features, n_states, affine, gamma_init)
    if kind == "none":
        return FixedScale(fan_in)
    raise UserError(f"model.norm={kind}: expected one of batch, layer, none")


class LogitScale(nn.Module):
    """The inverse temperature of the softmax: z ↦ `scale` · z, on logits z (N, K); no parameter.

    Without γ, normalized logits have variance 1, so the largest of ten cannot exceed 3. A scale below 1 flattens the
    softmax, and correct answers go on giving a gradient; a scale above 1 leaves it to the wrong ones.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, z: Tensor) -> Tensor:
        """Return the logits times the scale."""
        return self.scale * z

    def extra_repr(self) -> str:
        """Return the argument, which `print` shows."""
        return f"scale={self.scale}"


def _scale_logits(network: nn.Sequential, settings: NormSettings) -> nn.Sequential:
    """Append the scale of the logits, if it is not 1."""
    if (scale := settings.get("logit_scale", 1.0)) != 1:
        network.add_module("scale", LogitScale(scale))
    return network


def _activation(name: Activation, gate_threshold: float, gate_window: Sequence[float]) -> nn.Module:
    """Build the activation `name`; raises UserError where there is none of that name, or no such gate."""
    if name not in ACTIVATIONS:
        raise UserError(f"model.activation={name}: expected one of {', '.join(ACTIVATIONS)}")
    if name != "gate":
        return ACTIVATIONS[name]()
    try:
        return GateActivation(gate_threshold, gate_window)
    except ValueError as error:
        raise UserError(f"model.gate_{error}") from error


def _dense(
    linear: Callable[[int, int, int], nn.Module],
    activation: Callable[[], nn.Module],
    widths: Sequence[int],
    n_tasks: int,
    settings: NormSettings,
) -> nn.Sequential:
    """Stack `linear(number, inputs, outputs)`, normalization and `activation` over `widths`, the last without one."""
    network = nn.Sequential()
    network.add_module("flatten", nn.Flatten())
    for i, (fan_in, width) in enumerate(pairwise(widths), start=1):
        network.add_module(f"layer{i}", linear(i, fan_in, width))
        network.add_module(f"norm{i}", norm_layer(width, fan_in, n_tasks, **settings))
        if i < len(widths) - 1:
            network.add_module(f"act{i}", activation())
    return _scale_logits(network, settings)


def bnn(
    input_shape: Sequence[int],
    n_classes: int,
    n_tasks: int = 1,
    hidden: Sequence[int] = (512, 512),
    init_bound: float = 0.05,
    activation: Activation = "sign",
    gate_threshold: float = 1.0,
    gate_window: Sequence[float] = (0.5, 1.5),
    **norm: Unpack[NormSettings],
) -> nn.Sequential:
    """Binary weights and activations, from (N, *input_shape) to (N, n_classes); the input itself stays real.

    `activation` is "sign", "gate" or "kwta", each a class of :mod:`metaplast.nn.activations`. A gate opens beyond
    `gate_threshold` and passes gradients inside `gate_window`; the others ignore both. Raises UserError for another
    activation and for a threshold or window out of range.

    Source: Laborieux et al. 2021, Methods; two hidden layers of 4096 there.

    >>> import torch
    >>> network = bnn((1, 28, 28), 10, hidden=[32, 16])
    >>> network(torch.rand(5, 1, 28, 28)).shape
    torch.Size([5, 10])
    """
    widths = [prod(input_shape), *hidden, n_classes]

    def linear(number: int, n_inputs: int, n_outputs: int) -> BinaryLinear:
        return BinaryLinear(n_inputs, n_outputs, init_bound, integer_input=number > 1)  # behind activations

    return _dense(linear, lambda: _activation(activation, gate_threshold, gate_window), widths, n_tasks, norm)


def mlp(
    input_shape: Sequence[int],
    n_classes: int,
    n_tasks: int = 1,
    hidden: Sequence[int] = (512, 512),
    init_bound: float | None = None,
    **norm: Unpack[NormSettings],
) -> nn.Sequential:
    """The full-precision twin of :func:`bnn`: real weights without bias, ReLU, the same norms (paper, Fig. 2f).

    `init_bound` None starts weights as torch does, uniform on ±1/√fan_in, a number uniform on ± it. With norm="none" it
    is an ordinary network: layers with a bias, and no scale, which only sums of ±1 need.
    """
    widths, ordinary = [prod(input_shape), *hidden, n_classes], norm.get("norm") == "none"

    def linear(number: int, n_inputs: int, n_outputs: int) -> nn.Linear:
        layer = nn.Linear(n_inputs, n_outputs, bias=ordinary)
        if init_bound is not None:
            nn.init.uniform_(layer.weight, -init_bound, init_bound)
        return layer

    network = _dense(linear, nn.ReLU, widths, n_tasks, norm)
    layers = network.named_children()
    return nn.Sequential(OrderedDict((name, layer) for name, layer in layers if not isinstance(layer, FixedScale)))


def bcnn(
    input_shape: Sequence[int],
    n_classes: int,
    n_tasks: int = 1,
    channels: Sequence[int] = (12, 20, 30),
    kernel_size: int = 4,
    padding: int = 1,
    init_bound: float = 0.05,
    activation: Activation = "sign",
    gate_threshold: float = 1.0,
    gate_window: Sequence[float] = (0.5, 1.5),
    **norm: Unpack[NormSettings],
) -> nn.Sequential:
    """Binary convolutions, each with 2×2 average pooling, normalization and activation, then one binary linear layer.

    From (N, *input_shape) to (N, n_classes). Source: the paper's MNIST–USPS network, channels 12-20-30 or 10-15-20.
    `activation`, `gate_threshold` and `gate_window` as of :func:`bnn`. Raises UserError where pooling leaves nothing of
    the image.
    """
    network = nn.Sequential()
    n_inputs, height, width = input_shape
    for i, n_outputs in enumerate(channels, start=1):
        height, width = ((side + 2 * padding - kernel_size + 1) // 2 for side in (height, width))
        if height < 1 or width < 1:
            raise UserError(
                f"model.channels={list(channels)}: images of {input_shape[1]}x{input_shape[2]} pixels are used up at "
                f"convolution {i}; take at most {i - 1} channels, a smaller model.kernel_size or more model.padding"
            )
        network.add_module(
            f"layer{i}", BinaryConv2d(n_inputs, n_outputs, kernel_size, padding=padding, init_bound=init_bound)
        )
        network.add_module(f"pool{i}", nn.AvgPool2d(2))
        network.add_module(f"norm{i}", norm_layer(n_outputs, n_inputs * kernel_size**2, n_tasks, **norm))
        network.add_module(f"act{i}", _activation(activation, gate_threshold, gate_window))
        n_inputs = n_outputs
    fan_in, last = n_inputs * height * width, len(channels) + 1
    network.add_module("flatten", nn.Flatten())
    network.add_module(f"layer{last}", BinaryLinear(fan_in, n_classes, init_bound, integer_input=True))
    network.add_module(f"norm{last}", norm_layer(n_classes, fan_in, n_tasks, **norm))
    return _scale_logits(network, norm)


def vgg(
    input_shape: Sequence[int],
    n_classes: int,
    n_tasks: int = 1,
    channels: Sequence[int] = (128, 128, 256, 256, 512, 512),
    hidden: Sequence[int] = (2048, 2048),
    dropout: float = 0.5,
    init_bound: float | None = None,
    activation: Activation = "sign",
    gate_threshold: float = 1.0,
    gate_window: Sequence[float] = (0.5, 1.5),
    **norm: Unpack[NormSettings],
) -> nn.Sequential:
    """Binary 3×3 convolutions in pairs, each pair followed by 2×2 max pooling, then binary linear layers with dropout.

    From (N, *input_shape) to (N, n_classes); the input itself stays real. Convolutions are padded by 1, but for the
    last; of an odd number, the last is pooled too. Every weight layer is followed by pooling, if it is its turn,
    normalization and activation, as of :func:`bnn`, a hidden linear one by dropout as well. `init_bound` None starts
    hidden weights normal with variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010), a number uniform on ± it. Raises
    UserError where pooling leaves nothing of the image.

    Source: the network for CIFAR-10 of Laborieux et al. 2021 (its published code). There the sign comes behind the
    dropout and undoes its scaling of what is kept; here, in the usual order, averages kept while training fit a test.

    >>> import torch
    >>> network = vgg((3, 32, 32), 10, channels=[4, 4, 8, 8], hidden=[16])
    >>> network(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    network = nn.Sequential()
    n_inputs, height, width = input_shape
    for i, n_outputs in enumerate(channels, start=1):
        last = i == len(channels)
        pooled = last or i % 2 == 0
        height, width = ((side - 2 * last) // (2 if pooled else 1) for side in (height, width))
        if height < 1 or width < 1:
            raise UserError(
                f"model.channels={list(channels)}: images of {input_shape[1]}x{input_shape[2]} pixels are used up at "
                f"convolution {i}; take fewer channels"
            )
        convolution = BinaryConv2d(n_inputs, n_outputs, 3, padding=0 if last else 1, init_bound=init_bound or 0.05)
        network.add_module(f"layer{i}", convolution)
        if pooled:
            network.add_module(f"pool{i}", nn.MaxPool2d(2))
        network.add_module(f"norm{i}", norm_layer(n_outputs, n_inputs * 9, n_tasks, **norm))
        network.add_module(f"act{i}", _activation(activation, gate_threshold, gate_window))
        n_inputs = n_outputs
    network.add_module("flatten", nn.Flatten())
    widths, first = [n_inputs * height * width, *hidden, n_classes], len(channels) + 1
    for i, (fan_in, fan_out) in enumerate(pairwise(widths), start=first):
        network.add_module(f"layer{i}", BinaryLinear(fan_in, fan_out, init_bound or 0.05))
        network.add_module(f"norm{i}", norm_layer(fan_out, fan_in, n_tasks, **norm))
        if i < first + len(hidden):
            network.add_module(f"act{i}", _activation(activation, gate_threshold, gate_window))
            network.add_module(f"dropout{i}", nn.Dropout(dropout))
    if init_bound is None:
        for weight in hidden_weights(network).values():
            nn.init.xavier_normal_(weight)
    return _scale_logits(network, norm)
