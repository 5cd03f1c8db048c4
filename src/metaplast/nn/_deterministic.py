"""CPU kernels whose results have the same bits on any number of threads.

Threads that share the work of a sum add up its parts in an order of their own. Where torch may do that, the sum is left
to one thread or to a kernel that does not split it. Private operations of torch that :mod:`metaplast.nn` uses are
gathered here; they check neither shapes nor types, so their callers have to.
"""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

MIN_ROWS = 16
"""Threads may divide the sums of a product with fewer rows among them."""

_linear_pointwise = (
    getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if torch.backends.mkldnn.is_available() and platform.machine() in ("x86_64", "AMD64")  # type: ignore[no-untyped-call]
    else None
)
"""x · wᵀ by oneDNN, the operation that torch's compiler calls; None on machines on which its bits are not tested."""
HAS_ONEDNN = _linear_pointwise is not None


_ORDINARY = {Tensor, torch.nn.Parameter, type(None)}


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread inside, and afterwards on as many as before. It takes a microsecond.

    >>> before = torch.get_num_threads()
    >>> with one_thread():
    ...     torch.get_num_threads()
    1
    >>> torch.get_num_threads() == before
    True
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def runs_eagerly(*tensors: Tensor | None) -> bool:
    """Whether operations on `tensors` are computed now, one by one, on ordinary tensors.

    They are not while `torch.compile`, `torch.export`, `torch.jit.trace`, `torch.fx`, `torch.func` or a dispatch mode
    looks at them: these know torch's public operations only, so the layers then use those alone.
    """
    if (
        torch.compiler.is_compiling()
        or torch._C._is_tracing()  # of torch.jit
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack()
        or forward_ad._current_level >= 0  # forward-mode differentiation
    ):
        return False
    for tensor in tensors:  # noqa: SIM110  (a generator takes longer than all the rest)
        if type(tensor) not in _ORDINARY:
            return False
    return True


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """a · b of float32 matrices on a CPU. By oneDNN, a training step is 4 to 5 % faster and has the same bits."""
    if a.shape[0] < MIN_ROWS:
        with one_thread():
            return a @ b
    if _linear_pointwise is None or not a.shape[1]:
        return a @ b
    product: Tensor = _linear_pointwise(a, b.t(), None, "none", [], "")
    return product


def int8_matmul(a: Tensor, b: Tensor) -> Tensor:
    """a · b of matrices of integers from -128 to 127, exact, in the type of `a`."""
    if not (a.numel() and b.numel()):
        return a @ b
    return torch._int_mm(a.to(torch.int8), b.to(torch.int8)).to(a.dtype)


def hardtanh_backward(gradient: Tensor, a: Tensor, bound: float) -> Tensor:
    """`gradient` where |a| < `bound`, else 0, in one pass: an eighth of the time of a mask."""
    inside: Tensor = torch.ops.aten.hardtanh_backward(gradient, a, -bound, bound)
    return inside


class OneThreadBatchNorm(torch.autograd.Function):
    """Batch normalization of (N, features) by the statistics of the batch, on one CPU thread.

    It takes no longer: a layer of 512 is too small to gain by a second thread, a wide one waits for its products.
    Second derivatives are torch's own, since the backward pass is an operation that torch can differentiate.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor | None,
        var: Tensor | None,
        momentum: float,
        eps: float,
    ) -> Tensor:
        with one_thread():
            y, batch_mean, batch_scale = torch.native_batch_norm(x, weight, bias, mean, var, True, momentum, eps)
        ctx.save_for_backward(x, weight, batch_mean, batch_scale)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, batch_mean, batch_scale = ctx.saved_tensors
        needed = list(ctx.needs_input_grad[:3])
        with one_thread():
            of_x, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
                gradient, x, weight, None, None, batch_mean, batch_scale, True, ctx.eps, needed
            )
        return of_x, of_weight, of_bias, None, None, None, None
