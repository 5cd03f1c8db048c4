"""IDX files, and small files in CIFAR's binary version, are read as what was written, and anything else is refused.

The real data sets, in the repository's `data/` (fetched if they are not there), are what was published. scikit-learn's
digits have a fixed split; USPS is read as torchvision reads it.
"""

import bz2
import gzip
import hashlib
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import datasets
from torch import Tensor
from torchvision.datasets import USPS

from metaplast.data import load_cifar10, load_cifar100, load_digits, load_fashion_mnist, load_mnist, load_usps
from metaplast.data.datasets import read_idx
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


def test_both_parts_together_are_the_whole_file() -> None:
    pixels, classes = datasets.load_digits(return_X_y=True)
    parts = [load_digits(train) for train in (True, False)]
    rows = np.concatenate([np.c_[labels, images.flatten(1)] for images, labels in parts])
    # 255/16 = 15.94: a grey level is recovered by rounding
    recovered = np.c_[rows[:, 0], np.round(rows[:, 1:] * 16 / 255)]
    assert sorted(map(tuple, recovered)) == sorted(map(tuple, np.c_[classes, pixels]))


def test_every_fifth_digit_of_each_class_is_for_testing() -> None:
    _, train = load_digits(train=True)
    _, test = load_digits(train=False)
    assert torch.equal(test.bincount(), (train.bincount() + test.bincount()) // 5)


def test_grey_levels_span_the_bytes() -> None:
    images, labels = load_digits(train=True)
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
    assert images.shape == (1442, 1, 8, 8)
    levels = set(images.flatten().tolist())
    assert (len(levels), min(levels), max(levels)) == (17, 0, 255)


def line(label: int, values: list[float]) -> str:
    return f"{label} " + " ".join(f"{i}:{value:g}" for i, value in enumerate(values, 1)) + " "


def write_usps(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bz2.compress(text.encode()))


@pytest.mark.parametrize(("train", "name"), [(True, "usps.bz2"), (False, "usps.t.bz2")])
@pytest.mark.parametrize("folder", ["usps", "."])
def test_images_and_labels_are_torchvisions(tmp_path: Path, train: bool, name: str, folder: str) -> None:
    drawn = np.random.default_rng(0).uniform(-1, 1, (10, 256)).round(3)
    drawn[0, :3] = -1, 1, 0
    text = "\n".join(line(label, row.tolist()) for label, row in enumerate(drawn, 1))
    write_usps(tmp_path / folder / name, text + "\n")
    images, labels = load_usps(tmp_path, train)
    theirs = USPS(tmp_path / folder, train=train)
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
    assert labels.tolist() == theirs.targets == list(range(10))
    assert torch.equal(images, torch.from_numpy(theirs.data)[:, None])


def test_pixels_that_a_line_leaves_out_are_zero_which_is_half_ink(tmp_path: Path) -> None:
    write_usps(tmp_path / "usps.bz2", "3 2:-1 256:1\n")
    images, labels = load_usps(tmp_path, train=True)
    assert labels.tolist() == [2]
    assert images.flatten().tolist() == [127, 0, *[127] * 253, 255]


@pytest.mark.parametrize(("train", "name"), [(True, "usps.bz2"), (False, "usps.t.bz2")])
def test_a_missing_file_says_where_to_get_it_and_where_to_put_it(tmp_path: Path, train: bool, name: str) -> None:
    with pytest.raises(UserError) as error:
        load_usps(tmp_path, train)
    assert (
        f"expected the files of USPS, got no {name}. Get usps.bz2 and usps.t.bz2 from https://www.csie.ntu.edu.tw/"
        in str(error.value)
    )
    assert str(error.value).endswith(f"into {tmp_path / 'usps'}.")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("11 1:0", "expected USPS, with labels from 1 to 10"),
        ("1 1:1.5", "values from -1 to 1"),
        ("1 1:nan", "values from -1 to 1"),
        ("", "expected USPS, with"),
        ("1 257:0", "pixel 257 of 256"),
        ("1 0:0", "pixel 0 of 256"),
        ("one 1:0", "cannot be read as USPS"),
        ("1 1=0", "cannot be read as USPS"),
        ("\n1 1:0", "cannot be read as USPS"),
    ],
)
def test_files_of_something_else_are_refused(tmp_path: Path, text: str, says: str) -> None:
    write_usps(tmp_path / "usps.bz2", text)
    with pytest.raises(UserError, match=says):
        load_usps(tmp_path, train=True)


def test_files_that_are_not_bzip2_or_cut_short_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "usps.bz2"
    write_usps(path, line(1, [0.0] * 256))
    for content in (path.read_bytes()[:-5], b"plain text"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="cannot be read as USPS"):
            load_usps(tmp_path, train=True)


TEN = {**{f"data_batch_{i}.bin": [i, 9] for i in range(1, 6)}, "test_batch.bin": [0, 3, 5]}
HUNDRED = {"train.bin": [99, 0, 42], "test.bin": [7]}
"""Labels of the images in each file."""
LoadCifar = Callable[..., tuple[Tensor, Tensor]]


