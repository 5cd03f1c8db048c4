"""Adam whose steps shrink a hidden weight the less, the larger that weight has grown: synaptic metaplasticity.

The size of a hidden weight W^h tells how settled its binary weight sign(W^h) is. Where an Adam step would make |W^h|
smaller it is multiplied by f_meta(m, W^h) ≤ 1; where it lets |W^h| grow it is left alone. No task boundary, no stored
data. Source: Laborieux et al. 2021 (arXiv 2101.07592; Nature Communications 12, 2549), equations 1 and 2, and its
published code.

This Adam is the one of that code, which differs from `torch.optim.Adam` in one place: ε is added to √v before the bias
correction, which goes into the step size, not after it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from math import isfinite, sqrt
from typing import Any, Literal, NamedTuple, TypedDict

import torch
from torch import Tensor

from metaplast.optim.consolidation import CONSOLIDATIONS, Consolidation, check_consolidation

COMPILE_FROM = 65_536
"""With `compiled="auto"`, an optimizer compiles if its largest weight has at least this many elements.

Parameters without m that are smaller take the plain step together.
"""


class Moved(NamedTuple):
    """What a step moves, all of one shape: a hidden weight, after its gradient, and its moments."""

    hidden: Tensor
    gradient: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor

    @property
    def contiguous(self) -> bool:
        """Whether all four lie in memory in the order of their elements, so that they can be taken as flat."""
        return all(tensor.is_contiguous() for tensor in self)


class StepSettings(TypedDict):
    """By what a step moves it; the keywords of :func:`metaplastic_adam_step`."""

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
    """One step on one tensor, in place on `hidden`, `exp_avg` and `exp_avg_sq`, all of one shape. The literal form.

    `step_size` is η √(1 − β₂ᵗ) / (1 − β₁ᵗ); the other symbols are those of :class:`MetaplasticAdam`.
    """
    gradient = gradient.add(hidden, alpha=weight_decay) if weight_decay else gradient
    exp_avg.mul_(beta1).add_(gradient, alpha=1 - beta1)
    exp_avg_sq.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    share = CONSOLIDATIONS[consolidation]
    kept = torch.where(hidden * exp_avg > 0, share(m, hidden) * exp_avg, exp_avg) if m else exp_avg
    hidden.addcdiv_(kept, exp_avg_sq.sqrt().add_(eps), value=-step_size)


def _plain_steps(moved: list[Moved], step: int, group: dict[str, Any]) -> None:
    """:func:`metaplastic_adam_step` for m = 0, equal up to rounding, on many small tensors by one call of torch's Adam.

    That one adds ε to √v / √(1 − β₂ᵗ), so what it is given is ε / √(1 − β₂ᵗ).
    """
    beta1, beta2 = group["betas"]
    parameters, gradients, exp_avgs, exp_avg_sqs = (list(tensors) for tensors in zip(*moved, strict=True))
    torch._fused_adam_(
        parameters,
        gradients,
        exp_avgs,
        exp_avg_sqs,
        [],
        [torch.full((), float(step), dtype=torch.float32, device=parameters[0].device)] * len(moved),
        lr=group["lr"],
        beta1=beta1,
        beta2=beta2,
        weight_decay=group["weight_decay"],
        eps=group["eps"] / sqrt(1 - beta2**step),
        amsgrad=False,
        maximize=False,
    )


class MetaplasticAdam(torch.optim.Optimizer):
    r"""Adam with metaplastic hidden weights.

    With the gradient g (taken at the binary weights) and the settings η = lr, β₁, β₂ = betas, ε = eps, λ =
    weight_decay::

        g ← g + λ W^h
        μ ← β₁ μ + (1 − β₁) g
        v ← β₂ v + (1 − β₂) g²
        u = η √(1 − β₂ᵗ) / (1 − β₁ᵗ) · μ / (√v + ε)
        W^h ← W^h − f_meta(m, W^h) · u     where W^h μ > 0, so that the step would shrink |W^h|
        W^h ← W^h − u                      elsewhere

    Parameters with fewer than two dimensions (γ and β of a normalization) take the plain step whatever `m` is. With m
    = 0 it is plain Adam.

    Args:
        params: parameters, or groups of them; every setting below may differ by group, `m` above all (one a layer).
        lr: learning rate η > 0.
        m: metaplasticity, a finite number ≥ 0; the paper uses 1.35 for permuted MNIST.
        betas: decay of the two moments, each in [0, 1).
        eps: ε > 0, added to √v before the bias correction.
        weight_decay: λ ≥ 0, added to the gradient as λ W^h.
        consolidation: "tanh", the paper's f_meta, or "exponential"; see :mod:`metaplast.optim.consolidation`.
        compiled: True, take the step as one compiled kernel; False, the literal form; "auto", compiled where there is a
            weight of at least 65,536 elements and a compiler is found, but small parameters without m by torch's Adam.

    Raises:
        ValueError: a setting out of its range.

    Source: Laborieux et al. 2021, equations 1 and 2; Kingma & Ba 2015 (arXiv 1412.6980).

    >>> hidden = torch.nn.Parameter(torch.tensor([[0.5, -0.5]]))
    >>> optimizer = MetaplasticAdam([hidden], lr=0.1, m=1.35)
    >>> for _ in range(3):
    ...     optimizer.zero_grad()
    ...     hidden.sum().backward()   # pulls both down: the first shrinks, the second grows
    ...     optimizer.step()
    >>> hidden.detach().round(decimals=3)
    tensor([[ 0.2830, -0.8000]])
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.005,
        m: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        consolidation: Consolidation = "tanh",
        compiled: bool | Literal["auto"] = "auto",
    ) -> None:
        check_consolidation(consolidation)
        super().__init__(params, {"lr": lr, "m": m, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay})
        self.consolidation = consolidation
        self.compiled = compiled

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters; raises ValueError where one of its settings is out of range."""
        super().add_param_group(param_group)
        _check(self.param_groups[-1])

    def reset_state(self) -> None:
        """Forget the moments and the step count, as if no step had been taken; the weights stay."""
        self.state.clear()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step on every parameter that has a gradient, and return what `closure` returns, if given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        large: list[tuple[Moved, StepSettings]] = []
        for group in self.param_groups:
            small: defaultdict[Any, list[Moved]] = defaultdict(list)  # by step, type and device, nearly always one
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["step"] = 0
                    state["exp_avg"] = torch.zeros_like(parameter)
                    state["exp_avg_sq"] = torch.zeros_like(parameter)
                state["step"] += 1
                moved = Moved(parameter, parameter.grad, state["exp_avg"], state["exp_avg_sq"])
                m = group["m"] if parameter.dim() >= 2 else 0.0
                together = not m and parameter.numel() < COMPILE_FROM and self.compiled == "auto"
                if together and moved.contiguous:
                    small[state["step"], parameter.dtype, parameter.device].append(moved)
                else:
                    large.append((moved, _settings(group, m, state["step"])))
            for (step, *_), alike in small.items():
                _plain_steps(alike, step, group)
        if self._compiles():
            from metaplast.optim.compiled_step import compiled_steps  # loads the compiler; small networks never need it

            large = compiled_steps(large, self.consolidation)
        for moved, settings in large:
            metaplastic_adam_step(*moved, consolidation=self.consolidation, **settings)
        return loss

    def _compiles(self) -> bool:
        """Whether steps are compiled. Where one is, small weights gain too: their dozen operations cost as much."""
        if self.compiled != "auto":
            return self.compiled
        return any(p.numel() >= COMPILE_FROM for group in self.param_groups for p in group["params"])


def _settings(group: dict[str, Any], m: float, step: int) -> StepSettings:
    """What the literal and the compiled form of the step number `step` are given."""
    beta1, beta2 = group["betas"]
    step_size = group["lr"] * sqrt(1 - beta2**step) / (1 - beta1**step)
    return {
        "step_size": step_size,
        "m": m,
        "beta1": beta1,
        "beta2": beta2,
        "eps": group["eps"],
        "weight_decay": group["weight_decay"],
    }


def _check(group: dict[str, Any]) -> None:
    """Raise ValueError for the first setting of `group` that is out of range."""
    beta1, beta2 = group["betas"]
    for name, value, allowed, fits in (
        ("lr", group["lr"], "a number > 0", group["lr"] > 0),
        ("m", group["m"], "a number >= 0", group["m"] >= 0),
        ("betas", beta1, "two numbers in [0, 1)", 0 <= beta1 < 1),
        ("betas", beta2, "two numbers in [0, 1)", 0 <= beta2 < 1),
        ("eps", group["eps"], "a number > 0", group["eps"] > 0),
        ("weight_decay", group["weight_decay"], "a number >= 0", group["weight_decay"] >= 0),
    ):
        if not (isfinite(value) and fits):
            raise ValueError(f"{name} has to be {allowed}, but is {value}")
