"""Features of images, made by another network and kept in a file.

The file is an `.npz` of NumPy with four arrays: `train_features` and `test_features`, floats (N, F), and `train_labels`
and `test_labels`, integers (N,). It is read without unpickling anything. `scripts/make_features.py` makes such files.
"""

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from metaplast.atomic import atomic_path
from metaplast.errors import UserError

Features = tuple[Tensor, Tensor]
"""Floats (N, F) and int64 labels (N,)."""


def write_features(path: Path, train: Features, test: Features) -> None:
    """Write a file of features, atomically; `path` has to end in `.npz`."""
    arrays = {
        f"{part}_{kind}": tensor.numpy()
        for part, pair in (("train", train), ("test", test))
        for kind, tensor in zip(("features", "labels"), pair, strict=True)
    }
    with atomic_path(path) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]  # its stub takes the names for options


def read_features(path: Path, train: bool, n_classes: int) -> Features:
    """Features of a file, in the precision it keeps them in, and labels from 0 to `n_classes` - 1.

    Raises UserError if the file is missing, with how to make it, or is not one of features.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing: the features are made by `python scripts/make_features.py`.")
    part = "train" if train else "test"
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            features, labels = file[f"{part}_features"], file[f"{part}_labels"]
    except (OSError, EOFError, KeyError, ValueError, TypeError, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read as a file of features: {error}.") from error
    _check(path, part, features, labels, n_classes)
    return torch.from_numpy(features), torch.from_numpy(labels).long()


def normalize_rows(features: Tensor, scale: str = "std") -> Tensor:
    """Subtract from each row of floats (N, F) its mean, and divide it by its `scale`; float32.

    `scale`, one of :data:`SCALES`, is the standard deviation (its square, the variance, is what the code of Laborieux
    et al. divides by) or 1. Rows that are constant become 0.

    >>> normalize_rows(torch.tensor([[1.0, 5.0], [3.0, 3.0]]), "variance")
    tensor([[-0.5000,  0.5000],
            [ 0.0000,  0.0000]])
    """
    centred = features.float() - features.float().mean(1, keepdim=True)
    if scale == "none":
        return centred
    variance = centred.square().mean(1, keepdim=True)
    divisor = variance.sqrt() if scale == "std" else variance
    return centred / divisor.masked_fill(divisor == 0, 1)


SCALES = ("std", "variance", "none")
"""What a row of features may be divided by."""


def _check(path: Path, part: str, features: "np.ndarray", labels: "np.ndarray", n_classes: int) -> None:
    if features.ndim != 2 or features.dtype.kind != "f" or labels.shape != features.shape[:1]:
        raise UserError(
            f"{path}: {part}_features has to be floats (N, F) and {part}_labels (N,), not {features.dtype} "
            f"{features.shape} and {labels.shape}."
        )
    if labels.dtype.kind not in "iu" or not labels.size or labels.min() < 0 or labels.max() >= n_classes:
        raise UserError(f"{path}: {part}_labels has to be integers from 0 to {n_classes - 1}, at least one.")
