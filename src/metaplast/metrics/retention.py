"""What an average accuracy is made of: how well tasks are learned, and how much of that is left at the end.

R is the accuracy matrix, shape (T, T), as in :mod:`metaplast.metrics.transfer`. Forgetting is a difference in points;
a ratio lets networks be compared that learn unequally well.
"""

from torch import Tensor


def retention(R: Tensor) -> float:
    """Mean share of its fresh accuracy that an earlier task has at the end: 1/(T-1) Σ_{j<T-1} R[T-1, j] / R[j, j].

    ≥ 0, higher is better; 1 is nothing lost, above 1 later tasks helped. NaN for one task, or if a cell it needs is.

    >>> import torch
    >>> R = torch.tensor([[0.8, 0.2, 0.1], [0.9, 0.8, 0.3], [0.4, 0.6, 0.9]], dtype=torch.float64)
    >>> round(retention(R), 4)  # (0.4 / 0.8 + 0.6 / 0.8) / 2
    0.625
    """
    R = R.double()
    return float((R[-1] / R.diagonal())[:-1].mean())


def plasticity(R: Tensor) -> float:
    """Mean accuracy on a task when it is fresh: 1/T Σ_i R[i, i]. In [0, 1], higher is better.

    >>> import torch
    >>> R = torch.tensor([[0.8, 0.2], [0.9, 0.6]], dtype=torch.float64)
    >>> round(plasticity(R), 4)
    0.7
    """
    return float(R.double().diagonal().mean())


def last_plasticity(R: Tensor) -> float:
    """Accuracy on the last task when it is fresh, R[T-1, T-1]: whether a network that keeps much can still learn."""
    return float(R[-1, -1])
