"""Gradient descent with momentum and metaplastic hidden weights: the paper's rule without Adam's second moment.

A step has the size of the gradient here, where Adam's has the size of the learning rate for every weight alike. So
weights that matter grow faster than others by themselves.
"""

from collections.abc import Callable, Iterable
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from metaplast.optim.consolidation import CONSOLIDATIONS, Consolidation, check_consolidation


class MetaplasticSGD(torch.optim.Optimizer):
    r"""SGD with momentum, in which a step that would shrink a hidden weight is scaled by a consolidation function f.

    With the gradient g (taken at the binary weights) and the settings η = lr, μ = momentum, λ = weight_decay::

        g ← g + λ W^h
        b ← μ b + g
        W^h ← W^h − η f(m, W^h) b     where W^h b > 0, so that the step would shrink |W^h|
        W^h ← W^h − η b               elsewhere

    Parameters with fewer than two dimensions take the plain step. With m = 0 it is `torch.optim.SGD`.

    Args:
        params: parameters, or groups of them; every number below may differ by group, `m` above all (one a layer).
        lr: learning rate η > 0.
        m: metaplasticity, a finite number ≥ 0.
        momentum: μ in [0, 1).
        weight_decay: λ ≥ 0.
        consolidation: "tanh", the paper's f_meta, or "exponential"; see :mod:`metaplast.optim.consolidation`.

    Raises:
        ValueError: a setting out of its range.

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

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.01,
        m: float = 0.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        consolidation: Consolidation = "tanh",
    ) -> None:
        check_consolidation(consolidation)
        super().__init__(params, {"lr": lr, "m": m, "momentum": momentum, "weight_decay": weight_decay})
        self.consolidation = consolidation

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters; raises ValueError where one of its settings is out of range."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for name, allowed, fits in (
            ("lr", "a number > 0", group["lr"] > 0),
            ("m", "a number >= 0", group["m"] >= 0),
            ("momentum", "a number in [0, 1)", 0 <= group["momentum"] < 1),
            ("weight_decay", "a number >= 0", group["weight_decay"] >= 0),
        ):
            if not (isfinite(group[name]) and fits):
                raise ValueError(f"{name} has to be {allowed}, but is {group[name]}")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step on every parameter that has a gradient, and return what `closure` returns, if given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step_one(parameter, parameter.grad, group)
        return loss

    def _step_one(self, hidden: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        m = group["m"] if hidden.dim() >= 2 else 0.0
        if group["weight_decay"]:
            gradient = gradient.add(hidden, alpha=group["weight_decay"])
        state = self.state[hidden]
        if not state:
            state["momentum"] = torch.zeros_like(hidden)
        step: Tensor = state["momentum"].mul_(group["momentum"]).add_(gradient)
        if m:
            step = torch.where(hidden * step > 0, CONSOLIDATIONS[self.consolidation](m, hidden) * step, step)
        hidden.add_(step, alpha=-group["lr"])
