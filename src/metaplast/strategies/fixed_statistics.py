"""Batch normalization for a while by fixed statistics, or without its averages following what it is shown."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from metaplast.nn import BatchNorm, set_population_statistics
from metaplast.strategies.acted_weights import normalizations


@contextmanager
def fixed_statistics(network: nn.Module, batches: Callable[[], Iterable[Tensor]]) -> Iterator[None]:
    """In evaluation mode, let every :class:`BatchNorm` normalize by statistics that no test batch changes.

    Layers with running averages keep to them. All others ("population" and "batch") use mean and variance over the
    inputs that `batches()` gives. At the end the statistics and the setting of each layer are what they were.

    >>> network = nn.Sequential(nn.Linear(1, 1), BatchNorm(1, test_statistics="batch")).eval()
    >>> x = torch.tensor([[1.0], [2.0], [6.0]])
    >>> with fixed_statistics(network, lambda: [x]):
    ...     torch.allclose(network(x)[:2], network(x[:2]), atol=1e-6)
    True
    """
    layers = [m for m in network.modules() if isinstance(m, BatchNorm) and m.test_statistics != "running"]
    settings = [layer.test_statistics for layer in layers]
    with statistics_kept(network):
        try:
            for layer in layers:
                layer.test_statistics = "population"
            set_population_statistics(network, batches)
            yield
        finally:
            for layer, setting in zip(layers, settings, strict=True):
                layer.test_statistics = setting


@contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """At the end, put the statistics that normalizations keep back to what they were.

    A plugin's own pass in training mode, of a batch seen already or of images of earlier tasks, is none that a test
    should go by.

    >>> norm = BatchNorm(1, test_statistics="running").train()
    >>> with statistics_kept(norm):
    ...     _ = norm(torch.tensor([[1.0], [5.0]]))
    >>> norm.mean
    tensor([0.])
    """
    buffers = [buffer for layer in normalizations(network) for buffer in layer.buffers(recurse=False)]
    kept = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, kept, strict=True):
                buffer.copy_(value)
