"""Binary activations, each with the gradient that stands in for its own, which is 0 almost everywhere.

Their outputs are integers, so that a :class:`metaplast.nn.BinaryLinear` behind one may multiply in int8. Second
derivatives are those of the gradient rules. Under `torch.compile`, `torch.export`, `torch.jit.trace`, `torch.fx` and
`torch.func` all of them use torch's public operations alone, with the same rules.
"""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from numbers import Real
from typing import Any, Literal

import torch
import torch.fx
from torch import Tensor, nn
from torch.nn import functional as F

from metaplast.nn._deterministic import hardtanh_backward, runs_eagerly


def with_gradient_of(surrogate: Tensor, value: Tensor) -> Tensor:
    """`value`, exactly, with every derivative of the finite `surrogate`; both of one shape.

    >>> x = torch.tensor([0.4], requires_grad=True)
    >>> with_gradient_of(x.square(), x.round()).backward(); x.grad
    tensor([0.8000])
    """
    return value.detach() + (surrogate - surrogate.detach())


def _just_above(bound: float, a: Tensor) -> float:
    """`bound`, so much larger in the type of `a` that it lies inside the open window of torch's hardtanh."""
    return bound * (1 + torch.finfo(a.dtype).eps)


class _SignWindow(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        ctx.save_for_backward(a)
        return torch.sign(a)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (a,) = ctx.saved_tensors
        return hardtanh_backward(gradient, a, _just_above(1, a))


class BinaryActivation(nn.Module):
    """What the activations below share: they tell where their gradient rule lets a gradient through."""

    def passes(self, a: Tensor) -> Tensor:
        """Return, for every element of the input `a`, whether it passes a gradient; a tensor of bool in its shape."""
        raise NotImplementedError


class SignActivation(BinaryActivation):
    """Sign: forward sign(a), 0 at 0; backward ∂L/∂a = ∂L/∂sign(a) where |a| ≤ 1, else 0. Any shape.

    An activation of exactly 0 stays 0, as in the published code: it occurs where a sum of few ±1 terms equals its batch
    mean while β is still 0, and the trajectory of that code can be followed in no other way.

    Source: Courbariaux et al. 2016 (arXiv 1602.02830), as used by Laborieux et al. 2021 (arXiv 2101.07592).

    >>> a = torch.tensor([-3.0, -1.0, 0.5], requires_grad=True)
    >>> SignActivation()(a)
    tensor([-1., -1.,  1.], grad_fn=<_SignWindowBackward>)
    >>> SignActivation()(a).sum().backward(); a.grad
    tensor([0., 1., 1.])
    """

    def forward(self, a: Tensor) -> Tensor:
        """Return the sign of every element of `a`."""
        return _sign_activation(a)

    def passes(self, a: Tensor) -> Tensor:
        """|a| ≤ 1."""
        return a.abs() <= 1


@torch.fx.wrap
def _sign_activation(a: Tensor) -> Tensor:
    if not runs_eagerly(a):
        bound = _just_above(1, a)
        return with_gradient_of(F.hardtanh(a, -bound, bound), torch.sign(a))
    signs: Tensor = _SignWindow.apply(a)
    return signs


class GateActivation(BinaryActivation):
    """Gate: a unit is 1 where its input is far from 0 on either side, else 0. Any shape.

    With the threshold θ and the window (l, u)::

        forward    y = 1 where |a| > θ, else 0
        backward   ∂L/∂a = ∂L/∂y · sign(a) where l < |a| < u, else 0

    Args:
        threshold: θ, a finite number >= 0.
        window: l and u, finite, 0 <= l < u.

    Raises:
        ValueError: an argument is out of its range.

    Source: the binary gate of BiMU, Cottart et al. 2026 (arXiv 2605.30198), with θ = 1, l = 0.5 and u = 1.5.

    >>> a = torch.tensor([2.0, -1.2, 0.3, 0.7, 1.2], requires_grad=True)
    >>> y = GateActivation()(a)
    >>> y.detach()
    tensor([1., 1., 0., 0., 1.])
    >>> y.sum().backward(); a.grad
    tensor([ 0., -1.,  0.,  1.,  1.])
    """

    def __init__(self, threshold: float = 1.0, window: Sequence[float] = (0.5, 1.5)) -> None:
        super().__init__()
        if not (_is_number(threshold) and threshold >= 0):
            raise ValueError(f"threshold={threshold!r}: expected a finite number >= 0")
        if len(window) != 2 or not all(map(_is_number, window)) or not 0 <= window[0] < window[1]:
            raise ValueError(f"window={window!r}: expected two finite numbers, 0 <= lower < upper")
        self.threshold, self.window = threshold, (window[0], window[1])

    def forward(self, a: Tensor) -> Tensor:
        """Return 1 for every element of `a` beyond the threshold, 0 for the others."""
        size = a.abs()
        return with_gradient_of(F.hardtanh(size, *self.window), (size > self.threshold).to(a.dtype))

    def passes(self, a: Tensor) -> Tensor:
        """l < |a| < u."""
        return (a.abs() > self.window[0]) & (a.abs() < self.window[1])

    def extra_repr(self) -> str:
        """Return the arguments, which `print` shows."""
        return f"threshold={self.threshold}, window={self.window}"


class KWTA(BinaryActivation):
    """k winners take all: the largest share of the units of a layer are 1, all others 0; (N, *), each sample by itself.

    With k = max(1, ⌊share · units⌋) and θ the k-th largest input of the sample::

        forward    y = 1 where a >= θ, else 0
        backward   ∂L/∂a = ∂L/∂y where |a − θ| ≤ 1, else 0

    θ counts as a constant. Units that share the k-th place all win, so which of them is first makes no difference.

    Args:
        share: of the units that win, in (0, 1].

    Raises:
        ValueError: `share` is out of its range, or an input has fewer than two dimensions or no unit.

    Source: Makhzani & Frey 2015 (arXiv 1409.2752) for winners a layer; the window is that of the sign activation
    (arXiv 1602.02830), around θ.

    >>> a = torch.tensor([[0.1, 3.0, 2.5, -4.0]], requires_grad=True)
    >>> y = KWTA(share=0.25)(a)
    >>> y.detach()
    tensor([[0., 1., 0., 0.]])
    >>> y.sum().backward(); a.grad
    tensor([[0., 1., 1., 0.]])
    """

    def __init__(self, share: float = 0.1) -> None:
        super().__init__()
        if not (_is_number(share) and 0 < share <= 1):
            raise ValueError(f"share={share!r}: expected a number > 0 and <= 1")
        self.share = share

    def forward(self, a: Tensor) -> Tensor:
        """Return 1 for the winners of each sample, 0 for all other units."""
        return _winners(a, self.share)

    def passes(self, a: Tensor) -> Tensor:
        """|a − θ| ≤ 1, θ that of the sample."""
        return (a - _kth_largest(a, self.share)).abs() <= 1

    def extra_repr(self) -> str:
        """Return the argument, which `print` shows."""
        return f"share={self.share}"


@torch.fx.wrap
def _winners(a: Tensor, share: float) -> Tensor:
    if a.dim() < 2 or not a.shape[1:].numel():
        raise ValueError(f"input.shape={tuple(a.shape)}: expected (N, *) with at least one unit")
    if not a.dtype.is_floating_point:
        raise ValueError(f"input.dtype={a.dtype}: expected a floating-point type")
    threshold = _kth_largest(a, share)
    distance, bound = a - threshold, _just_above(1, a)
    return with_gradient_of(F.hardtanh(distance, -bound, bound), (a >= threshold).to(a.dtype))


def _kth_largest(a: Tensor, share: float) -> Tensor:
    """θ of each sample, (N, 1, …), in the dimensions of `a`; k is `share` of its units, at least 1."""
    units = a.detach().flatten(1)
    k = max(1, int(share * units.shape[1]))
    return units.topk(k, dim=1).values[:, -1].reshape(-1, *[1] * (a.dim() - 1))


def _is_number(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and isfinite(value)


Activation = Literal["sign", "gate", "kwta"]

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {"sign": SignActivation, "gate": GateActivation, "kwta": KWTA}
"""By the name that the networks take."""