def pixels(label: int, place: int) -> bytes:
    """An image whose pixel (c, y, x) says where it is and which image it belongs to."""
    return bytes((label + place + 100 * c + 3 * y + x) % 256 for c in range(3) for y in range(32) for x in range(32))


def write_cifar(folder: Path, files: dict[str, list[int]], coarse: bool = False) -> None:
    folder.mkdir(parents=True)
    for name, labels in files.items():
        records = [bytes([7] * coarse + [label]) + pixels(label, place) for place, label in enumerate(labels)]
        (folder / name).write_bytes(b"".join(records))


def pack(folder: Path, archive: Path) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(folder.iterdir(), reverse=True):  # not the order that they are wanted in
            tar.add(path, f"{folder.name}/{path.name}")


@pytest.mark.parametrize("place", ["cifar10/cifar-10-batches-bin", "cifar10", "cifar-10-batches-bin"])
def test_cifar10_is_read_from_wherever_it_was_unpacked(tmp_path: Path, place: str) -> None:
    write_cifar(tmp_path / place, TEN)
    images, labels = load_cifar10(tmp_path, train=True)
    assert labels.tolist() == [1, 9, 2, 9, 3, 9, 4, 9, 5, 9]
    assert (images.shape, images.dtype, labels.dtype) == ((10, 3, 32, 32), torch.uint8, torch.int64)
    assert images[5].flatten().tolist() == list(pixels(9, 1))
    assert int(images[4, 2, 5, 31]) == (3 + 200 + 15 + 31) % 256  # blue, row 5, column 31 of the first 3
    assert load_cifar10(tmp_path, train=False)[1].tolist() == [0, 3, 5]


@pytest.mark.parametrize("train", [True, False])
def test_the_archive_gives_what_its_files_give(tmp_path: Path, train: bool) -> None:
    write_cifar(tmp_path / "plain" / "cifar10" / "cifar-10-batches-bin", TEN)
    pack(tmp_path / "plain/cifar10/cifar-10-batches-bin", tmp_path / "packed/cifar10/cifar-10-binary.tar.gz")
    images, labels = load_cifar10(tmp_path / "plain", train)
    packed_images, packed_labels = load_cifar10(tmp_path / "packed", train)
    assert torch.equal(images, packed_images)
    assert torch.equal(labels, packed_labels)


def test_cifar100_has_its_fine_labels(tmp_path: Path) -> None:
    write_cifar(tmp_path / "cifar100" / "cifar-100-binary", HUNDRED, coarse=True)
    images, labels = load_cifar100(tmp_path, train=True)
    assert labels.tolist() == [99, 0, 42]
    assert images[2].flatten().tolist() == list(pixels(42, 2))
    assert load_cifar100(tmp_path, train=False)[1].tolist() == [7]


@pytest.mark.parametrize(
    ("load", "archive"), [(load_cifar10, "cifar-10-binary.tar.gz"), (load_cifar100, "cifar-100-binary.tar.gz")]
)
def test_missing_files_say_what_to_get_and_where_to_put_it(tmp_path: Path, load: LoadCifar, archive: str) -> None:
    with pytest.raises(UserError) as error:
        load(tmp_path, train=True)
    assert f"{archive}, from https://www.cs.toronto.edu/~kriz/cifar.html" in str(error.value)
    assert f"into {tmp_path}/cifar10" in str(error.value)


def wrong_label(folder: Path) -> None:
    (folder / "data_batch_2.bin").write_bytes(bytes([10]) + pixels(0, 0))


def cut_short(folder: Path) -> None:
    path = folder / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-1])


def empty(folder: Path) -> None:
    (folder / "data_batch_2.bin").write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (wrong_label, "data_batch_2.bin: expected labels of CIFAR-10 up to 9, got 10"),
        (cut_short, "data_batch_2.bin: expected records of 3073 bytes, got 6145 bytes; it is damaged"),
        (empty, "data_batch_2.bin: expected records of 3073 bytes, got 0 bytes"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, damage: Callable[[Path], None], text: str) -> None:
    write_cifar(tmp_path / "cifar10", TEN)
    damage(tmp_path / "cifar10")
    with pytest.raises(UserError, match=text):
        load_cifar10(tmp_path, train=True)


def test_archives_that_are_cut_short_or_of_another_version_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "cifar10" / "cifar-10-binary.tar.gz"
    write_cifar(tmp_path / "cifar-10-batches-py", {"data_batch_1": [1]})
    pack(tmp_path / "cifar-10-batches-py", archive)
    with pytest.raises(UserError, match=r"expected cifar-10-batches-bin/data_batch_1.bin of the binary version"):
        load_cifar10(tmp_path, train=True)
    archive.write_bytes(archive.read_bytes()[:60])
    with pytest.raises(UserError, match="cannot be read"):
        load_cifar10(tmp_path, train=True)
    archive.write_bytes(b"no archive")
    with pytest.raises(UserError, match="cannot be read"):
        load_cifar10(tmp_path, train=True)
