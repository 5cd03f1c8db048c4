"""Which parameters m acts on, and the groups of a network: its weights with their m, everything else apart."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


def is_metaplastic(parameter: Tensor) -> bool:
    """Whether m acts on `parameter`: it has two dimensions or more, and so is no γ, β or bias."""
    return parameter.dim() >= 2


def parameter_groups(network: nn.Module, m: float | Sequence[float]) -> list[dict[str, Any]]:
    """Groups for an optimizer that knows `m`: the weights (two dimensions or more) with it, the rest with m = 0.

    `m` is one number, or one for each weight layer in the order of registration; ValueError where their number differs.

    >>> network = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2, bias=False))
    >>> [(group["m"], len(group["params"])) for group in parameter_groups(network, [1.0, 2.0])]
    [(1.0, 1), (2.0, 1), (0.0, 1)]
    """
    weights = [p for p in network.parameters() if is_metaplastic(p)]
    others = [p for p in network.parameters() if not is_metaplastic(p)]
    given: object = m
    if isinstance(m, Sequence) and not isinstance(given, str):  # a text is left to the optimizer, which refuses it
        if len(m) != len(weights):
            raise ValueError(f"m={list(m)}: expected one number for each of {len(weights)} weight layers, got {len(m)}")
        groups = [{"params": [weight], "m": value} for weight, value in zip(weights, m, strict=True)]
    else:
        groups = [{"params": weights, "m": m}]
    return [*groups, {"params": others, "m": 0.0}] if others else groups
