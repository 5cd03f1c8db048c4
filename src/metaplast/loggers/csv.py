"""metrics.csv: a row before training and after every measured epoch, on the disk before training goes on; the truth.

The first row's names and their order are the header. Numbers are written so that they read back as the same floats.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metaplast.io import append, write_text
from metaplast.runs.tables import read_rows

if TYPE_CHECKING:  # whoever only reads a file need not wait for torch
    from torch import Tensor


class MetricsFile:
    """A file that rows are appended to.

    Args:
        path: the file; it is made with the first row.
        epochs_done: where a resumed run goes on, in epochs; None for a run that starts, whose file is replaced. Rows
            of later epochs, which will be trained again, are dropped from the file, as is a last line that a killed
            run left unfinished.

    Raises:
        UserError: if the file that is there cannot be read as one of ours, or cannot be written.
    """

    def __init__(self, path: Path, epochs_done: int | None = None) -> None:
        self.path = path
        self._columns: list[str] = []
        if path.exists():
            self._keep_rows_until(epochs_done)

    def write(self, row: Mapping[str, float | int]) -> None:
        """Append a row and put it on the disk.

        Raises:
            ValueError: if its names are not those of the rows before, in whatever order.
            WriteError: if it cannot be written.
        """
        if not self._columns:
            self._append(list(row))
            self._columns = list(row)
        if row.keys() != set(self._columns):
            odd = sorted(row.keys() ^ set(self._columns))
            raise ValueError(f"row: expected the columns of {self.path}, got or lacks {', '.join(odd)}")
        self._append([_digits(row[column]) for column in self._columns])

    def log_accuracy_matrix(self, task: int, R: "Tensor") -> None:
        """Nothing: the accuracies after a task are in the row of its last epoch."""

    def _append(self, fields: Sequence[str]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(fields)
        append(self.path, text.getvalue().encode())

    def _keep_rows_until(self, epoch: int | None) -> None:
        kept = [] if epoch is None else [row for row in read_rows(self.path) if row["epoch"] <= epoch]
        if not kept:
            self.path.unlink()
            return
        self._columns = list(kept[0])
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        write_text(self.path, "".join(lines[: 1 + len(kept)]))


def _digits(value: float | int) -> str:
    """The shortest decimal that reads back as the same number, of NumPy's numbers as well.

    >>> _digits(3), _digits(0.1), _digits(float("nan"))
    ('3', '0.1', 'nan')
    """
    return str(int(value)) if isinstance(value, int) else repr(float(value))
