"""Histogram of weights over their range, counted on their device."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

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
