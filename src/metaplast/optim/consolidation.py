"""Consolidation functions: which share of a step that would shrink a hidden weight is taken, by how large it has grown.

Each falls from 1 at W^h = 0 towards 0, faster for a larger m, and depends on |W^h| alone.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

Consolidation = Literal["tanh", "exponential"]


def f_meta(m: float, hidden: Tensor) -> Tensor:
    """The paper's: f_meta(m, W^h) = 1 − tanh²(m·|W^h|), in (0, 1]; far out it rounds to 0.

    Flat around 0, so that small weights stay free. Source: Laborieux et al. 2021 (arXiv 2101.07592), equation 2.

    >>> f_meta(1.35, torch.tensor([0.0, 0.5, -0.5, 3.0])).round(decimals=3)
    tensor([1.0000, 0.6540, 0.6540, 0.0010])
    """
    return 1 - torch.tanh(m * hidden).square()


def f_exponential(m: float, hidden: Tensor) -> Tensor:
    """f(m, W^h) = e^(−m·|W^h|), which has no flat top: every growth consolidates.

    Source: Zohora et al. 2024 (arXiv 2403.08718), where it is the probability that a step is taken.

    >>> f_exponential(1.0, torch.tensor([0.0, 0.5, -0.5, 3.0])).round(decimals=3)
    tensor([1.0000, 0.6070, 0.6070, 0.0500])
    """
    return torch.exp(-m * hidden.abs())


CONSOLIDATIONS: Mapping[str, Callable[[float, Tensor], Tensor]] = {"tanh": f_meta, "exponential": f_exponential}
"""By name; see each."""


def check_consolidation(name: str) -> None:
    """Raise ValueError where `name` is none of :data:`CONSOLIDATIONS`."""
    if name not in CONSOLIDATIONS:
        raise ValueError(f"consolidation has to be one of {', '.join(CONSOLIDATIONS)}, but is {name!r}")
