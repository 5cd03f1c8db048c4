"""Handwritten digits: those that come with scikit-learn, and USPS; nothing is downloaded.

scikit-learn's are 1,797 of 8 x 8 pixels. USPS has 7,291 training and 2,007 test images of 16 x 16 gray pixels, read
from the files of the LIBSVM collection, which torchvision uses as well: bzip2, one image a line, as the digit plus one
followed by `index:value` for each pixel, index from 1 to 256, value from -1 (background) to 1 (ink).

Sources: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits (UCI); Hull 1994, A database for
handwritten text recognition research; https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass.html#usps.
"""

import bz2
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from metaplast.errors import UserError


def load_digits(train: bool) -> tuple[Tensor, Tensor]:
    """Handwritten digits: uint8 images (N, 1, 8, 8) and int64 labels (N,), N = 1,442 to train or 355 to test.

    The file's 17 gray levels, 0 to 16, are scaled to 0 to 255. The split is fixed: of each class, every fifth digit in
    the file's order (the 5th, the 10th, …) is for testing. Both parts keep that order.

    >>> images, labels = load_digits(train=False)
    >>> images.shape, labels.bincount().tolist()
    (torch.Size([355, 1, 8, 8]), [35, 36, 35, 36, 36, 36, 36, 35, 34, 36])
    """
    from sklearn import datasets  # imported late, since it takes a second

    pixels, classes = datasets.load_digits(return_X_y=True)
    # position of each digit within its class, from 0
    rank = np.empty_like(classes)
    for label in np.unique(classes):
        rank[classes == label] = np.arange((classes == label).sum())
    chosen = (rank % 5 != 4) if train else (rank % 5 == 4)
    images = np.round(pixels[chosen] * (255 / 16)).astype(np.uint8)
    return torch.from_numpy(images).reshape(-1, 1, 8, 8), torch.from_numpy(classes[chosen]).long()


_USPS_SIDE = 16
_N_USPS_CLASSES = 10
_USPS_URL = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass"


def load_usps(data_dir: str | Path, train: bool) -> tuple[Tensor, Tensor]:
    """Handwritten digits: uint8 images (N, 1, 16, 16) and int64 labels (N,), N = 7,291 to train or 2,007 to test.

    Read from `usps.bz2` and `usps.t.bz2` in the folder `usps` of `data_dir`, or in `data_dir` itself; they are not
    downloaded. Pixels are those of torchvision: (value + 1) / 2 · 255, truncated to integers. Raises UserError if a
    file is missing (the message says where to get it) or damaged.
    """
    name, data_dir = "usps.bz2" if train else "usps.t.bz2", Path(data_dir).expanduser()
    for path in (data_dir / "usps" / name, data_dir / name):
        if path.is_file():
            return _read_usps(path)
    raise UserError(
        f"data_dir={data_dir}: expected the files of USPS, got no {name}. Get usps.bz2 and usps.t.bz2 from {_USPS_URL}/"
        f" and put them into {data_dir / 'usps'}."
    )


def _read_usps(path: Path) -> tuple[Tensor, Tensor]:
    try:
        lines = bz2.decompress(path.read_bytes()).decode("ascii").splitlines()
        labels = np.array([int(line.split(maxsplit=1)[0]) - 1 for line in lines])
        values = np.array([_values(line) for line in lines], dtype=np.float32)
    except (OSError, ValueError, IndexError) as error:
        raise UserError(f"{path} cannot be read as USPS in LIBSVM's format: {error}. Download it again.") from error
    if not (np.abs(values) <= 1).all() or not np.isin(labels, range(_N_USPS_CLASSES)).all() or not lines:
        raise UserError(f"{path}: expected USPS, with labels from 1 to 10 and values from -1 to 1, got others")
    images = ((values + 1) / 2 * 255).astype(np.uint8)
    return torch.from_numpy(images).reshape(-1, 1, _USPS_SIDE, _USPS_SIDE), torch.from_numpy(labels).long()


def _values(line: str) -> list[float]:
    """Values of the 256 pixels of a line; the format omits zeros."""
    values = [0.0] * _USPS_SIDE**2
    for entry in line.split()[1:]:
        index, _, value = entry.partition(":")
        if not 1 <= int(index) <= len(values):
            raise ValueError(f"pixel {index} of {len(values)}")
        values[int(index) - 1] = float(value)
    return values
