"""The accuracy matrix and its figures; flips of binary weights.

`AccuracyMatrix` is imported when it is first asked for: it brings torchmetrics, whose import takes seconds.
"""

from typing import TYPE_CHECKING, Any

from metaplast.metrics.continual import average_accuracy, backward_transfer, forgetting, forward_transfer
from metaplast.metrics.sign_flips import SignFlips, positive_signs

if TYPE_CHECKING:
    from metaplast.metrics.accuracy_matrix import AccuracyMatrix

__all__ = [
    "AccuracyMatrix",
    "SignFlips",
    "average_accuracy",
    "backward_transfer",
    "forgetting",
    "forward_transfer",
    "positive_signs",
]


def __getattr__(name: str) -> Any:
    if name == "AccuracyMatrix":
        from metaplast.metrics.accuracy_matrix import AccuracyMatrix

        return AccuracyMatrix
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
