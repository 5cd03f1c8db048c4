"""Normalization with one state for all tasks or one a task, the part on which reproductions of the paper have failed.

A layer has a *live* state, which training reads and writes. With `n_states` > 1 it also keeps a bank: `store(task)`
copies the live state into row `task`, `select(task)` makes the forward pass read that row, `select(None)` the live
state again. A new task goes on from the state that the last one left, as in the reference. Banks are buffers, so they
are in the state dict, and no optimizer ever moves a stored task.
"""

import warnings
from collections.abc import Iterator
from typing import Literal

import torch
import torch.fx
from torch import Tensor, nn
from torch.nn import functional as F

from metaplast.errors import UserError
from metaplast.nn._deterministic import OneThreadBatchNorm, runs_eagerly

Statistics = Literal["population", "running", "batch"]


class TaskNorm(nn.Module):
    """What the normalizations share: γ and β of shape (features,), and a row of everything they keep for each task.

    Arguments: `features`, the size of dimension 1; `n_states`, rows of the bank (1: no bank, one state for all
    tasks); `affine`, whether γ and β exist; `gamma_init`, "ones" or "uniform" on [0, 1] (what PyTorch 1.1, which the
    paper used, did).

    Raises:
        ValueError: an argument is out of its range, an input is not of shape (N, features, *), or a task is selected
            that was never stored.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(self, features: int, n_states: int = 1, affine: bool = True, gamma_init: str = "ones") -> None:
        super().__init__()
        if gamma_init not in ("ones", "uniform"):
            raise ValueError(f"gamma_init={gamma_init!r}: expected ones or uniform")
        for name, value in (("features", features), ("n_states", n_states)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value!r}: expected an integer >= 1")
        self.features, self.n_states, self.gamma_init = features, n_states, gamma_init
        self.weight = (
            nn.Parameter(torch.rand(features) if gamma_init == "uniform" else torch.ones(features)) if affine else None
        )
        self.bias = nn.Parameter(torch.zeros(features)) if affine else None
        self._selected: int | None = None
        self._kept: list[str] = []
        if affine:
            self._keep("weight")
            self._keep("bias")

    def _keep(self, name: str) -> None:
        """Give the tensor `name` a row for each task."""
        self._kept.append(name)
        if self.n_states > 1:
            self.register_buffer(f"{name}_of_task", torch.zeros(self.n_states, self.features))

    @property
    def selected(self) -> int | None:
        """The task whose stored state the forward pass reads; None: the live state."""
        return self._selected

    @selected.setter
    def selected(self, task: int | None) -> None:
        self.check_stored(task)
        self._selected = task

    def check_stored(self, task: int | None) -> None:
        """Raise ValueError where `task` has no stored state to read, though each task has one of its own."""
        if task is None or self.n_states == 1 or not self._kept:
            return
        self._check_task(task)
        # A row is zero until it is stored; γ and β, or a variance, are never all zero.
        if not any(bool(getattr(self, f"{name}_of_task")[task].any()) for name in self._kept):
            raise ValueError(
                f"task={task}: expected a task stored by store_task(network, {task}), got one without a state"
            )

    def _check_task(self, task: int) -> None:
        if isinstance(task, bool) or not isinstance(task, int) or not 0 <= task < self.n_states:
            raise ValueError(f"task={task!r}: expected an integer from 0 to {self.n_states - 1}")

    def _check_input(self, x: Tensor) -> None:
        if x.dim() < 2 or x.shape[1] != self.features:
            raise ValueError(
                f"input.shape={tuple(x.shape)}: expected (N, {self.features}, *) for a {type(self).__name__} of "
                f"{self.features} features"
            )
        if not x.dtype.is_floating_point:
            raise ValueError(f"input.dtype={x.dtype}: expected a floating-point type")

    @property
    def per_task(self) -> bool:
        """Whether an answer depends on which task is selected: there are states, and something in them is read."""
        return self.n_states > 1 and bool(self._kept)

    def store(self, task: int) -> None:
        """Copy the live state into the row of `task`; nothing to do where all tasks share one state."""
        if self.n_states > 1:
            self._check_task(task)
            for name in self._kept:
                bank: Tensor = getattr(self, f"{name}_of_task")
                bank[task] = getattr(self, name).detach()

    def make_live(self, task: int) -> None:
        """Copy the row of `task` into the live state; nothing to do where all tasks share one state.

        Raises ValueError where the state of `task` was never stored.
        """
        self.check_stored(task)
        if self.n_states > 1:
            with torch.no_grad():
                for name in self._kept:
                    bank: Tensor = getattr(self, f"{name}_of_task")
                    getattr(self, name).copy_(bank[task])

    def _state(self, name: str) -> Tensor | None:
        """The tensor `name` as the forward pass has to see it."""
        if self.selected is None or self.n_states == 1 or getattr(self, name) is None:
            return getattr(self, name)  # type: ignore[no-any-return]
        bank: Tensor = getattr(self, f"{name}_of_task")
        return bank[self.selected]


class BatchNorm(TaskNorm):
    """Batch normalization over all dimensions but 1, for (N, features) and (N, features, H, W).

    y = γ (x − μ) / √(σ² + ε) + β, in training with μ and σ² of the batch (biased, as PyTorch). In testing they are, by
    `test_statistics`: "population", those that :func:`metaplast.nn.set_population_statistics` put there, with a warning
    where it never did; "running", averages kept while training (momentum 0.1); "batch", those of the test batch, so
    that an answer depends on its neighbours. Source: Ioffe & Szegedy 2015 (arXiv 1502.03167).

    >>> norm = BatchNorm(2, test_statistics="batch")
    >>> norm(torch.tensor([[1.0, 0.0], [3.0, 8.0]])).round(decimals=3).tolist()
    [[-1.0, -1.0], [1.0, 1.0]]
    """

    mean: Tensor
    var: Tensor
    mean_of_task: Tensor
    momentum = 0.1

    def __init__(
        self,
        features: int,
        n_states: int = 1,
        affine: bool = True,
        gamma_init: str = "ones",
        test_statistics: Statistics = "population",
        eps: float = 1e-5,
    ) -> None:
        super().__init__(features, n_states, affine, gamma_init)
        if test_statistics not in ("population", "running", "batch"):
            raise ValueError(f"test_statistics={test_statistics!r}: expected population, running or batch")
        if not 0 < eps < float("inf"):
            raise ValueError(f"eps={eps!r}: expected a finite number > 0")
        self.test_statistics, self.eps = test_statistics, eps
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("var", torch.ones(features))
        self._keep("mean")
        self._keep("var")
        self._checked: tuple[int | None, int, int] | None = None
        """Of which statistics it is known that they were set: of which task, in which tensor, at which version."""

    @property
    def per_task(self) -> bool:
        """As of every :class:`TaskNorm`; statistics of the test batch are read from no state."""
        return self.n_states > 1 and (self.weight is not None or self.test_statistics != "batch")

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` normalized, of the same shape."""
        eager = runs_eagerly(x)
        if eager:
            self._check_input(x)
        weight, bias = self._state("weight"), self._state("bias")
        if self.training or self.test_statistics == "batch":
            keeps = self.training and self.test_statistics == "running"
            mean, var = (self.mean, self.var) if keeps else (None, None)
            return _batch_norm(x, weight, bias, mean, var, self.momentum, self.eps)
        if eager and self.test_statistics == "population":
            self._warn_unless_set()
        return F.batch_norm(x, self._state("mean"), self._state("var"), weight, bias, False, 0.0, self.eps)

    def _warn_unless_set(self) -> None:
        """Warn where the population statistics are those of a new layer, mean 0 and variance 1."""
        banked = self.selected is not None and self.n_states > 1
        source: Tensor = self.mean_of_task if banked else self.mean
        if not source.is_inference():  # which has no version
            key = (self.selected, id(source), source._version)
            if key == self._checked:
                return
            self._checked = key
        mean, var = self._state("mean"), self._state("var")
        assert mean is not None, "BatchNorm always has both"
        assert var is not None, "BatchNorm always has both"
        if not bool(mean.any()) and bool((var == 1).all()):
            self._checked = None
            warnings.warn(
                "BatchNorm: no population statistics were set, so a test uses mean 0 and variance 1; call "
                "metaplast.nn.set_population_statistics(network, batches) after training, or build the layer with "
                "test_statistics='running'",
                stacklevel=3,
            )


