"""The metaplastic step as one kernel: each weight, its gradient and its moments are read and written once.

The eager form makes a dozen passes over memory: at 16.8 million weights 640 ms on two cores, where one pass takes 24
to 45. `torch.compile` generates the kernel (C++ on a CPU, Triton on a GPU) and keeps it on disk between runs. One
kernel serves every size and every setting: tensors are flattened to a dynamic length, numbers are handed over in a
tensor. It takes several weights at once, since to call it takes as long as to step a small one. Where nothing can be
compiled, the weights are left to the literal form, with a warning.
"""

import functools
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from metaplast.optim.consolidation import Consolidation
from metaplast.optim.metaplastic_adam import COMPILE_FROM, Moved, StepSettings

AT_ONCE = 3
"""Weights that one call of the kernel takes, the number of layers of a network with two hidden ones."""

_unavailable = False


def _moved(hidden: Tensor, gradient: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, settings: Tensor) -> Tensor:
    """Move both moments as the literal step does; return the plain step times √v + ε, its divisor."""
    step_size, _, beta1, one_minus_beta1, beta2, one_minus_beta2, _, weight_decay = settings.unbind()
    gradient = gradient + weight_decay * hidden
    exp_avg.copy_(beta1 * exp_avg + one_minus_beta1 * gradient)
    exp_avg_sq.copy_(beta2 * exp_avg_sq + one_minus_beta2 * gradient * gradient)
    return step_size * exp_avg


def _plain(hidden: Tensor, gradient: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, settings: Tensor) -> None:
    """The step for m = 0, on flat tensors."""
    u = _moved(hidden, gradient, exp_avg, exp_avg_sq, settings)
    hidden.copy_(hidden - u / (exp_avg_sq.sqrt() + settings[6]))


def _tanh(hidden: Tensor, gradient: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, settings: Tensor) -> None:
    """With f_meta as 1 − tanh²(x) = 4z / (1 + z)², z = e^(−2|x|), which takes half the time of a kernel with tanh.

    z is 1, and with it the share, where the step lets |W^h| grow. There is one division in all.
    """
    u = _moved(hidden, gradient, exp_avg, exp_avg_sq, settings)
    z = torch.exp(-2 * settings[1] * torch.where(hidden * exp_avg > 0, hidden.abs(), 0.0))
    hidden.copy_(hidden - 4 * z * u / ((1 + z).square() * (exp_avg_sq.sqrt() + settings[6])))


def _exponential(hidden: Tensor, gradient: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, settings: Tensor) -> None:
    """With e^(−m|W^h|) instead."""
    u = _moved(hidden, gradient, exp_avg, exp_avg_sq, settings)
    z = torch.exp(-settings[1] * torch.where(hidden * exp_avg > 0, hidden.abs(), 0.0))
    hidden.copy_(hidden - z * u / (exp_avg_sq.sqrt() + settings[6]))


FORMS: Mapping[str, Callable[..., None]] = {"tanh": _tanh, "exponential": _exponential}
"""By the name of the consolidation function."""


@functools.cache
def _kernel(form: Callable[..., None], dtype: torch.dtype, device: torch.device, threads: int) -> Callable[..., None]:
    """The step on `AT_ONCE` weights: four flat tensors of each, one weight after the other, and a row of settings."""

    def steps(tensors: Sequence[Tensor], settings: Tensor) -> None:
        for i in range(AT_ONCE):
            form(*tensors[4 * i : 4 * i + 4], settings[i])

    # The compiler keeps what it made by code object, and gives up where there is too much of one.
    steps.__code__ = steps.__code__.replace()
    # Without dynamic_threads the number of threads is written into the kernel that is kept on disk. With it one serves
    # all numbers, but the compiler looks for it anew at each, so they are told apart here.
    kernel = torch.compile(steps, dynamic=True, fullgraph=True, options={"cpp.dynamic_threads": True})
    # Compiled for large sizes that differ: weights of equal or small ones, seen first, would get a kernel of their own.
    lengths = [COMPILE_FROM + i for i in range(AT_ONCE) for _ in range(4)]
    kernel(
        [torch.zeros(n, dtype=dtype, device=device) for n in lengths],
        torch.ones(AT_ONCE, 8, dtype=dtype, device=device),
    )
    return kernel


@functools.cache
def _nobodys(free: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """Weights of two elements, with gradient and moments, for `free` places of the kernel: no two of one memory."""
    return [torch.zeros(2, dtype=dtype, device=device) for _ in range(4 * free)]


def _row(settings: StepSettings) -> list[float]:
    """The settings of a weight, in the order in which the kernel takes them."""
    beta1, beta2 = settings["beta1"], settings["beta2"]
    betas = [beta1, 1 - beta1, beta2, 1 - beta2]
    return [settings["step_size"], settings["m"], *betas, settings["eps"], settings["weight_decay"]]


def compiled_steps(
    weights: Sequence[tuple[Moved, StepSettings]], consolidation: Consolidation = "tanh"
) -> list[tuple[Moved, StepSettings]]:
    """Take the step on weights, each with its settings, in one pass over each.

    Equal up to rounding to :func:`metaplast.optim.metaplastic_adam.metaplastic_adam_step`. Returns the weights that are
    left to that one: those that are not contiguous and, where there is no working compiler, all of them.
    """
    left: list[tuple[Moved, StepSettings]] = []
    alike: defaultdict[Any, list[tuple[Moved, StepSettings]]] = defaultdict(list)
    for moved, settings in weights:
        if moved.contiguous:
            form = FORMS[consolidation] if settings["m"] else _plain
            alike[form, moved.hidden.dtype, moved.hidden.device].append((moved, settings))
        else:
            left.append((moved, settings))
    for kind, of_kind in alike.items():
        for first in range(0, len(of_kind), AT_ONCE):
            few = of_kind[first : first + AT_ONCE]
            if _unavailable or not _compiled(few, *kind):
                left += few
    return left


def _compiled(
    weights: Sequence[tuple[Moved, StepSettings]],
    form: Callable[..., None],
    dtype: torch.dtype,
    device: torch.device,
) -> bool:
    """Take at most `AT_ONCE` steps by the kernel of that form, type and device; whether it could be compiled."""
    global _unavailable
    free = AT_ONCE - len(weights)
    tensors = [tensor.detach().view(-1) for moved, _ in weights for tensor in moved] + _nobodys(free, dtype, device)
    rows = [_row(settings) for _, settings in weights]
    table = torch.tensor(rows + free * rows[:1], dtype=dtype).to(device, non_blocking=True)
    try:
        _kernel(form, dtype, device, torch.get_num_threads())(tensors, table)
    except Exception as error:  # the compiler's errors have no common class; nothing was written before it failed
        _unavailable = True
        warnings.warn(
            f"no compiled metaplastic step here ({str(error).splitlines()[0]}); the eager one is used", stacklevel=2
        )
    return not _unavailable
