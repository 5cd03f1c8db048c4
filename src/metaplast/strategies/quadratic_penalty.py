"""A sum of quadratic pulls as one: however many tasks add to it, it holds one importance and one centre a weight.

    Σ_t F_t (w − w_t)² = A (w − w̄)² + R    with A = Σ_t F_t,  w̄ = Σ_t F_t w_t / A,  R = Σ_t F_t (w_t − w̄)²

Two such forms are merged as weighted means and variances are (Chan et al. 1979): no large numbers are subtracted from
each other, as they would be in A w² − 2 B w + C.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class QuadraticPenalty:
    """Σ_i A_i (w_i − w̄_i)² + R over all weights, a function of weights by name; without arguments it is 0 everywhere.

    Calling it gives a scalar with a graph to the weights: 2 A (w − w̄) is the gradient. Weights that it has no
    importance for do not count. The sum of two penalties is the penalty `a + b`.

    >>> first = QuadraticPenalty({"w": torch.tensor([1.0])}, {"w": torch.tensor([0.0])})
    >>> second = QuadraticPenalty({"w": torch.tensor([3.0])}, {"w": torch.tensor([4.0])})
    >>> both = first + second
    >>> both.importance["w"], both.centre["w"], both.rest
    (tensor([4.]), tensor([3.]), 12.0)
    >>> w = {"w": torch.tensor([5.0])}
    >>> both(w), first(w) + second(w)
    (tensor(28.), tensor(28.))
    """

    importance: Mapping[str, Tensor] = field(default_factory=dict)
    """A ≥ 0, by name and of the shape of the weight."""
    centre: Mapping[str, Tensor] = field(default_factory=dict)
    """w̄, where the penalty is least; the same names and shapes."""
    rest: float = 0.0
    """R, the least value. It changes the loss, never a gradient."""

    def __call__(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Value at `weights`, a scalar tensor."""
        value: Tensor | float = self.rest
        for name, importance in self.importance.items():
            value = value + _Pull.apply(weights[name], importance, self.centre[name])
        return torch.as_tensor(value)

    def removed_from(self, gradient: Tensor, name: str, weight: Tensor, strength: float) -> Tensor:
        """`gradient` − strength · 2 A (w − w̄) for the weight of that name, as a new tensor."""
        if name not in self.importance:
            return gradient.clone()
        return torch.addcmul(gradient, self.importance[name], weight - self.centre[name], value=-2 * strength)

    def __add__(self, other: "QuadraticPenalty") -> "QuadraticPenalty":
        importance, centre = dict(self.importance), dict(self.centre)
        rest = self.rest + other.rest
        for name, added in other.importance.items():
            if name not in importance:
                importance[name], centre[name] = added, other.centre[name]
                continue
            total = importance[name] + added
            share = torch.where(total > 0, added / total, 0)  # no pull at all: any centre will do
            distance = other.centre[name] - centre[name]
            rest += (importance[name] * share * distance.square()).sum(dtype=torch.float64).item()
            importance[name], centre[name] = total, torch.addcmul(centre[name], share, distance)
        return QuadraticPenalty(importance, centre, rest)

    def state_dict(self) -> dict[str, Any]:
        """Its tensors and its number, for a checkpoint; :meth:`from_state_dict` is the way back."""
        return {"importance": dict(self.importance), "centre": dict(self.centre), "rest": self.rest}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> "QuadraticPenalty":
        """The penalty whose :meth:`state_dict` is `state`."""
        return cls(dict(state["importance"]), dict(state["centre"]), float(state["rest"]))


class _Pull(torch.autograd.Function):
    """Σ A (w − w̄)²; half of the gradient is a by-product of the value and kept, which saves passes over the weights."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, importance: Tensor, centre: Tensor) -> Tensor:
        distance = w - centre
        half = importance * distance
        ctx.save_for_backward(half)
        return torch.dot(half.flatten(), distance.flatten())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (half,) = ctx.saved_tensors
        return half * (2 * gradient), None, None
