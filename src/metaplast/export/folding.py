"""A binary network in integers: normalization and activation become thresholds of integer sums.

The sum z of a unit is an integer: in the first layer of ±pixels k (the network reads k/255), behind it of ±1 and 0. Its
normalization a(z) is monotone in z. With θ = 0 for the sign and the threshold of a gate, a unit therefore answers::

    1                         where z ≥ at_least = min{z : a(z) > θ}
    −1 of a sign, 1 of a gate where z ≤ at_most  = max{z : a(z) < −θ}
    0                         between, for a sign where a(z) is exactly 0

Where γ < 0, a(z) falls; the unit's weights are inverted, so that it rises. Behind the first layer both numbers are read
off the network's own normalization, rounding included. In the first layer, where the network rounds its sum of real
pixels, they are those of float64: an answer differs where rounding carries a sum across its threshold.
"""

import copy
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metaplast.errors import UserError
from metaplast.nn import BatchNorm, BinaryLinear, FixedScale, GateActivation, SignActivation
from metaplast.nn.binary import sign

LEVELS = 255
"""The largest pixel; the network reads k/255."""
EXACT = 2**24
"""Up to here float32 has every integer, so that a sum of integers has no rounding in any order."""


class ThresholdLinear(nn.Module):
    """A hidden layer: from integers (N, inputs), as floats, to −1, 0 and 1, (N, units).

    The buffers: `weight`, int8 (units, inputs) of ±1; `at_least` and `at_most`, int32 (units,), as in this module's
    text. `low` is the answer to sums up to `at_most`: −1 or 1.
    """

    weight: Tensor
    at_least: Tensor
    at_most: Tensor

    def __init__(self, weight: Tensor, at_least: Tensor, at_most: Tensor, low: int) -> None:
        super().__init__()
        self.low = low
        self.register_buffer("weight", weight.to(torch.int8))
        self.register_buffer("at_least", at_least.to(torch.int32))
        self.register_buffer("at_most", at_most.to(torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        """Return the answers of the units."""
        z = F.linear(x, self.weight.to(x.dtype))
        return (z >= self.at_least).to(x.dtype) + self.low * (z <= self.at_most).to(x.dtype)


class IntegerLogits(nn.Module):
    """The last layer: logits `scale` · z + `offset` in float64, rounded once; `weight` int8 (classes, inputs) of ±1."""

    weight: Tensor
    scale: Tensor
    offset: Tensor

    def __init__(self, weight: Tensor, scale: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight.to(torch.int8))
        self.register_buffer("scale", scale)
        self.register_buffer("offset", offset)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, classes) of (N, inputs)."""
        z = F.linear(x, self.weight.to(x.dtype))
        return (z.double() * self.scale + self.offset).to(x.dtype)


class FoldedNetwork(nn.Module):
    """A network in integers, from images (N, C, H, W) of pixels k/255 to float32 logits (N, K)."""

    def __init__(self, hidden: list[ThresholdLinear], last: IntegerLogits) -> None:
        super().__init__()
        self.hidden = nn.ModuleList(hidden)
        self.last = last

    def hidden_layers(self) -> list[ThresholdLinear]:
        """The layers but the last."""
        return cast(list[ThresholdLinear], list(self.hidden))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits; pixels are rounded to the nearest k/255."""
        x = torch.round(images.flatten(1) * LEVELS)
        for layer in self.hidden:
            x = layer(x)
        logits: Tensor = self.last(x)
        return logits


@torch.no_grad()
def fold(network: nn.Module) -> FoldedNetwork:
    """The integer form of `network`, a :func:`metaplast.nn.bnn` in eval mode, for images of 8-bit pixels.

    >>> from metaplast.nn import bnn
    >>> network = bnn((1, 2, 2), 3, hidden=[8], norm="none").eval()
    >>> images = torch.tensor([0, 51, 255, 102]).reshape(1, 1, 2, 2) / 255
    >>> torch.allclose(fold(network)(images), network(images))
    True

    Raises:
        UserError: for anything but binary linear layers, each with a normalization that is fixed (or none) and, but for
            the last, a sign or a gate behind it.
    """
    modules = [module for module in network.children() if not isinstance(module, nn.Flatten)]
    if not isinstance(network, nn.Sequential) or len(modules) < 5 or len(modules) % 3 != 2:
        raise UserError("packed: expected a bnn with a hidden layer, got another network")
    hidden: list[ThresholdLinear] = []
    for layer, norm, activation in zip(modules[0:-2:3], modules[1:-2:3], modules[2:-2:3], strict=True):
        hidden.append(_hidden(_linear(layer), _norm(norm), activation, first=not hidden))
    return FoldedNetwork(hidden, _last(_linear(modules[-2]), _norm(modules[-1]))).eval()


def _linear(layer: nn.Module) -> BinaryLinear:
    if not isinstance(layer, BinaryLinear):
        raise UserError(f"packed: expected binary linear layers, got a {type(layer).__name__}")
    if layer.in_features > EXACT // LEVELS:
        raise UserError(f"packed: expected layers of at most {EXACT // LEVELS:,} inputs, got {layer.in_features:,}")
    return layer


def _norm(norm: nn.Module) -> BatchNorm | FixedScale:
    if isinstance(norm, FixedScale) or (isinstance(norm, BatchNorm) and norm.test_statistics != "batch"):
        return norm
    raise UserError(
        f"packed: expected batch normalization with fixed statistics, or none, got a {type(norm).__name__} that looks "
        "at its input"
    )


def _hidden(layer: BinaryLinear, norm: BatchNorm | FixedScale, activation: nn.Module, first: bool) -> ThresholdLinear:
    if isinstance(activation, SignActivation):
        threshold, low = 0.0, -1
    elif isinstance(activation, GateActivation):
        threshold, low = float(activation.threshold), 1
    else:
        raise UserError(f"packed: expected the activation sign or gate, got a {type(activation).__name__}")
    units, inputs = layer.weight.shape
    gamma = norm.weight if isinstance(norm, BatchNorm) else None
    rising = torch.ones(units) if gamma is None else sign(gamma)
    of_sums = copy.deepcopy(norm).double() if first else norm

    def a(z: Tensor) -> Tensor:
        v = (z.double() / LEVELS if first else z.float()) * rising
        normalized: Tensor = of_sums(v.unsqueeze(0))
        return normalized.squeeze(0)

    bound = inputs * (LEVELS if first else 1)
    at_least = _smallest(units, bound, lambda z: a(z) > threshold)
    at_most = _smallest(units, bound, lambda z: a(z) >= -threshold) - 1
    return ThresholdLinear(sign(layer.weight) * rising.unsqueeze(1), at_least, at_most, low)


def _smallest(units: int, bound: int, holds: Callable[[Tensor], Tensor]) -> Tensor:
    """For each unit the smallest z ≥ −bound for which `holds`, monotone in z, is true; bound + 1 where it never is."""
    low, high = torch.full((units,), -bound), torch.full((units,), bound + 1)
    while bool((low < high).any()):
        middle = (low + high).div(2, rounding_mode="floor")
        true = holds(middle)
        low, high = torch.where(true, low, middle + 1), torch.where(true, middle, high)
    return high


def _last(layer: BinaryLinear, norm: BatchNorm | FixedScale) -> IntegerLogits:
    zeros, ones = torch.zeros(1, layer.out_features).double(), torch.ones(1, layer.out_features).double()
    norm = copy.deepcopy(norm).double()
    offset = norm(zeros)
    return IntegerLogits(sign(layer.weight), (norm(ones) - offset).squeeze(0), offset.squeeze(0))
