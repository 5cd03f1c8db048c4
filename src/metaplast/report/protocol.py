"""What a run was and what came out, in the words that every table and figure of it uses.

A `summary` is what summary.json holds; DESIGN.md lists its keys.

What has to be said with every result, or it cannot be compared: normalization, optimizer, what was told, test.

What a run is called in W&B: words from which a person knows it among a thousand, and finds its sweep.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from metaplast.config.overrides import override_key


class Score(NamedTuple):
    """One of the four figures of an accuracy matrix, ready to be shown."""

    name: str
    short_name: str
    value: str
    """In percent; a dash where it is not defined."""
    better: str
    """An arrow: ↑ where a higher value is better, ↓ where a lower one is."""


def heading(summary: Mapping[str, Any]) -> str:
    """Name the run: strategy, m where it is used, scenario, model and seed.

    >>> heading({"strategy": "meta", "m": 1.3, "scenario": "pmnist", "model": "bnn", "seed": 0})
    'meta · m = 1.3 · pmnist · bnn · seed 0'
    """
    m = summary["m"]
    parts = [summary["strategy"], *([] if m is None else [f"m = {m_text(m)}"]), summary["scenario"], summary["model"]]
    return " · ".join([*parts, f"seed {summary['seed']}"])


def scores(summary: Mapping[str, Any]) -> list[Score]:
    """Average accuracy, forgetting, backward and forward transfer of a run, in percent; None or NaN becomes a dash.

    >>> [score.value for score in scores({"average_accuracy": 0.927, "forgetting": 0.041,
    ...                                   "backward_transfer": -0.04, "forward_transfer": None})]
    ['92.7 %', '4.1', '−4.0', '–']
    """
    return [
        Score("average accuracy", "average accuracy", _percent(summary["average_accuracy"], ".1f", " %"), "↑"),
        Score("forgetting", "forgetting", _percent(summary["forgetting"], ".1f"), "↓"),
        Score("backward transfer", "BWT", _percent(summary["backward_transfer"], "+.1f"), "↑"),
        Score("forward transfer", "FWT", _percent(summary["forward_transfer"], "+.1f"), "↑"),
    ]


def m_text(m: float | list[float]) -> str:
    """Write m, one number or one a layer, as figures have it.

    >>> m_text(1.0), m_text([0, 1.35])
    ('1', '0, 1.35')
    """
    return ", ".join(f"{value:g}" for value in m) if isinstance(m, list) else f"{m:g}"


def _percent(fraction: float | None, spec: str, unit: str = "") -> str:
    if fraction is None or math.isnan(fraction):
        return "–"
    value = round(100 * fraction, 1) + 0.0  # no minus before a zero
    return f"{value:{spec}}{unit}".replace("-", "−")


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
    ...             "task_boundary_used": True, "task_label_used": False, "eval_split": "test"})[0]
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
    if summary.get("eval_split") == "validation":
        return f"validation data ({summary['val_fraction']:g} of the training data)"
    return "test data" if "norm" in summary else "–"  # older summaries do not say it, since there was nothing else


def _told(value: bool | None) -> str:
    return "–" if value is None else "yes" if value else "no"


LONGEST = 128
"""Characters of a name that W&B takes."""
SAID = ("strategy", "m", "scenario", "model", "seed", "data_dir", "resume")
"""Settings that every name says in its own words, or that are no matter of what is run."""


def labels(
    summary: Mapping[str, Any], overrides: Sequence[str], experiment: str | None, sweep_dir: str | None
) -> dict[str, Any]:
    """Name, group, tags and notes of a run.

    Args:
        summary: what summary.json holds when a run starts.
        overrides: the command line's, those of a sweep included.
        experiment: the choice of that name, if there is one.
        sweep_dir: the folder of the sweep that the run belongs to, if it does.

    >>> run = {"strategy": "meta", "m": 1.3, "scenario": "pmnist", "model": "bnn", "seed": 0}
    >>> found = labels(run, ["m=1.3", "batch_size=50"], None, "outputs/multirun/2026-11-24/10-00-00")
    >>> found["name"], found["group"], found["notes"]
    ('meta · m = 1.3 · pmnist · bnn · seed 0 · batch_size=50', '2026-11-24 10-00-00', 'm=1.3 batch_size=50')
    """
    others = [override for override in overrides if _tells(override_key(override))]
    name = " · ".join([heading(summary), *others])
    return {
        "name": name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…",
        "group": None if sweep_dir is None else sweep_name(sweep_dir),
        "tags": [summary["strategy"], summary["scenario"], summary["model"], *([experiment] if experiment else [])],
        "notes": " ".join(overrides) or None,
    }


def labels_of_job(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Name, group, tags and notes of the run that this process was told to make; its overrides are in `summary`."""
    if not HydraConfig.initialized():
        return labels(summary, [], None, None)
    hydra = HydraConfig.get()
    sweep_dir = hydra.sweep.dir if hydra.mode == RunMode.MULTIRUN else None
    return labels(summary, summary["overrides"], hydra.runtime.choices.get("experiment"), sweep_dir)


def sweep_name(sweep_dir: str) -> str:
    """Name a sweep by its folder: the last one, and the one above where that is a date.

    >>> sweep_name("outputs/multirun/2026-11-24/10-00-00"), sweep_name("outputs/m and seeds/")
    ('2026-11-24 10-00-00', 'm and seeds')
    """
    *_, above, last = ["", *(part for part in sweep_dir.split("/") if part)]
    return f"{above} {last}" if re.fullmatch(r"\d{4}-\d{2}-\d{2}", above) else last


def _tells(key: str) -> bool:
    return key not in SAID and key.partition(".")[0].partition("/")[0] not in ("logger", "trainer", "hydra")
