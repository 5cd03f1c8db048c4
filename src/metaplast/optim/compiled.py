"""Fast forms of the Adam step: a compiled kernel for weights with m, torch's fused Adam for small parameters without.

The kernel reads and writes each weight, its gradient and its moments once.

The eager form makes a dozen passes over memory: at 16.8 million weights 640 ms on two cores, where one pass takes 24
to 45. `torch.compile` generates the kernel (C++ on a CPU, Triton on a GPU) and keeps it on disk between runs. One
kernel serves every size and every hyperparameter: tensors are flattened to a dynamic length, numbers are handed over in
a tensor. It takes several weights at once, since to call it takes as long as to step a small one. Where nothing can be
compiled, the weights are left to the literal form, with a warning.
"""

import functools
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metaplast.optim.functional import AdamHyperparams, AdamTensors, Consolidation

COMPILE_FROM = 65_536
"""With `compiled="auto"`, an optimizer compiles if its largest weight has at least this many elements.

Parameters without m that are smaller take the plain step together.
"""

STEP_SIZE, M, BETA1, ONE_MINUS_BETA1, BETA2, ONE_MINUS_BETA2, EPS, WEIGHT_DECAY = range(8)
"""Places of the hyperparameters in the tensor that a kernel is given."""

KERNEL_ARITY = 3
"""Weights that one call of the kernel takes, the number of layers of a network with two hidden ones."""

_unavailable = False
"""Whether compiling has failed in this process."""


class PlannedStep(NamedTuple):
    """A step that is to be taken: on which tensors, by which numbers and consolidation function."""

    tensors: AdamTensors
    hyperparams: AdamHyperparams
    consolidation: Consolidation


def _update_moments(
    hidden: Tensor, gradient: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, hyperparams: Tensor
) -> Tensor:
    """Move both moments as the literal step does; return the plain step times √v + ε, its divisor."""
    gradient = gradient + hyperparams[WEIGHT_DECAY] * hidden
    exp_avg.copy_(hyperparams[BETA1] * exp_avg + hyperparams[ONE_MINUS_BETA1] * gradient)
    exp_avg_sq.copy_(hyperparams[BETA2] * exp_avg_sq + hyperparams[ONE_MINUS_BETA2] * gradient * gradient)
    return hyperparams[STEP_SIZE] * exp_avg


def _plain(hidden: Tensor, gradient: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, hyperparams: Tensor) -> None:
    """The step for m = 0, on flat tensors."""
    u = _update_moments(hidden, gradient, exp_avg, exp_avg_sq, hyperparams)
    hidden.copy_(hidden - u / (exp_avg_sq.sqrt() + hyperparams[EPS]))


def _tanh(hidden: Tensor, gradient: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, hyperparams: Tensor) -> None:
    """With f_meta as 1 − tanh²(x) = 4z / (1 + z)², z = e^(−2|x|), which takes half the time of a kernel with tanh.

    z is 1, and with it the share, where the step lets |W^h| grow. There is one division in all.
    """
    u = _update_moments(hidden, gradient, exp_avg, exp_avg_sq, hyperparams)
    z = torch.exp(-2 * hyperparams[M] * torch.where(hidden * exp_avg > 0, hidden.abs(), 0.0))
    hidden.copy_(hidden - 4 * z * u / ((1 + z).square() * (exp_avg_sq.sqrt() + hyperparams[EPS])))


def _exponential(hidden: Tensor, gradient: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, hyperparams: Tensor) -> None:
    """With e^(−m|W^h|) instead."""
    u = _update_moments(hidden, gradient, exp_avg, exp_avg_sq, hyperparams)
    z = torch.exp(-hyperparams[M] * torch.where(hidden * exp_avg > 0, hidden.abs(), 0.0))
    hidden.copy_(hidden - z * u / (exp_avg_sq.sqrt() + hyperparams[EPS]))


FORMS: Mapping[str, Callable[..., None]] = {"tanh": _tanh, "exponential": _exponential}
"""By the name of the consolidation function."""


