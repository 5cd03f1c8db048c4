"""Layers whose weights act as ±1: a real hidden weight W^h is learned, its sign W^b is all that the forward pass sees.

The hidden weight is an ordinary parameter (in the state dict, seen by any optimizer); it is never written to in a
forward pass. A hidden weight of exactly 0 counts as +1, so that a binary weight is never 0.

Second derivatives are those of the gradient rules below. Under `torch.compile`, `torch.export`, `torch.jit.trace`,
`torch.fx` and `torch.func` the layers use torch's public operations alone, with the same rules.

Source: Courbariaux et al. 2016 (arXiv 1602.02830), as used by Laborieux et al. 2021 (arXiv 2101.07592).
"""

from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metaplast.nn._deterministic import int8_matmul, matmul, runs_eagerly
from metaplast.nn.activations import with_gradient_of


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


class _Product(torch.autograd.Function):
    """x · W^bᵀ for x (N, in_features) on a CPU, with the same bits on any number of threads.

    If all x are integers: in int8, to the same bits as in float, in a quarter of the time.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, hidden: Tensor, integer: bool) -> Tensor:
        binary = sign(hidden)
        ctx.save_for_backward(x, binary)
        ctx.hidden = hidden  # not saved: it may be written to before the backward pass, which needs its graph alone
        return int8_matmul(x, binary.t()) if integer else matmul(x, binary.t())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, binary = ctx.saved_tensors
        needs_x, needs_hidden, _ = ctx.needs_input_grad
        if torch.is_grad_enabled():  # with create_graph: the products themselves are differentiated
            binary = with_gradient_of(ctx.hidden, binary)
            return gradient @ binary if needs_x else None, gradient.t() @ x if needs_hidden else None, None
        of_x = matmul(gradient, binary) if needs_x else None
        return of_x, matmul(gradient.t(), x) if needs_hidden else None, None


def binarize(hidden: Tensor) -> Tensor:
    """Binary weights of hidden ones, the gradient passed straight through.

    Forward: W^b = sign(W^h). Backward: ∂L/∂W^h = ∂L/∂W^b. Any shape, which is kept.

    >>> hidden = torch.tensor([-0.02, 0.0, 0.7], requires_grad=True)
    >>> (3 * binarize(hidden)).sum().backward()
    >>> hidden.grad
    tensor([3., 3., 3.])
    """
    if not runs_eagerly(hidden):
        return with_gradient_of(hidden, torch.where(hidden.detach() >= 0, 1.0, -1.0).to(hidden.dtype))
    binary: Tensor = _StraightThrough.apply(hidden)
    return binary


class BinaryLinear(nn.Linear):
    """Linear layer without bias on binary weights, (*, in_features) to (*, out_features): y = x · sign(W^h)ᵀ.

    Backward: ∂L/∂W^h = ∂L/∂W^b, ∂L/∂x = ∂L/∂y · W^b. `weight` is W^h, of shape (out_features, in_features), uniform on
    ±`init_bound` at the start and after :meth:`reset_parameters`.

    Args:
        in_features: size of the last dimension of the input.
        out_features: size of the last dimension of the output.
        init_bound: finite bound > 0 of the first hidden weights.
        integer_input: promises inputs that are integers from -128 to 127, such as binary activations: a CPU then
            multiplies in int8, exact and several times as fast. Where the promise is broken, inputs are rounded
            towards 0, and NaN is lost.
        device: as of `nn.Linear`.
        dtype: as of `nn.Linear`.

    Raises:
        ValueError: `init_bound` out of its range, or an input whose last dimension is not `in_features`.

    >>> layer = BinaryLinear(3, 2)
    >>> sorted(set(layer(torch.eye(3)).flatten().tolist()) | {-1.0, 1.0})
    [-1.0, 1.0]
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        init_bound: float = 0.05,
        integer_input: bool = False,
        *,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.init_bound = _checked_width(init_bound)
        super().__init__(in_features, out_features, bias=False, device=device, dtype=dtype)
        self.reset_parameters()  # drawn twice, as by all releases so far, so that a seed keeps its network
        self.integer_input = integer_input

    def reset_parameters(self) -> None:
        """Draw new hidden weights, uniform on ±`init_bound`."""
        nn.init.uniform_(self.weight, -self.init_bound, self.init_bound)

    def forward(self, x: Tensor) -> Tensor:
        """Return the (*, out_features) products of `x` with the binary weights."""
        weight = self.weight
        if not runs_eagerly(x, weight):
            return F.linear(x, binarize(weight))
        if not x.dim() or x.shape[-1] != self.in_features:
            raise ValueError(
                f"input.shape={tuple(x.shape)}: expected (*, {self.in_features}) for a BinaryLinear with "
                f"in_features={self.in_features}"
            )
        exact = x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        if exact and x.device.type == weight.device.type == "cpu" and x.layout == torch.strided:
            if x.dim() == 2:
                return cast(Tensor, _Product.apply(x, weight, self.integer_input))
            rows = x.reshape(x.shape[:-1].numel(), self.in_features)
            product: Tensor = _Product.apply(rows, weight, self.integer_input)
            return product.view(*x.shape[:-1], self.out_features)
        return F.linear(x, binarize(weight))


class BinaryConv2d(nn.Conv2d):
    """Convolution without bias on binary weights, from (N, C, H, W) to (N, out_channels, H', W').

    Forward and backward as in :class:`BinaryLinear`. Zero padding adds a third value, 0, at the border of ±1 inputs.
    `weight` is W^h, of shape (out_channels, in_channels / groups, k, k), uniform on ±`init_bound` at the start and
    after :meth:`reset_parameters`. Arguments other than `init_bound`, a finite number > 0, are those of `nn.Conv2d`.

    >>> BinaryConv2d(1, 4, kernel_size=3, padding=1)(torch.ones(2, 1, 8, 8)).shape
    torch.Size([2, 4, 8, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros",
        init_bound: float = 0.05,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.init_bound = _checked_width(init_bound)
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=False,
            padding_mode=padding_mode,
            device=device,
            dtype=dtype,
        )
        self.reset_parameters()  # drawn twice, as of BinaryLinear

    def reset_parameters(self) -> None:
        """Draw new hidden weights, uniform on ±`init_bound`."""
        nn.init.uniform_(self.weight, -self.init_bound, self.init_bound)

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of `x` with the binary kernels."""
        y: Tensor = self._conv_forward(x, binarize(self.weight), None)
        return y


def _checked_width(init_bound: float) -> float:
    if isinstance(init_bound, bool) or not isinstance(init_bound, int | float) or not 0 < init_bound < float("inf"):
        raise ValueError(f"init_bound={init_bound!r}: expected a finite number > 0")
    return init_bound


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
