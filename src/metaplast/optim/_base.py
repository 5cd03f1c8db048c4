"""What the metaplastic optimizers share: the parameters that m acts on, checks of hyperparameters and of a state."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite
from numbers import Real
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn

from metaplast.optim.functional import CONSOLIDATIONS, Consolidation


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


class Range(NamedTuple):
    """The values that a hyperparameter may have."""

    description: str
    contains: Callable[[Any], bool]

    def check(self, name: str, value: object) -> None:
        """Raise ValueError where `value` is not in the range."""
        if not self.contains(value):
            raise ValueError(f"{name}={value!r}: expected {self.description}")


def number(description: str, fits: Callable[[float], bool]) -> Range:
    """Return the range of the finite numbers for which `fits` holds."""

    def contains(value: Any) -> bool:
        return not isinstance(value, bool) and isinstance(value, Real) and isfinite(value) and fits(float(value))

    return Range(description, contains)


POSITIVE = number("a finite number > 0", lambda value: value > 0)
NOT_NEGATIVE = number("a finite number >= 0", lambda value: value >= 0)
DECAY = number("a number in [0, 1)", lambda value: 0 <= value < 1)
EXPONENT = number("a number in [0, 1]", lambda value: 0 <= value <= 1)
CONSOLIDATION = Range(
    f"one of {', '.join(CONSOLIDATIONS)}", lambda value: isinstance(value, str) and value in CONSOLIDATIONS
)


LATER_SETTINGS: Mapping[str, Any] = {"consolidation": "tanh", "decoupled_weight_decay": 0.0, "relative_m": 0.0}
"""Hyperparameters that states of earlier releases do not name, with the values that those releases meant."""


class MetaplasticOptimizer(torch.optim.Optimizer):
    """Base of the metaplastic optimizers; a subclass names its hyperparameters and its state, and steps a group.

    Every hyperparameter, `consolidation` too, may differ by group and is part of the state dict.
    """

    RANGES: ClassVar[Mapping[str, Range]]
    """By the name of a hyperparameter, its values."""
    STATE_TENSORS: ClassVar[tuple[str, ...]]
    """What is kept for each parameter, in its shape."""

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        for name, allowed in self.RANGES.items():
            allowed.check(name, defaults[name])
        super().__init__(params, defaults)

    @property
    def consolidation(self) -> Consolidation:
        """The consolidation function of groups that name none of their own."""
        return cast(Consolidation, self.defaults["consolidation"])

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters.

        Raises:
            ValueError: a hyperparameter of the group is out of its range, or a parameter is no real floating-point one.
        """
        for name, allowed in self.RANGES.items():
            allowed.check(name, param_group.get(name, self.defaults[name]))
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for name in self.RANGES:
            group[name] = _plain(group[name])
        for parameter in group["params"]:
            if not parameter.dtype.is_floating_point:
                self.param_groups.pop()
                raise ValueError(f"params: expected real floating-point tensors, got {parameter.dtype}")

    def reset_state(self) -> None:
        """Forget what was gathered over steps, as if none had been taken; the weights stay."""
        self.state.clear()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step on every parameter that has a gradient, and return what `closure` returns, if given.

        Raises:
            ValueError: a gradient is sparse.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._step_groups()
        return loss

    def _step_groups(self) -> None:
        raise NotImplementedError

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over what was copied, unpickled or loaded; states of earlier releases lack `LATER_SETTINGS`."""
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in LATER_SETTINGS.items():
                group.setdefault(name, self.defaults.get(name, value))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state that :meth:`state_dict` of the same optimizer gave.

        Raises:
            ValueError: the state is of another optimizer or consolidation function, or of parameters of other shapes.
        """
        saved_groups: list[dict[str, Any]] = state_dict["param_groups"]
        for saved in saved_groups:
            missing = [name for name in self.RANGES if name not in {*saved, *LATER_SETTINGS}]
            if missing:
                raise ValueError(
                    f"state_dict: expected the state of a {type(self).__name__}, got one without {', '.join(missing)}"
                )
        sizes, saved_sizes = (
            [len(group["params"]) for group in groups] for groups in (self.param_groups, saved_groups)
        )
        alike = sizes == saved_sizes  # else torch says that they differ
        for group, saved in zip(self.param_groups, saved_groups, strict=True) if alike else ():
            name = saved.get("consolidation", group["consolidation"])
            if name != group["consolidation"]:
                raise ValueError(
                    f"state_dict: expected consolidation={group['consolidation']!r} as of this optimizer, got {name!r}"
                )
            for parameter, key in zip(group["params"], saved["params"], strict=True):
                self._check_state(parameter, state_dict["state"].get(key))
        super().load_state_dict(state_dict)

    def _check_state(self, parameter: Tensor, state: Mapping[str, Any] | None) -> None:
        """Raise ValueError where a saved `state` is none of such a parameter; None: it has taken no step yet."""
        if state is None:
            return
        shapes = {name: tuple(value.shape) for name, value in state.items() if name in self.STATE_TENSORS}
        expected = dict.fromkeys(self.STATE_TENSORS, tuple(parameter.shape))
        if shapes != expected:
            raise ValueError(f"state_dict: expected {expected} for a parameter, got {shapes or [*state]}")


def _plain(value: Any) -> Any:
    """The hyperparameter without NumPy's types, in which it would round otherwise and not be loaded from a state."""
    if isinstance(value, int) or type(value) is float:
        return value
    if isinstance(value, Real):
        return float(value)
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def decay_hidden_weight(parameter: Tensor, group: Mapping[str, Any]) -> None:
    """W^h ← (1 − δ) W^h, in place, with δ the `decoupled_weight_decay` of `group`; only of weights that m acts on."""
    decay = group["decoupled_weight_decay"]
    if decay and is_metaplastic(parameter):
        parameter.mul_(1 - decay)


@torch.no_grad()
def effective_m(hidden: Tensor, group: Mapping[str, Any]) -> float:
    """The m that acts on `hidden` now: m / ⟨|W^h|⟩^p with p the `relative_m` of `group`; 0 where m does not act.

    ⟨|W^h|⟩ is the mean over the layer. On a GPU, p > 0 waits for it at every step.

    >>> effective_m(torch.tensor([[0.5, -1.5, 4.0, -10.0]]), {"m": 2.0, "relative_m": 0.5})
    1.0
    """
    m, exponent = group["m"] if is_metaplastic(hidden) else 0.0, group["relative_m"]
    if not m or not exponent:
        return m
    # Row by row, since threads that share one sum round it in an order of their own.
    mean = float(torch.linalg.vector_norm(hidden.flatten(1), 1, dim=1).sum()) / hidden.numel()
    return m / mean**exponent if mean else m  # where all W^h are 0, f_meta is 1 for every m


def dense_gradient(parameter: Tensor) -> Tensor:
    """The gradient of `parameter`, which has one; raises ValueError if it is sparse."""
    assert parameter.grad is not None, "by the caller"
    if parameter.grad.layout != torch.strided:
        raise ValueError(f"gradient.layout={parameter.grad.layout}: expected torch.strided, got a sparse gradient")
    return parameter.grad
