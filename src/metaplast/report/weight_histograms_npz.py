"""hidden_weights.npz read back.

Of every binary layer LAYER it holds `LAYER/counts` (tasks, bins) and `LAYER/edges` (tasks, bins + 1), a row for each
task trained so far; of a run that learns all tasks at once, a single one.
"""

import zipfile
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from metaplast.errors import UserError


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
