"""The accuracy matrix of a sequence of tasks, as a torchmetrics `Metric`.

R[i, j] is the test accuracy on task j after training on task i, a fraction; NaN where it was not measured. R is square,
except in stream learning, where the parts of one data set share one test, so R has a single column. The states are
counts of correct answers and of samples, summed over batches and processes. The functions of R are in
`metaplast.metrics.continual`, which does not import torchmetrics (seconds).
"""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from torch import Tensor
from torchmetrics import Metric

from metaplast.metrics.heatmap import draw_accuracy_matrix, figure_size

BEFORE_TRAINING = -1
"""The value of `after_task` for a test before any training."""


class AccuracyMatrix(Metric):  # type: ignore[misc]  # torchmetrics is not type-checked here, see pyproject.toml
    """Accuracy on every task after every task, R[i, j] = correct[i, j] / total[i, j].

    Args:
        n_tasks: T, the number of tasks trained, at least 1.
        n_tested: J, the number of test sets; None: one per task, J = T. 1 for stream learning.
        kwargs: of `torchmetrics.Metric`, except `compute_with_cache`, since `count` and `clear` change the counts, too.

    States, int64 of shape (T+1, J), summed across processes, part of the state dict; row 0 is before any training,
    row i+1 after task i:
        correct: right answers.
        total: samples tested. A cell whose total is 0 was not measured, and is NaN in R.

    Raises:
        ValueError: if `n_tasks` or `n_tested` is below 1.

    >>> matrix = AccuracyMatrix(n_tasks=2)
    >>> matrix.update(torch.tensor([1, 0, 2, 2]), torch.tensor([1, 1, 2, 2]), after_task=0, on_task=0)
    >>> matrix.count(correct=9, total=10, after_task=1, on_task=0)
    >>> matrix.count(correct=1, total=2, after_task=1, on_task=1)
    >>> matrix.compute()
    tensor([[0.7500,    nan],
            [0.9000, 0.5000]], dtype=torch.float64)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    correct: Tensor
    total: Tensor

    def __init__(self, n_tasks: int, n_tested: int | None = None, **kwargs: Any) -> None:
        self.n_tasks, self.n_tested = n_tasks, n_tasks if n_tested is None else n_tested
        for name, number in (("n_tasks", self.n_tasks), ("n_tested", self.n_tested)):
            if number < 1:
                raise ValueError(f"{name}: expected 1 or more, got {number}")
        super().__init__(compute_with_cache=False, **kwargs)
        for name in ("correct", "total"):
            zeros = torch.zeros(self.n_tasks + 1, self.n_tested, dtype=torch.int64)
            self.add_state(name, zeros, dist_reduce_fx="sum", persistent=True)
        self._keep_shape()

    @property
    def update_called(self) -> bool:
        """Always true, so that torchmetrics does not warn about an empty matrix (all NaN), which is a valid result."""
        return True

    def update(self, predictions: Tensor, target: Tensor, after_task: int, on_task: int) -> None:
        """Add a batch of a test on task `on_task` after training on task `after_task` (-1: before any training).

        Args:
            predictions: class indices, integer of shape (N,), or logits, shape (N, K), of which the largest counts.
            target: right class indices, integer of shape (N,).
            after_task: last task trained, -1 to T-1.
            on_task: task tested, 0 to J-1.

        Raises:
            ValueError: if a shape does not fit, or a task does not exist.
        """
        logits = predictions.ndim == 2 and predictions.shape[1] > 0 and predictions.dtype != torch.bool
        chosen = predictions.argmax(1) if logits else predictions
        if target.ndim != 1 or chosen.shape != target.shape or chosen.is_floating_point():
            raise ValueError(
                "predictions: expected integers of shape (N,) or logits of shape (N, K) for a target of shape (N,), "
                f"got {predictions.dtype} of shape {tuple(predictions.shape)} for {tuple(target.shape)}"
            )
        self.count((chosen == target).sum(), len(target), after_task, on_task)

    def count(self, correct: int | Tensor, total: int, after_task: int, on_task: int) -> None:
        """Add counts of correct answers to a cell.

        Args:
            correct: number of right answers; a tensor stays on its device.
            total: samples tested, ≥ 0.
            after_task: last task trained, -1 to T-1.
            on_task: task tested, 0 to J-1.

        Raises:
            ValueError: if a task does not exist, or not 0 ≤ correct ≤ total.
        """
        if total < 0 or (isinstance(correct, int) and not 0 <= correct <= total):
            raise ValueError(f"correct, total: expected 0 <= correct <= total, got {correct} of {total}")
        if not 0 <= on_task < self.n_tested:
            raise ValueError(f"on_task: expected a task from 0 to {self.n_tested - 1}, got {on_task}")
        row = self._row(after_task)
        # A new tensor each time: a state may be shared with a loaded state dict, or created in inference mode.
        self.correct, self.total = self.correct.clone(), self.total.clone()
        self.correct[row, on_task] += correct
        self.total[row, on_task] += total

    def clear(self, after_task: int) -> None:
        """Reset the row of `after_task` (-1: before any training), before its tests are repeated.

        Raises:
            ValueError: if the task does not exist.
        """
        row = self._row(after_task)
        self.correct, self.total = self.correct.clone(), self.total.clone()
        self.correct[row] = 0
        self.total[row] = 0

    def compute(self) -> Tensor:
        """R, float64 of shape (T, J) on the CPU (not every device has float64), over all processes."""
        return self._accuracy()[1:]

    def baseline(self) -> Tensor:
        """Accuracy on each task before any training, float64 of shape (J,) on the CPU, over all processes."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self.sync_on_compute):
            return self._accuracy()[0]

    def plot(self, val: Tensor | None = None, ax: Axes | None = None) -> tuple[Figure | SubFigure, Axes]:
        """Draw the matrix as an annotated heat map in percent.

        Args:
            val: a matrix R to draw, shape (T, J); by default that of `compute`.
            ax: axes to draw on; by default those of a new pyplot figure.

        Returns:
            The figure and its axes, as with every `plot` of torchmetrics.
        """
        R = self.compute() if val is None else val
        if ax is None:
            _, ax = plt.subplots(figsize=figure_size(*R.shape), layout="constrained")
        draw_accuracy_matrix(R, ax)
        return ax.figure, ax

    def _accuracy(self) -> Tensor:
        return self.correct.cpu().double() / self.total.cpu()  # 0 / 0 is NaN: not measured

    def _row(self, after_task: int) -> int:
        if not BEFORE_TRAINING <= after_task < self.n_tasks:
            raise ValueError(
                f"after_task: expected a task from {BEFORE_TRAINING} to {self.n_tasks - 1}, got {after_task}"
            )
        return after_task + 1

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a copy or a pickle, which torchmetrics makes without `compute`."""
        super().__setstate__(state)
        self._keep_shape()

    def _keep_shape(self) -> None:
        """Let `compute` return (T, J) always; torchmetrics squeezes results of one element, without an option."""
        squeezing = self.compute

        def compute() -> Tensor:
            R: Tensor = squeezing()
            return R.reshape(self.n_tasks, self.n_tested)

        self.compute = compute  # type: ignore[method-assign]
