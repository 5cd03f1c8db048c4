"""Parameter groups of a network: its weights with their m, everything of one dimension apart."""

from collections.abc import Sequence
from typing import Any

from torch import nn


def parameter_groups(network: nn.Module, m: float | Sequence[float]) -> list[dict[str, Any]]:
    """Groups for an optimizer that knows `m`: the weights (two dimensions or more) with it, the rest with m = 0.

    `m` is one number, or one for each weight layer in the order of registration; ValueError where their number differs.

    >>> network = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2, bias=False))
    >>> [(group["m"], len(group["params"])) for group in parameter_groups(network, [1.0, 2.0])]
    [(1.0, 1), (2.0, 1), (0.0, 1)]
    """
    weights = [p for p in network.parameters() if p.dim() >= 2]
    others = [p for p in network.parameters() if p.dim() < 2]
    if isinstance(m, Sequence):
        if len(m) != len(weights):
            raise ValueError(f"m has {len(m)} numbers, but the network has {len(weights)} weight layers")
        groups = [{"params": [weight], "m": value} for weight, value in zip(weights, m, strict=True)]
    else:
        groups = [{"params": weights, "m": m}]
    return [*groups, {"params": others, "m": 0.0}] if others else groups
