"""IDX files are read as what was written, and anything else is refused.

The real data sets, in the repository's `data/` (fetched if they are not there), are what was published.
"""

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from metaplast.data import load_fashion_mnist, load_mnist
from metaplast.data.mnist import read_idx
from metaplast.errors import UserError


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, dtype=">u4").tobytes() + array.tobytes()


@given(shape=st.lists(st.integers(1, 300), min_size=1, max_size=2), zipped=st.booleans())
def test_what_is_written_is_read_back_plain_or_gzipped(
    tmp_path_factory: pytest.TempPathFactory, shape: list[int], zipped: bool
) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    content = idx_bytes(array)
    path = tmp_path_factory.mktemp("idx") / "images"
    path.write_bytes(gzip.compress(content) if zipped else content)
    tensor = read_idx(path, hashlib.sha256(content).hexdigest())
    assert tensor.dtype == torch.uint8
    assert torch.equal(tensor, torch.from_numpy(array))


GOOD = idx_bytes(np.arange(6, dtype=np.uint8).reshape(2, 3))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "expected an IDX file of unsigned bytes, .* got nothing"),
        (b"\0\0", "expected an IDX file of unsigned bytes"),
        (b"<html>not here</html>", "expected an IDX file of unsigned bytes"),
        (b"\0\0\x0d" + GOOD[3:], "expected an IDX file of unsigned bytes"),  # floats
        (GOOD[:3] + b"\0", "expected an IDX file of unsigned bytes"),
        (GOOD[:9], "expected an IDX file of unsigned bytes"),
        (GOOD[:-1], "the 2 x 3 bytes that its header states, got 5"),
        (GOOD + b"\0", "the 2 x 3 bytes that its header states, got 7"),
        (gzip.compress(GOOD, mtime=0)[:-9], "cannot be read"),
        (gzip.compress(GOOD, mtime=0)[:12] + b"\xff" * 20, "cannot be read"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line_that_names_it(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "train-images"
    path.write_bytes(content)
    with pytest.raises(UserError, match=text) as refusal:
        read_idx(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("bit", range(0, 8 * len(GOOD), 5))
def test_any_flipped_bit_is_caught_by_the_hash(tmp_path: Path, bit: int) -> None:
    content = bytearray(GOOD)
    content[bit // 8] ^= 1 << (bit % 8)
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"expected the SHA-256 .* got "):
        read_idx(path, hashlib.sha256(GOOD).hexdigest())
    assert path.read_bytes() == content  # said, not deleted


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
