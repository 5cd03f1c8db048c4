"""What has to be said with every result, or it cannot be compared: normalization, optimizer, what was told, test."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Conditions(NamedTuple):
    """The conditions of a run in words; a dash where the run did not come to say them."""

    normalization: str
    optimizer: str
    """Whether its moments live through the stream (kept) or start afresh at each task."""
    boundary: str
    """Whether training was told that a task ended."""
    label: str
    """Whether testing was told which task it is."""
    tested_on: str
    """Which data the accuracies are of: the test data, or a part of the training data."""


def conditions(summary: Mapping[str, Any]) -> Conditions:
    """Read the conditions of a run from what summary.json holds.

    >>> conditions({"norm": "batch", "norm_per_task": True, "gamma_init": "uniform", "test_statistics": "population",
    ...             "task_boundary_used": True, "task_label_used": False, "test_on": "test"})[0]
    'batch, per task, γ uniform, population'
    """
    return Conditions(
        _normalization(summary),
        _optimizer(summary.get("reset_optimizer")),
        _told(summary.get("task_boundary_used")),
        _told(summary.get("task_label_used")),
        _tested_on(summary),
    )


def common(summaries: Iterable[Mapping[str, Any]]) -> Conditions:
    """The conditions of one or more runs: the words where they agree; all of them, parted by slashes, where not."""
    each = [conditions(summary) for summary in summaries]
    return Conditions(*(" / ".join(dict.fromkeys(column)) for column in zip(*each, strict=True)))


def _normalization(summary: Mapping[str, Any]) -> str:
    if "norm" not in summary:
        return "–"
    if summary["norm"] in (None, "none"):
        return "none"
    gamma, statistics = summary.get("gamma_init"), summary.get("test_statistics")
    parts = [
        summary["norm"],
        "per task" if summary.get("norm_per_task") else "shared",
        f"γ {gamma}" if gamma else "" if summary.get("norm_affine", True) else "not affine",
        statistics or "",
    ]
    return ", ".join(part for part in parts if part)


def _optimizer(reset: bool | None) -> str:
    return "–" if reset is None else "afresh at each task" if reset else "kept"


def _tested_on(summary: Mapping[str, Any]) -> str:
    if summary.get("test_on") == "validation":
        return f"validation data ({summary['validation_share']:g} of the training data)"
    return "test data" if "norm" in summary else "–"  # older summaries do not say it, since there was nothing else


def _told(value: bool | None) -> str:
    return "–" if value is None else "yes" if value else "no"
