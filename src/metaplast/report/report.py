"""Writes the files of a report: the result files of one run, and table, pictures and page of a sweep.

A run that broke off gets its result files from config.yaml, summary.json and metrics.csv alone.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]
from rich.console import Console
from torch import Tensor

from metaplast.errors import UserError
from metaplast.metrics.continual import summary_metrics
from metaplast.report.figures.curves import write_curves_figure, write_matrix_figure
from metaplast.runs.index import Run, find_runs, is_locked
from metaplast.runs.names import (
    ACCURACY_CURVES_PNG,
    ACCURACY_MATRIX,
    ACCURACY_MATRIX_PNG,
    METRICS,
    SWEEP_CSV,
    SWEEP_PAGE,
)
from metaplast.runs.tables import accuracies, matrices, n_trained, read_baseline, read_metrics, write_matrix_csv


def write_result_files(
    run_dir: Path,
    R: Tensor,
    rows: Sequence[Mapping[str, float]],
    epochs_per_task: int | None,
    summary: Mapping[str, Any],
) -> None:
    """Write the three files to `run_dir`, each atomically.

    Args:
        run_dir: the directory of the run.
        R: accuracy matrix, shape (T, T), or (T, 1) of a stream, fractions; NaN where not measured.
        rows: the rows of metrics.csv from epoch 1 on, at least one.
        epochs_per_task: the length of a task; None where all are trained at once.
        summary: what summary.json holds, of which the title of the run and the four metrics are shown.
    """
    write_matrix_csv(run_dir / ACCURACY_MATRIX, R.cpu().numpy())
    write_matrix_figure(run_dir / ACCURACY_MATRIX_PNG, R, summary)
    ends = [] if epochs_per_task is None else [epochs_per_task * (j + 1) for j in range(len(R))]
    curves = torch.tensor([accuracies(row) for row in rows])
    write_curves_figure(run_dir / ACCURACY_CURVES_PNG, [row["epoch"] for row in rows], curves, ends, summary)


def lacks_results(run: Run) -> bool:
    """Whether a run broke off, no process holds it, and it measured more than its accuracy_matrix.csv shows.

    Raises UserError where its metrics.csv cannot be read.
    """
    metrics, matrix = run.path / METRICS, run.path / ACCURACY_MATRIX
    if not run.status.is_broken_off or not metrics.exists() or is_locked(run.path):
        return False
    if matrix.exists() and matrix.stat().st_mtime_ns >= metrics.stat().st_mtime_ns:
        return False
    return bool(read_metrics(metrics))


def rebuild_run(run: Run) -> dict[str, Any]:
    """Rewrite accuracy_matrix.csv, accuracy_matrix.png and accuracy_curves.png of `run`.

    Returns:
        The four metrics, `accuracy_matrix` and `accuracy_before_training`, as summary.json of a completed run has them;
        summary.json itself stays as it is.

    Raises:
        UserError: if its files cannot be read, do not say what was run, or hold no measured epoch.
    """
    source = run.path / METRICS
    rows, before = read_metrics(source), read_baseline(source)
    config: dict[str, Any] = yaml.safe_load(run.config) or {}
    if not {"scenario", "strategy", "epochs_per_task"} <= config.keys() or "strategy" not in run.summary:
        raise UserError(f"{run.path}: its config.yaml and summary.json do not say what was run")
    if not rows or not accuracies(rows[0]) or "task" not in rows[0]:
        raise UserError(f"{source} holds no accuracies of a task")
    n_tested, last_task = len(accuracies(rows[0])), int(rows[-1]["task"])
    *_, last = matrices(rows, max(n_trained(config, n_tested), last_task + 1))
    R = torch.from_numpy(last)
    baseline = torch.tensor([torch.nan] * n_tested if before is None else before, dtype=torch.float64)
    results = summary_metrics(R, baseline)
    joint = config["strategy"].get("task_order") == "joint"
    write_result_files(run.path, R, rows, None if joint else config["epochs_per_task"], {**run.summary, **results})
    return results


def report_sweep(directories: Sequence[Path], out: Path | None = None, console: Console | None = None) -> Path:
    """Report on all runs in and below `directories` as they are now, also while a sweep is running.

    Runs that broke off get what they lack: accuracy_matrix.csv, accuracy_matrix.png and accuracy_curves.png.

    Args:
        directories: where to look for runs, at least one.
        out: folder of the report, created if it is missing; by default the one that holds all `directories`.
        console: where to print; by default standard output.

    Returns:
        The page, sweep.html. Beside it lie sweep.csv and, once a run is completed, sweep_scores.png, sweep_curves.png
        and sweep_matrices.png, and the plots that the configurations of the runs name.

    Raises:
        UserError: if a directory is none, if there is no run, or if `out` cannot be written to.
    """
    runs = find_runs(directories)
    # Imported here, since they take seconds that a wrong directory should not wait for.
    from metaplast.report.aggregate import make_sweep
    from metaplast.report.figures.paper import write_requested_plots
    from metaplast.report.figures.sweep import write_figures
    from metaplast.report.page import write_page
    from metaplast.report.tables import print_sweep, write_sweep_csv

    together = Path(os.path.commonpath([directory.resolve() for directory in directories]))
    folder = out or _as_given(directories, together)
    sweep = make_sweep(runs)
    console = console or Console()
    for run in runs:
        try:
            if lacks_results(run):
                rebuild_run(run)
        except (UserError, OSError) as error:  # the other runs are reported all the same
            console.print(f"{run.path}: its pictures cannot be drawn: {error}", markup=False, soft_wrap=True)
    print_sweep(sweep, console)
    page = folder / SWEEP_PAGE
    try:
        write_sweep_csv(folder / SWEEP_CSV, sweep)
        write_figures(folder, sweep)
        try:
            write_requested_plots(folder, sweep)
        except UserError as error:  # the page does not need that file
            console.print(f"not all plots can be drawn: {error}", markup=False, soft_wrap=True)
        write_page(page, sweep, title="/".join(together.parts[-2:]).lstrip("/"))
    except OSError as error:
        raise UserError(f"--out={folder}: cannot be written to: {error.strerror}; give a folder that can") from error
    return page


def _as_given(directories: Sequence[Path], together: Path) -> Path:
    """The folder that holds all directories: a single one stays as the user wrote it."""
    return directories[0] if len(directories) == 1 else together
