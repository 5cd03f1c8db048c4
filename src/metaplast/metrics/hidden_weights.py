"""What is counted of hidden weights: the share of signs that flipped, by layer, and their histogram."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class SignFlips:
    """Fraction of each layer's binary weights that differ from those at the last call.

    The binary weight is W^b = +1 where W^h ≥ 0 (0 included) and -1 elsewhere. One bool per weight is stored, a
    quarter of the hidden weights' size, and is part of the state dict.

    Args:
        weights: name -> hidden weights W^h, of any shape; the tensors are read at each call.

    >>> import torch
    >>> hidden = torch.tensor([0.3, 0.0, -0.2, -0.1])
    >>> flips = SignFlips({"layer": hidden})
    >>> hidden.copy_(torch.tensor([-0.3, 0.1, -0.2, 0.0]))
    tensor([-0.3000,  0.1000, -0.2000,  0.0000])
    >>> flips.update()  # the first and the last of four
    {'layer': 0.5}
    >>> flips.update()
    {'layer': 0.0}
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = dict(weights)
        self._positive = {name: positive_signs(hidden) for name, hidden in self._weights.items()}

    def update(self) -> dict[str, float]:
        """Fraction, 0 to 1, of signs changed since the last call (the first: since construction), by name.

        NaN for a layer without weights.
        """
        fractions = {}
        for name, hidden in self._weights.items():
            positive = positive_signs(hidden)
            # The weights may have been moved to another device.
            changed = int((positive != self._positive[name].to(positive.device)).sum())
            fractions[name] = changed / positive.numel() if positive.numel() else math.nan
            self._positive[name] = positive
        return fractions

    def state_dict(self) -> dict[str, Tensor]:
        """Name -> True where the binary weight was +1 at the last call; bool, of the layer's shape."""
        return dict(self._positive)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore a saved state.

        Raises:
            ValueError: if the state is of layers with other names or shapes.
        """
        expected = {name: tuple(hidden.shape) for name, hidden in self._weights.items()}
        got = {name: tuple(positive.shape) for name, positive in state.items()}
        if got != expected:
            raise ValueError(f"state: expected layers of shapes {expected}, got {got}")
        self._positive = {name: positive.bool() for name, positive in state.items()}


def positive_signs(hidden: Tensor) -> Tensor:
    """Whether the binary weight of each hidden weight is +1 (as at 0): bool, of the same shape."""
    return hidden.detach() >= 0


BINS = 64
"""Number of bins; W&B accepts up to 512."""


class Histogram(NamedTuple):
    """Counts of a histogram and the edges between them."""

    counts: Tensor
    """(bins,) floats, on the CPU."""
    edges: Tensor
    """(bins + 1,) floats, ascending, on the CPU."""


def weight_histogram(weights: Tensor, bins: int = BINS) -> Histogram:
    """Histogram of weights of any shape, without those that are not finite.

    >>> weight_histogram(torch.tensor([[-1.0, -0.9], [0.2, 1.0]]), bins=4).counts.tolist()
    [2.0, 0.0, 1.0, 1.0]
    """
    values = weights.detach().float()
    low, high = _range(values)
    if not math.isfinite(high - low):  # checked only here, since isfinite costs more than the histogram
        low, high = _range(values[values.isfinite()])
    if low == high:  # a single value needs a bin of nonzero width
        low, high = low - 0.5, high + 0.5
    return Histogram(torch.histc(values, bins, low, high).cpu(), torch.linspace(low, high, bins + 1))


def _range(values: Tensor) -> tuple[float, float]:
    low, high = values.aminmax() if values.numel() else (0.0, 0.0)
    return float(low), float(high)
