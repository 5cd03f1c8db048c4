"""Continual-learning metrics of the accuracy matrix, paired differences with intervals, sign flips, histograms.

`AccuracyMatrix` is imported on first access, since importing torchmetrics takes seconds.
"""

from typing import TYPE_CHECKING, Any

from metaplast.metrics.continual import average_accuracy, backward_transfer, forgetting, forward_transfer
from metaplast.metrics.hidden_weights import SignFlips, positive_signs
from metaplast.metrics.intervals import PairedDifference, paired_difference

if TYPE_CHECKING:
    from metaplast.metrics.accuracy_matrix import AccuracyMatrix

__all__ = [
    "AccuracyMatrix",
    "PairedDifference",
    "SignFlips",
    "average_accuracy",
    "backward_transfer",
    "forgetting",
    "forward_transfer",
    "paired_difference",
    "positive_signs",
]


def __getattr__(name: str) -> Any:
    if name == "AccuracyMatrix":
        from metaplast.metrics.accuracy_matrix import AccuracyMatrix

        return AccuracyMatrix
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
