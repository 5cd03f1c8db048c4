"""Adam whose steps shrink a hidden weight the less, the larger that weight has grown: synaptic metaplasticity.

The size of a hidden weight W^h tells how settled its binary weight sign(W^h) is. Where an Adam step would make |W^h|
smaller it is multiplied by f_meta(m, W^h) ≤ 1; where it lets |W^h| grow it is left alone. No task boundary, no stored
data. Source: Laborieux et al. 2021 (arXiv 2101.07592; Nature Communications 12, 2549), equations 1 and 2, and its
published code.

This Adam is the one of that code, which differs from `torch.optim.Adam` in one place: ε is added to √v before the bias
correction, which goes into the step size, not after it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import sqrt
from typing import Any, ClassVar, Literal

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
from metaplast.optim.compiled import COMPILE_FROM, PlannedStep, compiled_steps, fused_adam_steps
from metaplast.optim.functional import AdamHyperparams, AdamTensors, Consolidation, metaplastic_adam_step

_COMPILED = Range("True, False or 'auto'", lambda value: isinstance(value, bool) or value == "auto")


class MetaplasticAdam(MetaplasticOptimizer):
    r"""Adam with metaplastic hidden weights.

    With the gradient g (taken at the binary weights) and the settings η = lr, β₁, β₂ = betas, ε = eps, λ =
    weight_decay, δ = decoupled_weight_decay, p = relative_m::

        W^h ← (1 − δ) W^h
        m′ = m / ⟨|W^h|⟩ᵖ                  ⟨⟩: mean over the layer
        g ← g + λ W^h
        μ ← β₁ μ + (1 − β₁) g
        v ← β₂ v + (1 − β₂) g²
        u = η √(1 − β₂ᵗ) / (1 − β₁ᵗ) · μ / (√v + ε)
        W^h ← W^h − f_meta(m′, W^h) · u    where W^h μ > 0, so that the step would shrink |W^h|
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
        decoupled_weight_decay: δ in [0, 1), the share of a hidden weight that each step takes away, whatever m is and
            not multiplied by lr, as `torch.optim.AdamW` would. λ cannot loosen a settled weight, since it enters the
            gradient and what it adds to a step is scaled by f_meta; δ can. γ, β and biases do not decay.
        relative_m: p in [0, 1]. At 0, the paper's, m acts on |W^h|: weights free as long as they are small, and settled
            for good once they have grown. At 1 it acts on |W^h| / ⟨|W^h|⟩, so the same share of a layer is settled at
            any time; a weight that no longer grows is freed as the others do. Ours.
        consolidation: "tanh", the paper's f_meta, or "exponential"; see
            :mod:`metaplast.optim.functional`.
        compiled: True, take the step as one compiled kernel; False, the literal form; "auto", compiled where there is a
            weight of at least 65,536 elements and a compiler is found, but small parameters without m by torch's Adam.

    Raises:
        ValueError: a setting out of its range or, in a step, a sparse gradient.

    Source: Laborieux et al. 2021, equations 1 and 2; Kingma & Ba 2015 (arXiv 1412.6980); for δ, Loshchilov & Hutter
    2019 (arXiv 1711.05101).

    >>> hidden = torch.nn.Parameter(torch.tensor([[0.5, -0.5]]))
    >>> optimizer = MetaplasticAdam([hidden], lr=0.1, m=1.35)
    >>> for _ in range(3):
    ...     optimizer.zero_grad()
    ...     hidden.sum().backward()   # pulls both down: the first shrinks, the second grows
    ...     optimizer.step()
    >>> hidden.detach().round(decimals=3)
    tensor([[ 0.2830, -0.8000]])
    """

    RANGES: ClassVar[Mapping[str, Range]] = {
        "lr": POSITIVE,
        "m": NOT_NEGATIVE,
        "betas": Range(
            "two numbers in [0, 1)",
            lambda value: isinstance(value, Sequence) and len(value) == 2 and all(map(DECAY.contains, value)),
        ),
        "eps": POSITIVE,
        "weight_decay": NOT_NEGATIVE,
        "decoupled_weight_decay": DECAY,
        "relative_m": EXPONENT,
        "consolidation": CONSOLIDATION,
    }
    STATE_TENSORS = ("exp_avg", "exp_avg_sq")

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
        decoupled_weight_decay: float = 0.0,
        relative_m: float = 0.0,
    ) -> None:
        _COMPILED.check("compiled", compiled)
        self.compiled = compiled
        self._has_large_weight = False
        defaults = {
            "lr": lr,
            "m": m,
            "betas": tuple(betas) if isinstance(betas, Sequence) else betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "relative_m": relative_m,
        }
        super().__init__(params, {**defaults, "consolidation": consolidation})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters; raises ValueError where one of its settings is out of range."""
        super().add_param_group(param_group)
        # Where one step is compiled, small weights gain too: their dozen operations cost as much.
        self._has_large_weight |= any(p.numel() >= COMPILE_FROM for p in self.param_groups[-1]["params"])

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle keeps, which of torch's optimizer is the state and the groups alone."""
        own = {"compiled": self.compiled, "_has_large_weight": self._has_large_weight}
        return {**super().__getstate__(), **own}

    def _step_groups(self) -> None:
        steps: list[PlannedStep] = []
        for group in self.param_groups:
            steps += self._plan(group)
        if self._has_large_weight if self.compiled == "auto" else self.compiled:
            steps = compiled_steps(steps)
        for tensors, hyperparams, consolidation in steps:
            metaplastic_adam_step(*tensors, consolidation=consolidation, **hyperparams)

    def _plan(self, group: dict[str, Any]) -> list[PlannedStep]:
        """Count a step for each parameter with a gradient; take those that go together, and return all others."""
        steps: list[PlannedStep] = []
        together: defaultdict[Any, list[AdamTensors]] = defaultdict(list)  # by step, type and device: nearly always one
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            gradient, state = dense_gradient(parameter), self.state[parameter]
            decay_hidden_weight(parameter, group)
            if not state:
                state["step"] = 0
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
            state["step"] += 1
            tensors = AdamTensors(parameter, gradient, state["exp_avg"], state["exp_avg_sq"])
            m = effective_m(parameter, group)
            small = not m and parameter.numel() < COMPILE_FROM and self.compiled == "auto"
            if small and tensors.contiguous:
                together[state["step"], parameter.dtype, parameter.device].append(tensors)
            else:
                steps.append(PlannedStep(tensors, _hyperparams(group, m, state["step"]), group["consolidation"]))
        plain = {name: group[name] for name in ("lr", "betas", "eps", "weight_decay")}
        for (step, *_), parameters in together.items():
            fused_adam_steps(parameters, step, **plain)
        return steps


def _hyperparams(group: dict[str, Any], m: float, step: int) -> AdamHyperparams:
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