@functools.cache
def _kernel(form: Callable[..., None], dtype: torch.dtype, device: torch.device, threads: int) -> Callable[..., None]:
    """The step on `KERNEL_ARITY` weights: four flat tensors and a row of hyperparameters of each, in their order."""

    def steps(tensors: Sequence[Tensor], hyperparams: Tensor) -> None:
        for i in range(KERNEL_ARITY):
            form(*tensors[4 * i : 4 * i + 4], hyperparams[i])

    # The compiler keeps what it made by code object, and gives up where there is too much of one.
    steps.__code__ = steps.__code__.replace()
    # Without dynamic_threads the number of threads is written into the kernel that is kept on disk. With it one serves
    # all numbers, but the compiler looks it up again for each, so each gets an entry of its own here.
    kernel = torch.compile(steps, dynamic=True, fullgraph=True, options={"cpp.dynamic_threads": True})
    # Compiled for large sizes that differ: weights of equal or small ones, seen first, would get a kernel of their own.
    lengths = [COMPILE_FROM + i for i in range(KERNEL_ARITY) for _ in range(4)]
    kernel(
        [torch.zeros(n, dtype=dtype, device=device) for n in lengths],
        torch.ones(KERNEL_ARITY, 8, dtype=dtype, device=device),
    )
    return kernel


@functools.cache
def _padding_tensors(free: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """Weights of two elements, with gradient and moments, for `free` places of the kernel: no two of one memory."""
    return [torch.zeros(2, dtype=dtype, device=device) for _ in range(4 * free)]


def _pack_hyperparams(hyperparams: AdamHyperparams) -> list[float]:
    """The hyperparameters of a weight, in the order in which the kernel takes them."""
    beta1, beta2 = hyperparams["beta1"], hyperparams["beta2"]
    betas = [beta1, 1 - beta1, beta2, 1 - beta2]
    return [hyperparams["step_size"], hyperparams["m"], *betas, hyperparams["eps"], hyperparams["weight_decay"]]


def compiled_steps(weights: Sequence[PlannedStep]) -> list[PlannedStep]:
    """Take the step on weights, each with its hyperparameters, in one pass over each.

    Equal up to rounding to :func:`metaplast.optim.functional.metaplastic_adam_step`. Returns the weights that are left
    to that one: those that are not contiguous and, where there is no working compiler, all of them.
    """
    left: list[PlannedStep] = []
    alike: defaultdict[Any, list[PlannedStep]] = defaultdict(list)
    for planned in weights:
        tensors, hyperparams, consolidation = planned
        if tensors.contiguous:
            form = FORMS[consolidation] if hyperparams["m"] else _plain
            alike[form, tensors.hidden.dtype, tensors.hidden.device].append(planned)
        else:
            left.append(planned)
    for kind, of_kind in alike.items():
        for first in range(0, len(of_kind), KERNEL_ARITY):
            few = of_kind[first : first + KERNEL_ARITY]
            if _unavailable or not _run_kernel(few, *kind):
                left += few
    return left


def _run_kernel(
    weights: Sequence[PlannedStep],
    form: Callable[..., None],
    dtype: torch.dtype,
    device: torch.device,
) -> bool:
    """Take at most `KERNEL_ARITY` steps by the kernel of that form, type and device; whether it could be compiled."""
    global _unavailable
    free = KERNEL_ARITY - len(weights)
    tensors = [tensor.detach().view(-1) for step in weights for tensor in step.tensors] + _padding_tensors(
        free, dtype, device
    )
    rows = [_pack_hyperparams(step.hyperparams) for step in weights]
    table = torch.tensor(rows + free * rows[:1], dtype=dtype).to(device, non_blocking=True)
    try:
        _kernel(form, dtype, device, torch.get_num_threads())(tensors, table)
    except Exception as error:  # the compiler's errors have no common class; nothing was written before it failed
        _unavailable = True
        warnings.warn(
            f"no compiled metaplastic step here ({str(error).splitlines()[0]}); the eager one is used", stacklevel=2
        )
    return not _unavailable


def fused_adam_steps(
    parameters: Sequence[AdamTensors],
    step: int,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> None:
    """Step `step` for m = 0 on many small contiguous parameters of one type and device, by one call of torch's Adam.

    Equal up to rounding to :func:`metaplast.optim.functional.metaplastic_adam_step`. Torch adds ε to √v / √(1 − β₂ᵗ),
    so what it is given is ε / √(1 − β₂ᵗ).
    """
    beta1, beta2 = betas
    weights, gradients, exp_avgs, exp_avg_sqs = (list(tensors) for tensors in zip(*parameters, strict=True))
    torch._fused_adam_(  # what torch.optim.Adam(fused=True) calls; it has no public name
        weights,
        gradients,
        exp_avgs,
        exp_avg_sqs,
        [],
        [torch.full((), float(step), dtype=torch.float32, device=weights[0].device)] * len(weights),
        lr=lr,
        beta1=beta1,
        beta2=beta2,
        weight_decay=weight_decay,
        eps=eps / sqrt(1 - beta2**step),
        amsgrad=False,
        maximize=False,
    )
