"""metrics.csv read back: a row after every measured epoch, as numbers."""

import csv
import io
from pathlib import Path

from metaplast.errors import UserError


def read_metrics(source: Path) -> list[dict[str, float]]:
    """Read the rows of a metrics.csv in their order; a last line without its end, from a killed writer, is left out.

    Raises:
        UserError: if the file cannot be read, or a line is not a row of numbers.
    """
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"metrics: {source} cannot be read: {error}") from error
    whole = text[: text.rfind("\n") + 1]
    header, *lines = list(csv.reader(io.StringIO(whole))) or [[]]
    return [_row(source, number, header, line) for number, line in enumerate(lines, start=2)]


def _row(source: Path, number: int, header: list[str], line: list[str]) -> dict[str, float]:
    try:
        return {column: float(field) for column, field in zip(header, line, strict=True)}
    except ValueError:
        raise UserError(f"metrics: line {number} of {source} is not a row of {len(header)} numbers") from None
