"""The real data sets, in the repository's `data/` (fetched if they are not there), are what was published."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from metaplast.data import load_fashion_mnist, load_mnist

DATA_DIR = Path(__file__).parents[2] / "data"
Load = Callable[[Path, bool], tuple[Tensor, Tensor]]


@pytest.mark.parametrize(
    ("load", "train", "counts", "ink"),
    [
        (load_mnist, True, [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949], 0.1307),
        (load_mnist, False, [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009], 0.1325),
        pytest.param(load_fashion_mnist, True, [6000] * 10, 0.2860, marks=pytest.mark.slow),
        pytest.param(load_fashion_mnist, False, [1000] * 10, 0.2868, marks=pytest.mark.slow),
    ],
)
def test_each_part_has_its_published_class_counts_and_mean_pixel(
    load: Load, train: bool, counts: list[int], ink: float
) -> None:
    images, labels = load(DATA_DIR, train)
    assert images.shape == (sum(counts), 1, 28, 28)
    assert images.dtype == torch.uint8
    assert labels.dtype == torch.int64
    assert labels.bincount().tolist() == counts
    assert images.float().mean().item() / 255 == pytest.approx(ink, abs=1e-4)  # published to four digits
