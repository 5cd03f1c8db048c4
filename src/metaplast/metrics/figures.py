"""What a run comes to, as summary.json holds it: plain numbers, and None for what was not measured."""

import math
from typing import Any

from torch import Tensor

from metaplast.metrics.transfer import average_accuracy, backward_transfer, forgetting, forward_transfer

FIGURES = ("average_accuracy", "forgetting", "backward_transfer", "forward_transfer")
"""The four that a run comes to."""


def figures(R: Tensor, baseline: Tensor) -> dict[str, Any]:
    """The accuracy matrix (T, J), the baseline (J,) and the four figures; None for what was not measured."""
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
