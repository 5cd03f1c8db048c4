"""Layers whose weights act as ±1: a real hidden weight W^h is learned, its sign W^b is all that the forward pass sees.

The hidden weight is an ordinary parameter (in the state dict, seen by any optimizer); it is never written to in a
forward pass. A hidden weight of exactly 0 counts as +1, so that a binary weight is never 0. An activation of exactly
0 stays 0, as in the published code: it occurs where a sum of few ±1 terms equals its batch mean while β is still 0,
and the trajectory of that code can be followed in no other way.

Source: Courbariaux et al. 2016 (arXiv 1602.02830), as used by Laborieux et al. 2021 (arXiv 2101.07592).
"""

import platform
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metaplast.nn.one_thread import one_thread

_FEW_ROWS = 16
"""Of a product with fewer rows, threads may divide the sums among them: its bits depend on how many they are."""


_linear = (
    getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if torch.backends.mkldnn.is_available() and platform.machine() in ("x86_64", "AMD64")  # type: ignore[no-untyped-call]
    else None
)
"""x · wᵀ of oneDNN, of torch's own kernels for compiled networks; None where its bits were not looked at."""


def sign(x: Tensor) -> Tensor:
    """Sign of each hidden weight, +1 at 0: a tensor of ±1 with the shape and dtype of `x`, without a gradient.

    >>> sign(torch.tensor([-0.3, 0.0, 2.0]))
    tensor([-1.,  1.,  1.])
    """
    signs: Tensor = torch.sign(x.detach()).add_(0.5).sign_()  # a tenth of the time of a comparison and a conversion
    return signs


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor) -> Tensor:
        return sign(hidden)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class _SignWindow(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        ctx.save_for_backward(a)
        return torch.sign(a)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (a,) = ctx.saved_tensors
        # One pass, an eighth of the time of a mask. Its window is open, so the bound is the next number above 1.
        bound = 1 + torch.finfo(a.dtype).eps
        inside: Tensor = torch.ops.aten.hardtanh_backward(gradient, a, -bound, bound)
        return inside


class _Product(torch.autograd.Function):
    """x · W^bᵀ for x (N, in_features) on a CPU, with the same bits on any number of threads.

    If all x are integers: in int8, to the same bits as in float, in a quarter of the time.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, hidden: Tensor, integer: bool) -> Tensor:
        binary = sign(hidden)
        ctx.save_for_backward(x, binary)
        if integer:
            return torch._int_mm(x.to(torch.int8), binary.to(torch.int8).t()).to(x.dtype)
        return _product(x, binary.t())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, binary = ctx.saved_tensors
        needs_x, needs_hidden, _ = ctx.needs_input_grad
        of_x = _product(gradient, binary) if needs_x else None
        return of_x, _product(gradient.t(), x) if needs_hidden else None, None


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a · b, by oneDNN where it is there, which makes a step 4 to 5 % faster and gives the same bits."""
    if a.shape[0] < _FEW_ROWS:
        with one_thread():
            return a @ b
    if _linear is None:
        return a @ b
    product: Tensor = _linear(a, b.t(), None, "none", [], "")
    return product


def binarize(hidden: Tensor) -> Tensor:
    """Binary weights of hidden ones, the gradient passed straight through.

    Forward: W^b = sign(W^h). Backward: ∂L/∂W^h = ∂L/∂W^b. Any shape, which is kept.

    >>> hidden = torch.tensor([-0.02, 0.0, 0.7], requires_grad=True)
    >>> (3 * binarize(hidden)).sum().backward()
    >>> hidden.grad
    tensor([3., 3., 3.])
    """
    binary: Tensor = _StraightThrough.apply(hidden)
    return binary


class SignActivation(nn.Module):
    """Binary activation: forward sign(a), 0 at 0; backward ∂L/∂a = ∂L/∂sign(a) where |a| ≤ 1, else 0. Any shape.

    >>> a = torch.tensor([-3.0, -1.0, 0.5], requires_grad=True)
    >>> SignActivation()(a)
    tensor([-1., -1.,  1.], grad_fn=<_SignWindowBackward>)
    >>> SignActivation()(a).sum().backward(); a.grad
    tensor([0., 1., 1.])
    """

    def forward(self, a: Tensor) -> Tensor:
        """Return the sign of every element of `a`."""
        signs: Tensor = _SignWindow.apply(a)
        return signs


class BinaryLinear(nn.Linear):
    """Linear layer without bias on binary weights, (N, *, in_features) to (N, *, out_features): y = x · sign(W^h)ᵀ.

    Backward: ∂L/∂W^h = ∂L/∂W^b, ∂L/∂x = ∂L/∂y · W^b. `weight` is W^h, of shape (out_features, in_features), uniform on
    ±`init_bound` at the start.

    `integer_input` promises inputs that are integers from -128 to 127, such as signs: a CPU then multiplies in int8,
    exact and several times as fast. Where the promise is broken, inputs are rounded towards 0, and NaN is lost.

    >>> layer = BinaryLinear(3, 2)
    >>> sorted(set(layer(torch.eye(3)).flatten().tolist()) | {-1.0, 1.0})
    [-1.0, 1.0]
    """

    def __init__(
        self, in_features: int, out_features: int, init_bound: float = 0.05, integer_input: bool = False
    ) -> None:
        super().__init__(in_features, out_features, bias=False)
        nn.init.uniform_(self.weight, -init_bound, init_bound)
        self.integer_input = integer_input

    def forward(self, x: Tensor) -> Tensor:
        """Return the (N, *, out_features) products of `x` with the binary weights."""
        exact = x.dtype == self.weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        if x.device.type == "cpu" and exact:
            product: Tensor = _Product.apply(x.flatten(0, -2), self.weight, self.integer_input)
            return product.view(*x.shape[:-1], self.out_features)
        return F.linear(x, binarize(self.weight))


class BinaryConv2d(nn.Conv2d):
    """Convolution without bias on binary weights, from (N, C, H, W) to (N, out_channels, H', W').

    Forward and backward as in :class:`BinaryLinear`. Zero padding adds a third value, 0, at the border of ±1 inputs.
    `weight` is W^h, of shape (out_channels, in_channels, k, k), uniform on ±`init_bound` at the start.

    >>> BinaryConv2d(1, 4, kernel_size=3, padding=1)(torch.ones(2, 1, 8, 8)).shape
    torch.Size([2, 4, 8, 8])
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, padding: int = 0, init_bound: float = 0.05
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=padding, bias=False)
        nn.init.uniform_(self.weight, -init_bound, init_bound)

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of `x` with the binary kernels."""
        return F.conv2d(x, binarize(self.weight), padding=self.padding)


def hidden_weights(network: nn.Module) -> dict[str, nn.Parameter]:
    """Hidden weights of every binary layer, by the layer's name, in the order of registration.

    >>> list(hidden_weights(nn.Sequential(BinaryLinear(4, 3), nn.Linear(3, 2))))
    ['0']
    """
    return {
        name: cast(nn.Parameter, module.weight)
        for name, module in network.named_modules()
        if isinstance(module, BinaryLinear | BinaryConv2d)
    }
