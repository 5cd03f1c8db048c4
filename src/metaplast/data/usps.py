"""USPS: 7,291 training and 2,007 test images of handwritten digits, 16 x 16 gray pixels.

Read from the files of the LIBSVM collection, which torchvision uses as well: bzip2, one image a line, as the digit plus
one followed by `index:value` for each pixel, index from 1 to 256, value from -1 (background) to 1 (ink).

Source: Hull 1994, A database for handwritten text recognition research;
https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass.html#usps.
"""

import bz2
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from metaplast.errors import UserError

_SIDE = 16
_N_CLASSES = 10
_URL = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass"


def load_usps(data_dir: str | Path, train: bool) -> tuple[Tensor, Tensor]:
    """Handwritten digits: uint8 images (N, 1, 16, 16) and int64 labels (N,), N = 7,291 to train or 2,007 to test.

    Read from `usps.bz2` and `usps.t.bz2` in the folder `usps` of `data_dir`, or in `data_dir` itself; they are not
    downloaded. Pixels are those of torchvision: (value + 1) / 2 · 255, truncated to integers. Raises UserError if a
    file is missing (the message says where to get it) or damaged.
    """
    name, data_dir = "usps.bz2" if train else "usps.t.bz2", Path(data_dir).expanduser()
    for path in (data_dir / "usps" / name, data_dir / name):
        if path.is_file():
            return _read(path)
    raise UserError(
        f"data_dir={data_dir}: expected the files of USPS, got no {name}. Get usps.bz2 and usps.t.bz2 from {_URL}/ "
        f"and put them into {data_dir / 'usps'}."
    )


def _read(path: Path) -> tuple[Tensor, Tensor]:
    try:
        lines = bz2.decompress(path.read_bytes()).decode("ascii").splitlines()
        labels = np.array([int(line.split(maxsplit=1)[0]) - 1 for line in lines])
        values = np.array([_values(line) for line in lines], dtype=np.float32)
    except (OSError, ValueError, IndexError) as error:
        raise UserError(f"{path} cannot be read as USPS in LIBSVM's format: {error}. Download it again.") from error
    if not (np.abs(values) <= 1).all() or not np.isin(labels, range(_N_CLASSES)).all() or not lines:
        raise UserError(f"{path}: expected USPS, with labels from 1 to 10 and values from -1 to 1, got others")
    images = ((values + 1) / 2 * 255).astype(np.uint8)
    return torch.from_numpy(images).reshape(-1, 1, _SIDE, _SIDE), torch.from_numpy(labels).long()


def _values(line: str) -> list[float]:
    """Values of the 256 pixels of a line; the format omits zeros."""
    values = [0.0] * _SIDE**2
    for entry in line.split()[1:]:
        index, _, value = entry.partition(":")
        if not 1 <= int(index) <= len(values):
            raise ValueError(f"pixel {index} of {len(values)}")
        values[int(index) - 1] = float(value)
    return values
