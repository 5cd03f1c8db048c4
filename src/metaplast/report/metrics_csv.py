"""metrics.csv read back: a row before training and one after every measured epoch, as numbers."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from metaplast.errors import UserError


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
