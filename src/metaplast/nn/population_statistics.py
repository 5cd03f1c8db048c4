"""Population statistics of batch normalization: mean and variance over a whole data set, layer after layer.

The input of a layer depends on the statistics of those before it, so the layers are settled in their order: each pass
runs the data up to one normalization, whose predecessors already answer with population statistics. Once that is
done, the answer to an image no longer depends on the batch it comes in.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from metaplast.nn.normalization import BatchNorm


class _Reached(Exception):  # noqa: N818  (it is a signal, not an error)
    """The forward pass arrived at the layer in question; what lies behind it need not be computed."""


class _Moments:
    """Mean and biased variance of each feature over batches, merged pairwise in float64 (Chan et al. 1979)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor | float = 0.0
        self.square: Tensor | float = 0.0

    def add(self, x: Tensor) -> None:
        """Take in a batch (N, features, *)."""
        rows = x.to(torch.promote_types(x.dtype, torch.float32)).transpose(0, 1).flatten(1)
        count = rows.shape[1]
        var, mean = torch.var_mean(rows, dim=1, correction=0)
        var, mean = var.double(), mean.double()
        total = self.count + count
        delta = mean - self.mean
        self.square = self.square + var * count + delta.square() * (self.count * count / total)
        self.mean = self.mean + delta * (count / total)
        self.count = total

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Forward pre-hook: take in the input of the layer and stop there."""
        self.add(inputs[0])
        raise _Reached


@torch.no_grad()
def set_population_statistics(network: nn.Module, batches: Callable[[], Iterable[Tensor]]) -> None:
    """Set mean and variance of every :class:`BatchNorm` with population statistics to those over `batches`.

    `batches()` starts an iteration over the inputs of the network, (N, …) each; the size of a batch does not matter.
    Layers have to be registered in the order in which the forward pass meets them. Cost: for L normalizations, the
    data run through about half the network L times. Networks without such layers are left alone.

    Raises:
        ValueError: a call of `batches` gives nothing, as one does that returns the same iterator twice.
    """
    layers = [m for m in network.modules() if isinstance(m, BatchNorm) and m.test_statistics == "population"]
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        for layer in layers:
            _set_statistics(layer, network, batches)
    finally:
        for module, training in modes.items():
            module.training = training


def _set_statistics(layer: BatchNorm, network: nn.Module, batches: Callable[[], Iterable[Tensor]]) -> None:
    moments, n_batches = _Moments(), 0
    hook = layer.register_forward_pre_hook(moments)
    try:
        for x in batches():
            n_batches += 1
            try:
                network(x)
            except _Reached:
                continue
    finally:
        hook.remove()
    if not n_batches:
        raise ValueError("batches: expected a function that gives all batches at every call, got none from one call")
    if moments.count:
        layer.mean.copy_(moments.mean)  # type: ignore[arg-type]
        layer.var.copy_(moments.square / moments.count)  # type: ignore[arg-type]
