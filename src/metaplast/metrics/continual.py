"""Metrics of an accuracy matrix: average accuracy, forgetting, transfer, retention and plasticity.

R is the accuracy matrix, shape (T, T), fractions from 0 to 1: R[i, j] is the test accuracy on task j after training on
task i, counted from 0; NaN where it was not measured. Each metric documents the cells it needs and is NaN if one of
them is NaN, since an average over other cells would be another quantity. Forgetting and transfer need two tasks.

In stream learning the T tasks are parts of one data set with a single test, and R has shape (T, 1). Its average
accuracy is the last row's mean, as usual. Forgetting and transfer compare a task before and after its training; they
are NaN wherever R is not square.

Sources: Lopez-Paz and Ranzato, "Gradient Episodic Memory for Continual Learning", 2017 (arXiv 1706.08840); Chaudhry et
al., "Riemannian Walk for Incremental Learning", 2018 (arXiv 1801.10112).
"""

import math
from typing import Any

import torch
from torch import Tensor


def average_accuracy(R: Tensor) -> float:
    """Mean accuracy over all tasks after the last one: A = 1/T Σ_j R[T-1, j] (Lopez-Paz and Ranzato 2017).

    In [0, 1], higher is better. NaN if a cell of the last row is NaN.

    Args:
        R: accuracy matrix, shape (T, T), or (T, 1) in stream learning.

    Raises:
        ValueError: if R is neither.

    >>> R = torch.tensor([[0.8, 0.2, 0.1], [0.9, 0.8, 0.3], [0.5, 0.7, 0.9]], dtype=torch.float64)
    >>> round(average_accuracy(R), 4)  # (0.5 + 0.7 + 0.9) / 3
    0.7
    """
    return float(_checked(R)[-1].mean())


def forgetting(R: Tensor) -> float:
    """Mean loss on the earlier tasks since their best: F = 1/(T-1) Σ_{j<T-1} max_{j≤i<T-1} R[i, j] - R[T-1, j].

    After Chaudhry et al. 2018, with their maximum over every earlier row in which task j had been learned, the last row
    excluded. In [-1, 1]: 0 is nothing forgotten, positive is bad (lower is better), negative means that the last task
    made earlier ones better than they had ever been. Never less than -BWT, since the best is at least R[j, j]. NaN for
    one task, in stream learning, or if a cell on or below the diagonal (the corner R[T-1, T-1] excepted) is NaN.

    Args:
        R: accuracy matrix, shape (T, T), or (T, 1) in stream learning.

    Raises:
        ValueError: if R is neither.

    >>> R = torch.tensor([[0.8, 0.2, 0.1], [0.9, 0.8, 0.3], [0.5, 0.7, 0.9]], dtype=torch.float64)
    >>> round(forgetting(R), 4)  # ((0.9 - 0.5) + (0.8 - 0.7)) / 2
    0.25
    """
    R = _checked(R)
    if len(R) == 1 or not _is_square(R):
        return math.nan
    earlier = R[:-1, :-1]
    before_learning = torch.ones_like(earlier, dtype=torch.bool).triu(1)
    best = earlier.masked_fill(before_learning, -math.inf).amax(0)
    return float((best - R[-1, :-1]).mean())


def backward_transfer(R: Tensor) -> float:
    """Mean change on the earlier tasks since each was learned: BWT = 1/(T-1) Σ_{j<T-1} R[T-1, j] - R[j, j].

    After Lopez-Paz and Ranzato 2017. In [-1, 1], higher is better; negative is forgetting. NaN for one task, in
    stream learning, or if a cell of the diagonal or of the last row (the corner R[T-1, T-1] excepted) is NaN.

    Args:
        R: accuracy matrix, shape (T, T), or (T, 1) in stream learning.

    Raises:
        ValueError: if R is neither.

    >>> R = torch.tensor([[0.8, 0.2, 0.1], [0.9, 0.8, 0.3], [0.5, 0.7, 0.9]], dtype=torch.float64)
    >>> round(backward_transfer(R), 4)  # ((0.5 - 0.8) + (0.7 - 0.8)) / 2
    -0.2
    """
    R = _checked(R)
    if not _is_square(R):
        return math.nan
    return float((R[-1] - R.diagonal())[:-1].mean())


