"""metrics.csv read back: a row before training and one after every measured epoch, as numbers.

accuracy_matrix.csv: the accuracy matrix as a table that any program reads, and that reads back exactly.

The header is `task_0,task_1,…`; row i holds the accuracies after task i, as fractions; a cell not measured is empty.
A stream, whose parts share one test, has the column `task_0` alone.

The accuracy matrix as the rows of metrics.csv tell it.

hidden_weights.npz read back.

Of every binary layer LAYER it holds `LAYER/counts` (tasks, bins) and `LAYER/edges` (tasks, bins + 1), a row for each
task trained so far; of a run that learns all tasks at once, a single one.
"""

import csv
import io
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from metaplast.errors import UserError
from metaplast.io import write_text


def read_metrics(source: Path) -> list[dict[str, float]]:
    """Read the rows of a metrics.csv that were measured after an epoch, in their order, but for an unfinished last one.

    Raises:
        UserError: if the file cannot be read, or a line is not a row of numbers.
    """
    return [row for row in read_rows(source) if row["epoch"] >= 1]


def read_baseline(source: Path) -> list[float] | None:
    """Read the accuracies before any training from the row of epoch 0; None where the file, an older one, has none.

    Raises:
        UserError: if the file cannot be read, or a line is not a row of numbers.
    """
    return next((accuracies(row) for row in read_rows(source) if row["epoch"] == 0), None)


def read_rows(source: Path) -> list[dict[str, float]]:
    """Read all rows, that of epoch 0 too; a last line without its end, from a killed writer, is left out.

    Raises:
        UserError: if the file cannot be read, has no column `epoch`, or a line is not a row of numbers.
    """
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"metrics: {source} cannot be read: {error}") from error
    whole = text[: text.rfind("\n") + 1]
    header, *lines = list(csv.reader(io.StringIO(whole))) or [[]]
    if lines and "epoch" not in header:
        raise UserError(f"metrics: {source} has no column epoch")
    return [_row(source, number, header, line) for number, line in enumerate(lines, start=2)]


def accuracies(row: Mapping[str, float]) -> list[float]:
    """The test accuracies in a row, one a test.

    >>> accuracies({"epoch": 1, "accuracy/task_0": 0.9, "accuracy/task_1": 0.1, "seconds": 3.0})
    [0.9, 0.1]
    """
    return [value for name, value in row.items() if name.startswith("accuracy/task_")]


def _row(source: Path, number: int, header: list[str], line: list[str]) -> dict[str, float]:
    try:
        return {column: float(field) for column, field in zip(header, line, strict=True)}
    except ValueError:
        raise UserError(f"metrics: line {number} of {source} is not a row of {len(header)} numbers") from None


def write_matrix_csv(target: Path, R: Tensor) -> None:
    """Write R, (T, T) or (T, 1), to `target`, atomically, with as many digits as tell its numbers (float64) apart."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_header(R.shape[1]))
    writer.writerows(["" if math.isnan(value) else repr(value) for value in row] for row in R.double().tolist())
    write_text(target, text.getvalue())


def read_matrix_csv(source: Path) -> Tensor:
    """Read R, float64 of shape (T, T) or (T, 1), from a file that `write_matrix_csv` wrote.

    Raises:
        UserError: if the file is missing, or not such a table.
    """
    try:
        lines = list(csv.reader(source.read_text(encoding="utf-8").splitlines()))
        values = [[float(cell) if cell else math.nan for cell in row] for row in lines[1:]]
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{source} cannot be read as an accuracy matrix: {error}") from error
    header = lines[0] if lines else []
    n_tested, n_tasks = len(header), len(values)
    fits = n_tested in (1, n_tasks) and n_tasks > 0 and all(len(row) == n_tested for row in values)
    if not fits or header != _header(n_tested):
        raise UserError(
            f"{source} holds no accuracy matrix: expected the header task_0,task_1,… and as many rows as columns, "
            f"or one column, got {','.join(header[:3]) or 'nothing'} and {n_tasks} rows"
        )
    return torch.tensor(values, dtype=torch.float64)


def _header(n_tested: int) -> list[str]:
    return [f"task_{j}" for j in range(n_tested)]


def matrices(rows: Sequence[Mapping[str, float]], n_tasks: int) -> Iterator[Tensor]:
    """Yield the accuracy matrix, float64 of shape (n_tasks, J), as it is after each row; NaN where not measured.

    A task that is being trained has the accuracies of its last row.

    >>> rows = [{"task": 0, "accuracy/task_0": 0.8, "accuracy/task_1": 0.1},
    ...         {"task": 0, "accuracy/task_0": 0.9, "accuracy/task_1": 0.2}]
    >>> [R.tolist() for R in matrices(rows, n_tasks=2)]
    [[[0.8, 0.1], [nan, nan]], [[0.9, 0.2], [nan, nan]]]
    """
    R = torch.full((n_tasks, len(accuracies(rows[0])) if rows else 0), torch.nan, dtype=torch.float64)
    for row in rows:
        R[int(row["task"])] = torch.tensor(accuracies(row), dtype=torch.float64)
        yield R.clone()


def n_trained(config: Mapping[str, Any], n_tested: int) -> int:
    """Tasks of the whole run, by its config.yaml; each has a test of its own, but the parts of a stream share one.

    >>> n_trained({"scenario": {"n_parts": 60}, "max_tasks": 4}, n_tested=1), n_trained({"scenario": {}}, n_tested=5)
    (4, 5)
    """
    n_parts: int = config["scenario"].get("n_parts", n_tested) if n_tested == 1 else n_tested
    return min(n_parts, config.get("max_tasks") or n_parts)


def read_histograms(source: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Read the arrays of a hidden_weights.npz, by name.

    Raises:
        UserError: if the file cannot be read.
    """
    try:
        with source.open("rb") as opened, np.load(opened) as file:  # NumPy leaves a broken file open
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"hidden weights: {source} cannot be read: {error}") from error
