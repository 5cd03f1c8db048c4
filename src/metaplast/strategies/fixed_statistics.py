"""Batch normalization for a while by fixed statistics, or without its averages following what it is shown."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from metaplast.nn import BatchNorm, set_population_statistics
from metaplast.strategies.acted_weights import NORMALIZATIONS


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
    kept = [(layer.test_statistics, layer.mean.clone(), layer.var.clone()) for layer in layers]
    try:
        for layer in layers:
            layer.test_statistics = "population"
        set_population_statistics(network, batches)
        yield
    finally:
        with torch.no_grad():
            for layer, (setting, mean, var) in zip(layers, kept, strict=True):
                layer.test_statistics = setting
                layer.mean.copy_(mean)
                layer.var.copy_(var)


@contextmanager
def averages_kept(network: nn.Module) -> Iterator[None]:
    """Let passes in training mode leave the running averages of batch normalization as they are.

    A plugin's own pass, of a batch seen already or of images of earlier tasks, is none that a test should go by.

    >>> norm = BatchNorm(1, test_statistics="running").train()
    >>> with averages_kept(norm):
    ...     _ = norm(torch.tensor([[1.0], [5.0]]))
    >>> norm.mean
    tensor([0.])
    """
    layers = [module for module in network.modules() if isinstance(module, NORMALIZATIONS)]
    buffers = [buffer for layer in layers for buffer in layer.buffers(recurse=False)]
    kept = [buffer.clone() for buffer in buffers]
    yield
    with torch.no_grad():
        for buffer, value in zip(buffers, kept, strict=True):
            buffer.copy_(value)
