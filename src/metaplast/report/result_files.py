"""What a run shows of its measurements: accuracy_matrix.csv, accuracy_matrix.png and accuracy_curves.png."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metaplast.report.curves_figure import write_curves_figure
from metaplast.report.matrix_csv import write_matrix_csv
from metaplast.report.matrix_figure import write_matrix_figure
from metaplast.report.metrics_csv import accuracies


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
        rows: the rows of metrics.csv from epoch 1 on, one at least.
        epochs_per_task: what parts the tasks; None where all are trained at once.
        summary: what summary.json holds, of which the name of the run and the four figures are shown.
    """
    write_matrix_csv(run_dir / "accuracy_matrix.csv", R)
    write_matrix_figure(run_dir / "accuracy_matrix.png", R, summary)
    ends = [] if epochs_per_task is None else [epochs_per_task * (j + 1) for j in range(len(R))]
    curves = torch.tensor([accuracies(row) for row in rows])
    write_curves_figure(run_dir / "accuracy_curves.png", [row["epoch"] for row in rows], curves, ends, summary)
