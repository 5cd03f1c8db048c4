"""A run that was cut off: its results, made from config.yaml, summary.json and metrics.csv alone."""

from typing import Any

import torch
import yaml  # type: ignore[import-untyped]

from metaplast.errors import UserError
from metaplast.metrics.figures import figures
from metaplast.report.matrix_of_rows import matrices, n_trained
from metaplast.report.metrics_csv import accuracies, read_baseline, read_metrics
from metaplast.report.result_files import write_result_files
from metaplast.report.runs import Run, held

CUT = ("failed", "interrupted", "killed", "lost")
"""How a run stands that began and will not end, unless it is resumed."""


def lacks_results(run: Run) -> bool:
    """Whether a run was cut off, no process holds it, and it measured more than its accuracy_matrix.csv shows.

    Raises UserError where its metrics.csv cannot be read.
    """
    metrics, matrix = run.path / "metrics.csv", run.path / "accuracy_matrix.csv"
    if run.status not in CUT or not metrics.exists() or held(run.path):
        return False
    if matrix.exists() and matrix.stat().st_mtime_ns >= metrics.stat().st_mtime_ns:
        return False
    return bool(read_metrics(metrics))


def rebuild_results(run: Run) -> dict[str, Any]:
    """Write accuracy_matrix.csv, accuracy_matrix.png and accuracy_curves.png of `run` anew.

    Returns:
        The four figures, `accuracy_matrix` and `accuracy_before_training`, as summary.json of a completed run has them;
        summary.json itself stays as it is.

    Raises:
        UserError: if its files cannot be read, do not say what was run, or hold no measured epoch.
    """
    source = run.path / "metrics.csv"
    rows, before = read_metrics(source), read_baseline(source)
    config: dict[str, Any] = yaml.safe_load(run.config) or {}
    if not {"scenario", "strategy", "epochs_per_task"} <= config.keys() or "strategy" not in run.summary:
        raise UserError(f"{run.path}: its config.yaml and summary.json do not say what was run")
    if not rows or not accuracies(rows[0]) or "task" not in rows[0]:
        raise UserError(f"{source} holds no accuracies of a task")
    n_tested, last_task = len(accuracies(rows[0])), int(rows[-1]["task"])
    *_, R = matrices(rows, max(n_trained(config, n_tested), last_task + 1))
    baseline = torch.tensor([torch.nan] * n_tested if before is None else before, dtype=torch.float64)
    results = figures(R, baseline)
    joint = config["strategy"].get("stream") == "joint"
    write_result_files(run.path, R, rows, None if joint else config["epochs_per_task"], {**run.summary, **results})
    return results
