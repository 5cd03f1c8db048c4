"""metrics.csv: a row before training and after every measured epoch, on the disk before training goes on.

The first row's names and their order are the header. Numbers are written so that they read back as the same floats. A
checkpoint holds the rows that were there when it was saved, and the digest of the file: a resumed run cuts rows of
later epochs, and makes a file that was damaged, edited or lost again.
"""

import csv
import hashlib
import io
import logging
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaplast.errors import UserError
from metaplast.io import append, read_regular, write_text
from metaplast.runs.tables import FORMULA_STARTS, TABLE_BYTES, read_rows

if TYPE_CHECKING:  # whoever only reads a file need not wait for torch
    from torch import Tensor

CELLS = 1 << 19
"""Numbers that a checkpoint holds of a file at most, 4 MB; of a longer file it knows the digest only."""

log = logging.getLogger(__name__)


class MetricsFile:
    """A file that rows are appended to.

    Args:
        path: the file; it is made with the first row.
        epochs_done: where a resumed run goes on, in epochs; None for a run that starts, whose file is replaced. Rows
            of later epochs, which will be trained again, are dropped from the file, as is a last line that a killed
            run left unfinished.
        saved: the `state_dict` in the checkpoint that is resumed from, in place of `epochs_done`: the file is made what
            it was then. A checkpoint of an older version has none.

    Raises:
        UserError: if the file that is there cannot be read as one of ours, or cannot be written.
    """

    lost: str | None = None
    """What a resumed run could not recover, in a line."""

    def __init__(self, path: Path, epochs_done: int | None = None, saved: Mapping[str, Any] | None = None) -> None:
        self.path = path
        self._columns: list[str] = []
        self._whole: list[str] = []
        """The columns of whole numbers."""
        self._cells: array[float] | None = array("d")
        """The numbers of all rows; None where there are too many to save."""
        self._size, self._digest = 0, hashlib.sha256()
        if saved is not None:
            self._restore(saved)
        elif path.exists():
            self._keep_rows_until(epochs_done)

    def state_dict(self) -> dict[str, Any]:
        """The rows of the file, if they are no more than `CELLS` numbers, its size in bytes and its SHA-256."""
        import torch

        cells = torch.tensor(self._cells or [], dtype=torch.float64)
        about = {"columns": list(self._columns), "whole": list(self._whole), "cells": cells}
        return {**about, "bytes": self._size, "sha256": self._digest.hexdigest()}

    def _restore(self, saved: Mapping[str, Any]) -> None:
        """Make the file what it was when `saved` was taken."""
        size, sha256 = saved["bytes"], saved["sha256"]
        self._columns, self._whole, self._cells = list(saved["columns"]), list(saved["whole"]), array("d")
        if any(name.startswith(FORMULA_STARTS) for name in self._columns):
            raise ValueError("expected names of columns")
        known = saved["cells"].double().flatten().tolist()
        try:
            found = read_regular(self.path, max(TABLE_BYTES, 2 * size), within=self.path.parent)
        except FileNotFoundError:
            found = b""
        except OSError as error:
            raise UserError(f"metrics: {self.path} {error.strerror}") from error
        content = found[:size]
        self._digest = hashlib.sha256(content)
        self._size = len(content)
        self._cells.extend(known)
        if self._digest.hexdigest() == sha256:
            if len(found) > size:
                write_text(self.path, content.decode())
        else:
            self._rebuild(found, sha256)
        if not known and size:
            self._cells = None

    def _rebuild(self, found: bytes, sha256: str) -> None:
        """Write the rows that the checkpoint knows, if it has all; keep what is there under another name."""
        kept = ""
        if found:
            aside = self.path.with_name(f"{self.path.stem}.damaged{self.path.suffix}")
            self.path.replace(aside)
            kept = f"; what was there is now {aside.name}"
        why = "is missing" if not found else "is not as its checkpoint knows it (damaged, edited or of another run)"
        rows, n = list(self._cells or ()), len(self._columns)
        lines = [self._columns, *([self._text(*pair) for pair in zip(self._columns, rows[i : i + n], strict=True)]
                                  for i in range(0, len(rows), n or 1))]  # fmt: skip
        content = "".join(map(_line, lines)).encode()
        self._size, self._digest = len(content), hashlib.sha256(content)
        if self._digest.hexdigest() == sha256:
            write_text(self.path, content.decode())
            log.warning("%s %s: made again from the checkpoint%s", self.path, why, kept)
            return
        self.lost = f"{self.path.name} {why}: its rows up to here are lost{kept}"
        log.warning("%s: %s", self.path.parent, self.lost)
        self._columns, self._size, self._digest = [], 0, hashlib.sha256()

    def _text(self, column: str, value: float) -> str:
        return _digits(int(value) if column in self._whole else value)

    def write(self, row: Mapping[str, float | int]) -> None:
        """Append a row and put it on the disk.

        Raises:
            ValueError: if its names are not those of the rows before, in whatever order.
            WriteError: if it cannot be written.
        """
        if not self._columns:
            self._append(list(row))
            self._columns, self._whole = list(row), [name for name, value in row.items() if isinstance(value, int)]
        if row.keys() != set(self._columns):
            odd = sorted(row.keys() ^ set(self._columns))
            raise ValueError(f"row: expected the columns of {self.path}, got or lacks {', '.join(odd)}")
        self._append([_digits(row[column]) for column in self._columns])
        self._remember(row)

    def _remember(self, row: Mapping[str, float | int]) -> None:
        if self._cells is not None:
            self._cells.extend(float(row[column]) for column in self._columns)
            if len(self._cells) > CELLS:
                self._cells = None

    def log_accuracy_matrix(self, task: int, R: "Tensor") -> None:
        """Nothing: the accuracies after a task are in the row of its last epoch."""

    def _append(self, fields: Sequence[str]) -> None:
        content = _line(fields).encode()
        append(self.path, content)
        self._size += len(content)
        self._digest.update(content)

    def _keep_rows_until(self, epoch: int | None) -> None:
        kept = [] if epoch is None else [row for row in read_rows(self.path) if row["epoch"] <= epoch]
        if not kept:
            self.path.unlink()
            return
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)[: 1 + len(kept)]
        content = "".join(lines)
        write_text(self.path, content)
        cells = lines[1].rstrip("\n").split(",")
        self._columns = list(kept[0])
        self._whole = [name for name, cell in zip(self._columns, cells, strict=True) if cell.lstrip("-").isdecimal()]
        for row in kept:
            self._remember(row)
        self._size, self._digest = len(content.encode()), hashlib.sha256(content.encode())


def _line(fields: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(fields)
    return text.getvalue()


def _digits(value: float | int) -> str:
    """The shortest decimal that reads back as the same number, of NumPy's numbers as well.

    >>> _digits(3), _digits(0.1), _digits(float("nan"))
    ('3', '0.1', 'nan')
    """
    return str(int(value)) if isinstance(value, int) else repr(float(value))