def forward_transfer(R: Tensor, baseline: Tensor) -> float:
    """Mean head start of the later tasks over an untrained network: FWT = 1/(T-1) Σ_{j≥1} R[j-1, j] - b_j.

    After Lopez-Paz and Ranzato 2017. In [-1, 1], higher is better; 0 is no head start. NaN for one task, in stream
    learning, or if a cell just above the diagonal or a baseline it is compared with is NaN; b_0 is not used.

    Args:
        R: accuracy matrix, shape (T, T), or (T, 1) in stream learning.
        baseline: b, shape (T,), or (1,) in stream learning; b_j is the accuracy on task j at the random initialization.

    Raises:
        ValueError: if R is neither, or the baseline has another number of tasks.

    >>> R = torch.tensor([[0.8, 0.2, 0.1], [0.9, 0.8, 0.3], [0.5, 0.7, 0.9]], dtype=torch.float64)
    >>> b = torch.full((3,), 0.1, dtype=torch.float64)
    >>> round(forward_transfer(R, b), 4)  # ((0.2 - 0.1) + (0.3 - 0.1)) / 2
    0.15
    """
    R = _checked(R)
    n_tested = R.shape[1]
    if baseline.shape != (n_tested,):
        raise ValueError(
            f"baseline: expected shape ({n_tested},), as many as R has columns, got {tuple(baseline.shape)}"
        )
    if not _is_square(R):
        return math.nan
    return float((R.diagonal(1) - baseline[1:]).mean())


def _checked(R: Tensor) -> Tensor:
    """Check the shape and convert to float64, so that a metric does not depend on the type of R."""
    if R.ndim != 2 or len(R) == 0 or R.shape[1] not in (1, len(R)):
        raise ValueError(f"R: expected a square matrix of at least one task, or one column, got shape {tuple(R.shape)}")
    return R.double()


def _is_square(R: Tensor) -> bool:
    """Whether each task has its own test, unlike in stream learning."""
    return R.shape[0] == R.shape[1]


def retention(R: Tensor) -> float:
    """Mean ratio of final to initial accuracy of the earlier tasks: 1/(T-1) Σ_{j<T-1} R[T-1, j] / R[j, j].

    Unlike forgetting, a ratio compares networks that learn unequally well. ≥ 0, higher is better; 1: nothing forgotten,
    above 1: later tasks helped. NaN for one task, or if a cell it needs is NaN.

    >>> import torch
    >>> R = torch.tensor([[0.8, 0.2, 0.1], [0.9, 0.8, 0.3], [0.4, 0.6, 0.9]], dtype=torch.float64)
    >>> round(retention(R), 4)  # (0.4 / 0.8 + 0.6 / 0.8) / 2
    0.625
    """
    R = R.double()
    return float((R[-1] / R.diagonal())[:-1].mean())


def plasticity(R: Tensor) -> float:
    """Mean accuracy on a task right after training on it: 1/T Σ_i R[i, i]. In [0, 1], higher is better.

    >>> import torch
    >>> R = torch.tensor([[0.8, 0.2], [0.9, 0.6]], dtype=torch.float64)
    >>> round(plasticity(R), 4)
    0.7
    """
    return float(R.double().diagonal().mean())


def last_plasticity(R: Tensor) -> float:
    """Accuracy on the last task, R[T-1, T-1]: whether a network that forgets little can still learn."""
    return float(R[-1, -1])


SUMMARY_METRICS = ("average_accuracy", "forgetting", "backward_transfer", "forward_transfer")
"""The metrics in summary.json."""


def summary_metrics(R: Tensor, baseline: Tensor) -> dict[str, Any]:
    """The entries of summary.json: accuracy matrix (T, J), baseline (J,) and metrics; None where not measured."""
    return {
        "average_accuracy": _number(average_accuracy(R)),
        "forgetting": _number(forgetting(R)),
        "backward_transfer": _number(backward_transfer(R)),
        "forward_transfer": _number(forward_transfer(R, baseline)),
        "accuracy_matrix": [[_number(value) for value in row] for row in R.tolist()],
        "accuracy_before_training": [_number(value) for value in baseline.tolist()],
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
