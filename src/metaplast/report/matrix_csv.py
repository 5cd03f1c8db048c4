"""accuracy_matrix.csv: the accuracy matrix as a table that any program reads, and that reads back exactly.

The header is `task_0,task_1,…`; row i holds the accuracies after task i, as fractions; a cell not measured is empty.
A stream, whose parts share one test, has the column `task_0` alone.
"""

import csv
import io
import math
from pathlib import Path

import torch
from torch import Tensor

from metaplast.atomic import write_text
from metaplast.errors import UserError


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
