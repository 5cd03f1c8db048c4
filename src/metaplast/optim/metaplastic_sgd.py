"""Gradient descent with momentum and metaplastic hidden weights: the paper's rule without Adam's second moment.

A step has the size of the gradient here, where Adam's has the size of the learning rate for every weight alike. So
weights that matter grow faster than others by themselves.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch

from metaplast.optim._base import (
    CONSOLIDATION,
    DECAY,
    EXPONENT,
    NOT_NEGATIVE,
    POSITIVE,
    MetaplasticOptimizer,
    Range,
    decay_hidden_weight,
    dense_gradient,
    effective_m,
)
from metaplast.optim.functional import Consolidation, metaplastic_sgd_step


class MetaplasticSGD(MetaplasticOptimizer):
    r"""SGD with momentum, in which a step that would shrink a hidden weight is scaled by a consolidation function f.

    With the gradient g (taken at the binary weights) and the settings η = lr, μ = momentum, λ = weight_decay, δ =
    decoupled_weight_decay, p = relative_m::

        W^h ← (1 − δ) W^h
        m′ = m / ⟨|W^h|⟩ᵖ
        g ← g + λ W^h
        b ← μ b + g
        W^h ← W^h − η f(m′, W^h) b     where W^h b > 0, so that the step would shrink |W^h|
        W^h ← W^h − η b                elsewhere

    Parameters with fewer than two dimensions take the plain step. With m = 0 it is `torch.optim.SGD`.

    Args:
        params: parameters, or groups of them; every number below may differ by group, `m` above all (one a layer).
        lr: learning rate η > 0.
        m: metaplasticity, a finite number ≥ 0.
        momentum: μ in [0, 1).
        weight_decay: λ ≥ 0, added to the gradient as λ W^h.
        decoupled_weight_decay: δ in [0, 1), as of :class:`metaplast.optim.MetaplasticAdam`.
        relative_m: p, as of the same.
        consolidation: "tanh", the paper's f_meta, or "exponential"; see :mod:`metaplast.optim.functional`.

    Raises:
        ValueError: a setting out of its range or, in a step, a sparse gradient.

    Source: the rule of Laborieux et al. 2021 (equations 1 and 2) on Sutskever et al. 2013; not in the paper.

    >>> hidden = torch.nn.Parameter(torch.tensor([[0.5, -0.5]]))
    >>> optimizer = MetaplasticSGD([hidden], lr=0.1, m=1.35)
    >>> for _ in range(3):
    ...     optimizer.zero_grad()
    ...     hidden.sum().backward()   # pulls both down: the first shrinks, the second grows
    ...     optimizer.step()
    >>> hidden.detach().round(decimals=3)
    tensor([[ 0.0660, -1.0610]])
    """

    RANGES: ClassVar[Mapping[str, Range]] = {
        "lr": POSITIVE,
        "m": NOT_NEGATIVE,
        "momentum": DECAY,
        "weight_decay": NOT_NEGATIVE,
        "decoupled_weight_decay": DECAY,
        "relative_m": EXPONENT,
        "consolidation": CONSOLIDATION,
    }
    STATE_TENSORS = ("momentum",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.01,
        m: float = 0.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        consolidation: Consolidation = "tanh",
        decoupled_weight_decay: float = 0.0,
        relative_m: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "m": m,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "relative_m": relative_m,
        }
        super().__init__(params, {**defaults, "consolidation": consolidation})

    def _step_groups(self) -> None:
        for group in self.param_groups:
            hyperparams = {name: group[name] for name in ("lr", "momentum", "weight_decay", "consolidation")}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                gradient, state = dense_gradient(parameter), self.state[parameter]
                decay_hidden_weight(parameter, group)
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                m = effective_m(parameter, group)
                metaplastic_sgd_step(parameter, gradient, state["momentum"], m=m, **hyperparams)
