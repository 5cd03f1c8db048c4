"""CIFAR's binary version: small files of its format, made record by record, come back as they were written."""

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from metaplast.data import load_cifar10, load_cifar100
from metaplast.errors import UserError

TEN = {**{f"data_batch_{i}.bin": [i, 9] for i in range(1, 6)}, "test_batch.bin": [0, 3, 5]}
HUNDRED = {"train.bin": [99, 0, 42], "test.bin": [7]}
"""Labels of the images in each file."""
Load = Callable[..., tuple[Tensor, Tensor]]


def pixels(label: int, place: int) -> bytes:
    """An image whose pixel (c, y, x) says where it is and which image it belongs to."""
    return bytes((label + place + 100 * c + 3 * y + x) % 256 for c in range(3) for y in range(32) for x in range(32))


def write(folder: Path, files: dict[str, list[int]], coarse: bool = False) -> None:
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
    write(tmp_path / place, TEN)
    images, labels = load_cifar10(tmp_path, train=True)
    assert labels.tolist() == [1, 9, 2, 9, 3, 9, 4, 9, 5, 9]
    assert (images.shape, images.dtype, labels.dtype) == ((10, 3, 32, 32), torch.uint8, torch.int64)
    assert images[5].flatten().tolist() == list(pixels(9, 1))
    assert int(images[4, 2, 5, 31]) == (3 + 200 + 15 + 31) % 256  # blue, row 5, column 31 of the first 3
    assert load_cifar10(tmp_path, train=False)[1].tolist() == [0, 3, 5]


@pytest.mark.parametrize("train", [True, False])
def test_the_archive_gives_what_its_files_give(tmp_path: Path, train: bool) -> None:
    write(tmp_path / "plain" / "cifar10" / "cifar-10-batches-bin", TEN)
    pack(tmp_path / "plain/cifar10/cifar-10-batches-bin", tmp_path / "packed/cifar10/cifar-10-binary.tar.gz")
    images, labels = load_cifar10(tmp_path / "plain", train)
    packed_images, packed_labels = load_cifar10(tmp_path / "packed", train)
    assert torch.equal(images, packed_images)
    assert torch.equal(labels, packed_labels)


def test_cifar100_has_its_fine_labels(tmp_path: Path) -> None:
    write(tmp_path / "cifar100" / "cifar-100-binary", HUNDRED, coarse=True)
    images, labels = load_cifar100(tmp_path, train=True)
    assert labels.tolist() == [99, 0, 42]
    assert images[2].flatten().tolist() == list(pixels(42, 2))
    assert load_cifar100(tmp_path, train=False)[1].tolist() == [7]


@pytest.mark.parametrize(
    ("load", "archive"), [(load_cifar10, "cifar-10-binary.tar.gz"), (load_cifar100, "cifar-100-binary.tar.gz")]
)
def test_missing_files_say_what_to_get_and_where_to_put_it(tmp_path: Path, load: Load, archive: str) -> None:
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
    write(tmp_path / "cifar10", TEN)
    damage(tmp_path / "cifar10")
    with pytest.raises(UserError, match=text):
        load_cifar10(tmp_path, train=True)


def test_archives_that_are_cut_short_or_of_another_version_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "cifar10" / "cifar-10-binary.tar.gz"
    write(tmp_path / "cifar-10-batches-py", {"data_batch_1": [1]})
    pack(tmp_path / "cifar-10-batches-py", archive)
    with pytest.raises(UserError, match=r"expected cifar-10-batches-bin/data_batch_1.bin of the binary version"):
        load_cifar10(tmp_path, train=True)
    archive.write_bytes(archive.read_bytes()[:60])
    with pytest.raises(UserError, match="cannot be read"):
        load_cifar10(tmp_path, train=True)
    archive.write_bytes(b"no archive")
    with pytest.raises(UserError, match="cannot be read"):
        load_cifar10(tmp_path, train=True)
