"""How every table and picture describes a run: its title, its metrics, and the protocol that it was measured by.

A `summary` is what summary.json holds. The protocol has to stand beside a result, or results cannot be compared:
normalization, optimizer, and what training and testing were told. The names of a run in W&B are made here too.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from metaplast.config.overrides import override_key


class MetricLabel(NamedTuple):
    """How one of the four metrics of an accuracy matrix is shown."""

    name: str
    short_name: str
    better: str
    """↑ where a higher value is better, ↓ where a lower one is."""
    spec: str
    unit: str = ""
    """Of a single value; differences of accuracies are in points."""

    @property
    def head(self) -> str:
        """The head of its column."""
        return f"{self.short_name}, %" if self.unit else self.short_name


METRIC_LABELS = {
    "average_accuracy": MetricLabel("average accuracy", "average accuracy", "↑", ".1f", " %"),
    "forgetting": MetricLabel("forgetting", "forgetting", "↓", ".1f"),
    "backward_transfer": MetricLabel("backward transfer", "BWT", "↑", "+.1f"),
    "forward_transfer": MetricLabel("forward transfer", "FWT", "↑", "+.1f"),
}
"""The four metrics by their key in summary.json."""


def metric_text(key: str, value: float | None) -> str:
    """One of `METRIC_LABELS`, a fraction, in percent; a dash for None or NaN.

    >>> metric_text("average_accuracy", 0.927), metric_text("backward_transfer", -0.04), metric_text("forgetting", None)
    ('92.7 %', '−4.0', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    label, rounded = METRIC_LABELS[key], round(100 * value, 1) + 0.0  # no minus before a zero
    return f"{rounded:{label.spec}}{label.unit}".replace("-", "−")


def run_title(summary: Mapping[str, Any]) -> str:
    """Name the run: strategy, m where it is used, scenario, model and seed.

    >>> run_title({"strategy": "meta", "m": 1.3, "scenario": "pmnist", "model": "bnn", "seed": 0})
    'meta · m = 1.3 · pmnist · bnn · seed 0'
    """
    m = summary["m"]
    parts = [summary["strategy"], *([] if m is None else [f"m = {m_text(m)}"]), summary["scenario"], summary["model"]]
    return " · ".join([*parts, f"seed {summary['seed']}"])


def m_text(m: float | list[float]) -> str:
    """Write m, one number or one for each layer.

    >>> m_text(1.0), m_text([0, 1.35])
    ('1', '0, 1.35')
    """
    return ", ".join(f"{value:g}" for value in m) if isinstance(m, list) else f"{m:g}"


THROUGH_BATCH = "through the test batch"
"""The state of the task label where testing is not told it, but normalizes each batch, of one task, by itself."""


class Protocol(NamedTuple):
    """The protocol of a run in words; a dash where the run ended before it could say them."""

    normalization: str
    optimizer: str
    """Whether the state of the optimizer is kept across tasks, or reset at each."""
    boundary: str
    """Whether training was told that a task ended."""
    label: str
    """Whether testing was told which task it is: yes, no, or `THROUGH_BATCH`."""
    tested_on: str
    """The data behind the accuracies: the test data, or a part of the training data."""

    @property
    def lines(self) -> tuple[str, str, str]:
        """All of it in three lines."""
        return (
            f"norm {self.normalization} · optimizer {self.optimizer}",
            f"task boundary in training: {self.boundary} · task label in testing: {self.label}",
            f"tested on {self.tested_on}",
        )


def protocol(summary: Mapping[str, Any]) -> Protocol:
    """Read the protocol of a run from its summary.

    >>> told = protocol({"norm": "batch", "norm_per_task": False, "gamma_init": "uniform", "test_statistics": "batch",
    ...                  "task_boundary_used": True, "task_label_used": False, "eval_split": "test"})
    >>> told.normalization, told.label
    ('batch, shared, γ uniform, batch', 'through the test batch')
    """
    reset = summary.get("reset_optimizer")
    return Protocol(
        _normalization(summary),
        "–" if reset is None else "reset at each task" if reset else "kept",
        _yes_or_no(summary.get("task_boundary_used")),
        _label(summary),
        _tested_on(summary),
    )


def common_protocol(summaries: Iterable[Mapping[str, Any]]) -> Protocol:
    """The protocol of one or more runs; where they differ, all of their words, separated by slashes."""
    each = [protocol(summary) for summary in summaries]
    return Protocol(*(" / ".join(dict.fromkeys(column)) for column in zip(*each, strict=True)))


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


def _label(summary: Mapping[str, Any]) -> str:
    told = _yes_or_no(summary.get("task_label_used"))
    R = summary.get("accuracy_matrix")
    several_tests = R is None or len(R[0]) > 1  # the parts of a stream share one test, which tells no part
    mixed = summary.get("eval_batches") == "mixed"
    through_batch = summary.get("test_statistics") == "batch" and several_tests and not mixed
    return THROUGH_BATCH if told == "no" and through_batch else told


def _tested_on(summary: Mapping[str, Any]) -> str:
    if summary.get("eval_split") == "validation":
        return f"validation data ({summary['val_fraction']:g} of the training data)"
    return "test data" if "norm" in summary else "–"  # older summaries do not say it, since there was nothing else


def _yes_or_no(value: bool | None) -> str:
    return "–" if value is None else "yes" if value else "no"


MAX_NAME = 128
"""Characters of a name that W&B takes."""
IN_EVERY_TITLE = ("strategy", "m", "scenario", "model", "seed", "data_dir", "resume")
"""Settings that every title names in its own words, or that do not change what is run."""


def run_naming(
    summary: Mapping[str, Any], overrides: Sequence[str], experiment: str | None, sweep_dir: str | None
) -> dict[str, Any]:
    """Name, group, tags and notes of a run in W&B.

    Args:
        summary: what summary.json holds when a run starts.
        overrides: the command line's, those of a sweep included.
        experiment: the choice of that name, if there is one.
        sweep_dir: the folder of the sweep that the run belongs to, if it does.

    >>> run = {"strategy": "meta", "m": 1.3, "scenario": "pmnist", "model": "bnn", "seed": 0}
    >>> found = run_naming(run, ["m=1.3", "batch_size=50"], None, "outputs/multirun/2026-11-24/10-00-00")
    >>> found["name"], found["group"], found["notes"]
    ('meta · m = 1.3 · pmnist · bnn · seed 0 · batch_size=50', '2026-11-24 10-00-00', 'm=1.3 batch_size=50')
    """
    others = [override for override in overrides if _is_telling(override_key(override))]
    name = " · ".join([run_title(summary), *others])
    return {
        "name": name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…",
        "group": None if sweep_dir is None else sweep_name(sweep_dir),
        "tags": [summary["strategy"], summary["scenario"], summary["model"], *([experiment] if experiment else [])],
        "notes": " ".join(overrides) or None,
    }


def job_naming(summary: Mapping[str, Any]) -> dict[str, Any]:
    """`run_naming` of the run that this process was started for; its overrides are in `summary`."""
    if not HydraConfig.initialized():
        return run_naming(summary, [], None, None)
    hydra = HydraConfig.get()
    sweep_dir = hydra.sweep.dir if hydra.mode == RunMode.MULTIRUN else None
    return run_naming(summary, summary["overrides"], hydra.runtime.choices.get("experiment"), sweep_dir)


def sweep_name(sweep_dir: str) -> str:
    """Name a sweep by its folder: the last part, and the one above where that is a date.

    >>> sweep_name("outputs/multirun/2026-11-24/10-00-00"), sweep_name("outputs/m and seeds/")
    ('2026-11-24 10-00-00', 'm and seeds')
    """
    *_, above, last = ["", *(part for part in sweep_dir.split("/") if part)]
    return f"{above} {last}" if re.fullmatch(r"\d{4}-\d{2}-\d{2}", above) else last


def _is_telling(key: str) -> bool:
    return key not in IN_EVERY_TITLE and key.partition(".")[0].partition("/")[0] not in ("logger", "trainer", "hydra")
