"""The study of normalization: retention and plasticity of each arm, and what its diagnostics measured.

An arm is how a run differs from the published code in γ, the kind of normalization, its state and the reset of Adam.
Training with batch normalization does not depend on the statistics used in tests, so that a run with `diagnostics=true`
counts twice: with batch statistics and with population statistics.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metaplast.errors import UserError
from metaplast.metrics import average_accuracy
from metaplast.metrics.continual import last_plasticity, plasticity, retention
from metaplast.report.aggregate import numbers, over_seeds, percent, varying
from metaplast.report.protocol import m_text
from metaplast.runs.index import Run, natural_order
from metaplast.runs.names import DIAGNOSTICS, METRICS, alternate_matrix
from metaplast.runs.tables import read_matrix_csv, read_metrics, to_csv

REFERENCE = "reference"
CHANGES = {
    ("gamma_init", "uniform"): "γ uniform",
    ("gamma_init", None): "no γ",
    ("reset_optimizer", False): "Adam kept",
    ("norm_per_task", False): "one state",
    ("norm", "layer"): "layer norm",
    ("norm", "none"): "no normalization",
}
"""Settings of a summary that differ from the published code, and their names."""

STUDY_METRICS = {
    "average_accuracy": average_accuracy,
    "retention": retention,
    "plasticity": plasticity,
    "last_plasticity": last_plasticity,
}
"""Metrics of the accuracy matrix, fractions."""

QUANTITIES = {
    "ste_pass_fraction": "window",
    "hidden_mean": "mean W^h",
    "growth": "growth",
    "f_meta_mean": "kept",
    "logits_std": "logits",
    "first_steps": "first steps",
    "flips": "flips",
}
"""What `inside` measures, by layer, and the heads of the columns."""

MAY_DIFFER = ("arm", "model.test_statistics", "eval_every_n_epochs")
"""Keys in which runs of one setting may differ: the first two name the arm, and the last changes no result."""


class StudySetting(NamedTuple):
    """What runs have in common that differ in the seed alone."""

    widths: str
    m: str
    n_tasks: int
    epochs_per_task: int
    arm: str
    statistics: str
    """Of the tests: batch, population or running; a dash where nothing is kept or averaged."""


class Measured(NamedTuple):
    """A setting and what its runs measured."""

    setting: StudySetting
    seeds: int
    metrics: Mapping[str, Any]
    """A `Spread` over seeds for each of `STUDY_METRICS`."""
    inside: Mapping[str, float]
    """Mean over runs of what `inside` gives."""

    def layers(self, quantity: str) -> list[float]:
        """Values of a quantity from the first layer to the last."""
        return [value for key, value in self.inside.items() if key.partition("/")[0] == quantity]


def arm(summary: Mapping[str, Any]) -> str:
    """Name the arm of a run by how its summary differs from the published code's present settings.

    >>> arm({"norm": "batch", "norm_per_task": True, "gamma_init": "uniform", "reset_optimizer": False})
    'γ uniform + Adam kept'
    """
    words = [word for (key, value), word in CHANGES.items() if key in summary and summary[key] == value]
    return " + ".join(words) or REFERENCE


def study(runs: Sequence[Run]) -> list[Measured]:
    """Measure every setting of the completed runs of two tasks or more, by widths, m and the number of changes.

    Raises UserError where runs of one setting differ in something else, such as the scenario or the learning rate.
    """
    found: dict[StudySetting, list[tuple[Run, Tensor, dict[str, float]]]] = {}
    for run in runs:
        if run.completed and len(run.summary["accuracy_matrix"]) > 1:
            within = inside(run.path)
            for statistics, R in _matrices(run).items():
                found.setdefault(_setting(run.summary, statistics), []).append((run, R, within))
    for measured in found.values():
        _check_alike([run for run, _, _ in measured])
    return [_over_seeds(setting, found[setting]) for setting in sorted(found, key=_order)]


def inside(run_dir: Path) -> dict[str, float]:
    """Averages of a run's diagnostics and metrics; empty for a run without `diagnostics=true`.

    ACT and LAYER as in :class:`metaplast.training.callbacks.diagnostics.Diagnostics`:

    - `ste_pass_fraction/ACT`, `logits_std`: means over all epochs.
    - `hidden_mean/LAYER`, `hidden_max/LAYER`, `f_meta_mean/LAYER`: at the end.
    - `growth/LAYER`: mean |W^h| at the end over that after the first task.
    - `first_steps/LAYER`: the mean first step of a task over the mean last step of the task before; mean over tasks.
    - `flips/LAYER`: share of binary weights that changed sign from row to row of metrics.csv; mean over later tasks.
    """
    if not (run_dir / DIAGNOSTICS).is_file():
        return {}
    rows = read_metrics(run_dir / DIAGNOSTICS)
    if not rows:
        return {}
    ends = [
        row for row, after in zip(rows, [*rows[1:], None], strict=True) if not after or after["task"] != row["task"]
    ]
    starts = [row for row in rows if row["epoch_in_task"] == 1]
    values: dict[str, float] = {}
    for column in rows[0]:
        quantity, _, name = column.partition("/")
        if quantity in ("ste_pass_fraction", "logits_std"):
            values[column] = _mean(row[column] for row in rows)
        elif quantity in ("hidden_mean", "hidden_max", "f_meta_mean"):
            values[column] = ends[-1][column]
        if quantity == "hidden_mean":
            values[f"growth/{name}"] = _ratio(ends[-1][column], ends[0][column])
        if quantity == "first_steps":
            values[column] = _mean(
                _ratio(start[column], end[f"last_steps/{name}"]) for end, start in zip(ends, starts[1:], strict=False)
            )
    later = [row for row in read_metrics(run_dir / METRICS) if row["task"] > 0]
    for column in later[0] if later else ():
        if column.startswith("flips/"):
            values[column] = _mean(row[column] for row in later)
    return values


def study_csv(measured: Sequence[Measured]) -> str:
    """Every number as CSV: a row for each setting, metrics as mean and standard deviation over seeds."""
    columns = list(dict.fromkeys(key for row in measured for key in row.inside))
    metrics = [f"{name}{part}" for name in STUDY_METRICS for part in ("", "_sd")]
    rows: list[list[Any]] = [[*StudySetting._fields, "seeds", *metrics, *columns]]
    for row in measured:
        spreads = [float(value) for name in STUDY_METRICS for value in (row.metrics[name].mean, row.metrics[name].sd)]
        values = [*spreads, *(row.inside.get(column, math.nan) for column in columns)]
        rows.append([*row.setting, row.seeds, *values])
    return to_csv(rows)


def to_markdown(measured: Sequence[Measured]) -> str:
    """The table as Markdown, and below it how each arm differs from the reference."""
    head = [
        *("widths", "m", "tasks × epochs", "arm", "test statistics", "seeds", "average, %", "retention, %", "fresh, %"),
        *("fresh on the last, %", *QUANTITIES.values()),
    ]
    lines = [_line(head), _line(["---"] * len(head))]
    for row in measured:
        setting = row.setting
        cells = [setting.widths, setting.m, f"{setting.n_tasks} × {setting.epochs_per_task}", setting.arm]
        cells += [setting.statistics, str(row.seeds), *(percent(row.metrics[name]) for name in STUDY_METRICS)]
        lines.append(_line([*cells, *(_layers(row, name) for name in QUANTITIES)]))
    return "\n".join(
        ["# The study of normalization", "", *lines, "", LEGEND, "", "## Findings", "", *_findings(measured)]
    )


LEGEND = """Mean ± standard deviation over seeds. Retention: share of its fresh accuracy that an earlier task keeps.
By layer, parted by /: window, share of activations with |a| ≤ 1, which let a gradient through; W^h, the mean size of
hidden weights at the end, and its growth since the end of the first task; kept, the share of a shrinking step that
metaplasticity lets through; first steps, |ΔW^h| of a new task's first 10 steps over that of the last 100 of the task
before; flips, share of binary weights that change sign from test to test behind the first task. Logits: their standard
deviation."""


def _findings(measured: Sequence[Measured]) -> Iterable[str]:
    """Each arm against the reference at the same sizes, m and statistics, with room for an explanation."""
    base = {row.setting._replace(arm=""): row for row in measured if row.setting.arm == REFERENCE}
    if not base:
        yield "None of the runs has the reference's settings (ablation=reference), so there is nothing to compare with."
        return
    for name in dict.fromkeys(row.setting.arm for row in measured if row.setting.arm != REFERENCE):
        yield from (f"### {name}", "")
        for row in measured:
            before = base.get(row.setting._replace(arm=""))
            if row.setting.arm == name and before is not None:
                yield f"- {_where(row.setting)}: {_difference(before, row)}"
        yield from ("", "Why: …", "")


def _where(setting: StudySetting) -> str:
    return f"{setting.widths}, m {setting.m}, {setting.statistics}"


def _difference(before: Measured, after: Measured) -> str:
    words = {"average_accuracy": "average", "retention": "retention", "plasticity": "fresh"}
    points = [
        f"{word} {100 * float(after.metrics[name].mean - before.metrics[name].mean):+.1f}".replace("-", "−")
        for name, word in words.items()
    ]
    seen = [
        f"{word} {_layers(before, name)} → {_layers(after, name)}"
        for name, word in QUANTITIES.items()
        if before.layers(name) and after.layers(name)
    ]
    return "; ".join([", ".join(points) + " points", *seen])


def _layers(row: Measured, quantity: str) -> str:
    return " / ".join(f"{value:.3g}" for value in row.layers(quantity)) or "–"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _setting(summary: Mapping[str, Any], statistics: str) -> StudySetting:
    m = summary["m"]
    return StudySetting(
        widths="-".join(map(str, summary.get("widths") or [])),
        m="0" if m is None else m_text(m),
        n_tasks=len(summary["accuracy_matrix"]),
        epochs_per_task=summary["epochs_per_task"],
        arm=arm(summary),
        statistics=statistics,
    )


def _matrices(run: Run) -> dict[str, Tensor]:
    """R of a run by the statistics of its tests: its own, and the alternate ones if they were measured."""
    matrices = {run.summary.get("test_statistics") or "–": numbers(run.summary["accuracy_matrix"])}
    for statistics in ("batch", "population"):
        path = run.path / alternate_matrix(statistics)
        if path.is_file():
            matrices[statistics] = torch.from_numpy(read_matrix_csv(path))
    return matrices


def _check_alike(runs: Sequence[Run]) -> None:
    """Refuse to average runs that differ in more than the seed."""
    for key in varying([run.settings for run in runs]):
        values = {run.settings[key]: run for run in runs if key in run.settings}  # an older run may lack a key
        if key not in MAY_DIFFER and len(values) > 1:
            first, second = list(values.items())[:2]
            raise UserError(
                f"{key}: is {first[0]} in {first[1].path} and {second[0]} in {second[1].path}, which are alike in "
                "all that the study tells apart; give it runs of one experiment"
            )


def _over_seeds(setting: StudySetting, runs: Sequence[tuple[Run, Tensor, dict[str, float]]]) -> Measured:
    seeds = [(run.seed, R) for run, R, _ in runs]
    metrics = {name: over_seeds((seed, numbers(f(R))) for seed, R in seeds) for name, f in STUDY_METRICS.items()}
    columns = dict.fromkeys(key for _, _, within in runs for key in within)
    means = {key: _mean(within[key] for _, _, within in runs if key in within) for key in columns}
    return Measured(setting, metrics["average_accuracy"].n, metrics, means)


def _order(setting: StudySetting) -> Any:
    changes = 0 if setting.arm == REFERENCE else 1 + setting.arm.count(" + ")
    size = natural_order(setting.widths), natural_order(setting.m), setting.n_tasks, setting.epochs_per_task
    return *size, changes, setting.arm, setting.statistics


def _ratio(a: float, b: float) -> float:
    return a / b if b else math.nan


def _mean(values: Iterable[float]) -> float:
    kept = [value for value in values if not math.isnan(value)]
    return math.fsum(kept) / len(kept) if kept else math.nan
