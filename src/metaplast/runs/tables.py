"""The tables in the directory of a run, as NumPy arrays and plain numbers.

- metrics.csv: a row before training and one after every measured epoch.
- accuracy_matrix.csv: row i holds the accuracies after task i, as fractions, under the header `task_0,task_1,…`; a cell
  that was not measured is empty. A stream, whose parts share one test, has the column `task_0` alone.
- hidden_weights.npz: of every binary layer LAYER `LAYER/counts` (tasks, bins) and `LAYER/edges` (tasks, bins + 1), a
  row for each task trained so far; a single one of a run that learns all tasks at once.

The standard library's `csv` is enough for these: pandas would cost half a second at every start, and its number format
has to be configured before values read back exactly.
"""

import csv
import io
import math
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from metaplast.errors import UserError
from metaplast.io import open_regular, read_regular, write_text

TABLE_BYTES = 64 << 20
TABLE_CELLS = 4_000_000
ARRAYS_BYTES = 128 << 20

ACCURACY = "accuracy/task_"
"""The columns of metrics.csv with the test accuracy on each task begin so."""
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\n")
"""Spreadsheets take a cell that begins with one of these for a formula."""


def to_csv(rows: Iterable[Iterable[Any]]) -> str:
    """Rows as CSV: floats with all their digits, None and NaN as empty cells.

    Text that a spreadsheet would run as a formula gets an apostrophe in front; text that is a number is left as it is.

    >>> to_csv([["name", "value"], ["=1+1", 0.1], ["-2", math.nan]])
    "name,value\\n'=1+1,0.1\\n-2,\\n"
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(map(_cell, row) for row in rows)
    return text.getvalue()


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        value = value.replace("\r\n", "\n").replace("\r", "\n")  # the csv module quotes no \r, at which readers break
        return f"'{value}" if value.startswith(FORMULA_STARTS) and not _is_number(value) else value
    return repr(float(value)) if isinstance(value, float) else str(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_metrics(source: Path) -> list[dict[str, float]]:
    """Read the rows of a metrics.csv that were measured after an epoch, without an unfinished last one.

    Raises:
        UserError: if the file cannot be read, or a line is not a row of numbers.
    """
    return [row for row in read_rows(source) if row["epoch"] >= 1]


def read_baseline(source: Path) -> list[float] | None:
    """Read the accuracies before training, from the row of epoch 0; None if there is no such row.

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
        text = _read_table(source)
    except (OSError, ValueError) as error:
        raise UserError(f"metrics: {source} cannot be read: {error}") from error
    whole = text[: text.rfind("\n") + 1]
    try:
        header, *lines = list(csv.reader(io.StringIO(whole))) or [[]]
    except csv.Error as error:
        raise UserError(f"metrics: {source} cannot be read: {error}") from error
    header = [_current_name(column) for column in header]
    if lines and "epoch" not in header:
        raise UserError(f"metrics: {source} has no column epoch")
    return [_row(source, number, header, line) for number, line in enumerate(lines, start=2)]


FORMER_COLUMNS = {
    "window": "ste_pass_fraction",
    "kept": "f_meta_mean",
    "turned_quiet": "flipped_low_grad",
    "turned_loud": "flipped_high_grad",
}
"""What columns of an older diagnostics.csv begin with, and what they begin with now."""


def _current_name(column: str) -> str:
    """The present name of a column.

    >>> _current_name("window/act1"), _current_name("epoch")
    ('ste_pass_fraction/act1', 'epoch')
    """
    quantity, slash, part = column.partition("/")
    return FORMER_COLUMNS.get(quantity, quantity) + slash + part if slash else column


def accuracies(row: Mapping[str, float]) -> list[float]:
    """The test accuracies in a row, one for each test.

    >>> accuracies({"epoch": 1, "accuracy/task_0": 0.9, "accuracy/task_1": 0.1, "seconds": 3.0})
    [0.9, 0.1]
    """
    return [value for name, value in row.items() if name.startswith(ACCURACY)]


def _row(source: Path, number: int, header: list[str], line: list[str]) -> dict[str, float]:
    try:
        return {column: float(field) for column, field in zip(header, line, strict=True)}
    except ValueError:
        raise UserError(f"metrics: line {number} of {source} is not a row of {len(header)} numbers") from None


def write_matrix_csv(target: Path, R: npt.NDArray[np.float64]) -> None:
    """Write R, shape (T, T) or (T, 1), to `target`, atomically, with all digits of its numbers."""
    write_text(target, to_csv([_header(R.shape[1]), *R.astype(np.float64).tolist()]))


def _read_table(source: Path) -> str:
    """Read a CSV file; OSError or ValueError where it is no file of its folder, or would fill the memory."""
    text = read_regular(source, TABLE_BYTES, within=source.parent).decode()
    if text.count(",") + text.count("\n") > TABLE_CELLS:
        raise ValueError(f"it has more than {TABLE_CELLS:,} cells")
    return text


def read_matrix_csv(source: Path) -> npt.NDArray[np.float64]:
    """Read R, float64 of shape (T, T) or (T, 1), from a file of `write_matrix_csv`; an empty cell becomes NaN.

    Raises:
        UserError: if the file is missing, or not such a table.
    """
    try:
        lines = list(csv.reader(_read_table(source).splitlines()))
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
    return np.array(values, dtype=np.float64)


def _header(n_tested: int) -> list[str]:
    return [f"task_{j}" for j in range(n_tested)]


def matrices(rows: Sequence[Mapping[str, float]], n_tasks: int) -> Iterator[npt.NDArray[np.float64]]:
    """Yield the accuracy matrix, shape (n_tasks, J), as it is after each row; NaN where not measured.

    The row of a task that is still being trained is that of its last epoch.

    >>> rows = [{"task": 0, "accuracy/task_0": 0.8, "accuracy/task_1": 0.1},
    ...         {"task": 0, "accuracy/task_0": 0.9, "accuracy/task_1": 0.2}]
    >>> [R.tolist() for R in matrices(rows, n_tasks=2)]
    [[[0.8, 0.1], [nan, nan]], [[0.9, 0.2], [nan, nan]]]
    """
    R = np.full((n_tasks, len(accuracies(rows[0])) if rows else 0), np.nan)
    for row in rows:
        R[int(row["task"])] = accuracies(row)
        yield R.copy()


def n_trained(config: Mapping[str, Any], n_tested: int) -> int:
    """The number of tasks of the whole run, by its config.yaml and the number of its tests.

    Each task has a test of its own, but the parts of a stream share one.

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
        with open_regular(source, ARRAYS_BYTES, within=source.parent) as opened:  # NumPy leaves a broken file open
            with zipfile.ZipFile(opened) as archive:
                size = sum(member.file_size for member in archive.infolist())
            if size > ARRAYS_BYTES:
                raise ValueError(f"it would take {size:,} bytes, more than the {ARRAYS_BYTES:,} that are read")
            opened.seek(0)
            file = np.load(opened, allow_pickle=False)
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, MemoryError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"hidden weights: {source} cannot be read: {error}") from error
