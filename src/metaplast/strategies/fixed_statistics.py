"""Batch normalization by fixed statistics for a while, so that samples do not see each other."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from metaplast.nn import BatchNorm, set_population_statistics


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