@torch.fx.wrap
def _batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    var: Tensor | None,
    momentum: float,
    eps: float,
) -> Tensor:
    """Normalize by the statistics of the batch; `mean` and `var`, where given, are averages that follow them."""
    if not runs_eagerly(x, weight, bias):
        return F.batch_norm(x, mean, var, weight, bias, True, momentum, eps)
    if x.numel() <= x.shape[1]:
        raise UserError("batch normalization needs more than one image in a batch; take another batch_size")
    alike = all(t is None or (t.dtype == x.dtype and t.device == x.device) for t in (weight, mean))
    if x.dim() != 2 or x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64) or not alike:
        return F.batch_norm(x, mean, var, weight, bias, True, momentum, eps)
    y: Tensor = OneThreadBatchNorm.apply(x, weight, bias, mean, var, momentum, eps)
    return y


class LayerNorm(TaskNorm):
    """Layer normalization of each sample over all its dimensions, γ and β by dimension 1; no statistics to keep.

    y = γ (x − μ) / √(σ² + ε) + β with μ and σ² of the sample. Source: Ba et al. 2016 (arXiv 1607.06450).

    >>> LayerNorm(2, affine=False)(torch.tensor([[1.0, 3.0]])).round(decimals=3)
    tensor([[-1.,  1.]])
    """

    eps = 1e-5

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` normalized, of the same shape."""
        if runs_eagerly(x):
            self._check_input(x)
        return F.group_norm(x, 1, self._state("weight"), self._state("bias"), self.eps)


class FixedScale(nn.Module):
    """No normalization: x / √fan_in. Unscaled, a sum of fan_in terms ±1 leaves the window |a| ≤ 1 of the sign for good.

    >>> FixedScale(fan_in=4)(torch.tensor([[2.0]]))
    tensor([[1.]])
    """

    def __init__(self, fan_in: int) -> None:
        super().__init__()
        if isinstance(fan_in, bool) or not isinstance(fan_in, int) or fan_in < 1:
            raise ValueError(f"fan_in={fan_in!r}: expected an integer >= 1")
        self.fan_in = fan_in

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` scaled, of the same shape."""
        return x.mul(self.fan_in**-0.5)


def task_norms(network: nn.Module) -> Iterator[TaskNorm]:
    """Every normalization of `network` that may hold a state per task."""
    return (module for module in network.modules() if isinstance(module, TaskNorm))


def store_task(network: nn.Module, task: int) -> None:
    """Keep the live state of every normalization as that of `task`."""
    for norm in task_norms(network):
        norm.store(task)


def select_task(network: nn.Module, task: int | None) -> None:
    """Let the forward pass use the stored state of `task`, or the live one (None).

    Raises ValueError, and selects nothing, where a normalization with a state per task never stored that of `task`.
    """
    norms = [*task_norms(network)]
    for norm in norms:
        norm.check_stored(task)
    for norm in norms:
        norm.selected = task
