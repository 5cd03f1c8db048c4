"""Consolidation functions and the steps that use them, as functions of tensors.

A consolidation function gives the share of a step that is taken where it would shrink a hidden weight. It falls from 1
at W^h = 0 towards 0, faster for a larger m, and depends on |W^h| alone.
"""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, TypedDict

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


class AdamTensors(NamedTuple):
    """The tensors of an Adam step, all of one shape: a hidden weight, its gradient, and its moments."""

    hidden: Tensor
    gradient: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor

    @property
    def contiguous(self) -> bool:
        """Whether all four lie in memory in the order of their elements, so that they can be taken as flat."""
        return all(tensor.is_contiguous() for tensor in self)


class AdamHyperparams(TypedDict):
    """The numbers of an Adam step; keywords of :func:`metaplastic_adam_step`."""

    step_size: float
    m: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float


def metaplastic_adam_step(
    hidden: Tensor,
    gradient: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    *,
    step_size: float,
    m: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    consolidation: Consolidation = "tanh",
) -> None:
    """One Adam step on one tensor, in place on `hidden` and both moments, all of one shape. The literal form.

    `step_size` is η √(1 − β₂ᵗ) / (1 − β₁ᵗ); the other symbols are those of :class:`metaplast.optim.MetaplasticAdam`.
    """
    gradient = gradient.add(hidden, alpha=weight_decay) if weight_decay else gradient
    exp_avg.mul_(beta1).add_(gradient, alpha=1 - beta1)
    exp_avg_sq.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    share = CONSOLIDATIONS[consolidation]
    kept = torch.where(hidden * exp_avg > 0, share(m, hidden) * exp_avg, exp_avg) if m else exp_avg
    hidden.addcdiv_(kept, exp_avg_sq.sqrt().add_(eps), value=-step_size)


def metaplastic_sgd_step(
    hidden: Tensor,
    gradient: Tensor,
    momentum_buffer: Tensor,
    *,
    lr: float,
    m: float,
    momentum: float,
    weight_decay: float,
    consolidation: Consolidation = "tanh",
) -> None:
    """One step with momentum on one tensor, in place on `hidden` and `momentum_buffer`, all of one shape.

    The symbols are those of :class:`metaplast.optim.MetaplasticSGD`.
    """
    gradient = gradient.add(hidden, alpha=weight_decay) if weight_decay else gradient
    step = momentum_buffer.mul_(momentum).add_(gradient)
    if m:
        step = torch.where(hidden * step > 0, CONSOLIDATIONS[consolidation](m, hidden) * step, step)
    hidden.add_(step, alpha=-lr)
