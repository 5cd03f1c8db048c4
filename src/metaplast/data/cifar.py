"""CIFAR-10 and CIFAR-100: 50,000 training and 10,000 test images of 32 x 32 pixels in three colors.

Read from their *binary version*: records of a label byte (CIFAR-100: a coarse one, then the fine one) and 3,072 pixels,
the red plane first. The Python version contains pickles, and reading a pickle can run any code.

Source: Krizhevsky 2009, Learning multiple layers of features from tiny images;
https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from metaplast.errors import UserError

_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class _Cifar:
    title: str
    folder: str
    """Folder of the data directory with the archive or its files."""
    archive: str
    unpacked: str
    """Name of the archive's own folder."""
    train: tuple[str, ...]
    test: tuple[str, ...]
    label_bytes: int
    """Bytes before the pixels; the last of them is the label."""
    n_classes: int


_CIFAR10 = _Cifar(
    title="CIFAR-10",
    folder="cifar10",
    archive="cifar-10-binary.tar.gz",
    unpacked="cifar-10-batches-bin",
    train=tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    test=("test_batch.bin",),
    label_bytes=1,
    n_classes=10,
)
_CIFAR100 = _Cifar(
    title="CIFAR-100",
    folder="cifar100",
    archive="cifar-100-binary.tar.gz",
    unpacked="cifar-100-binary",
    train=("train.bin",),
    test=("test.bin",),
    label_bytes=2,
    n_classes=100,
)


def load_cifar10(data_dir: str | Path, train: bool) -> tuple[Tensor, Tensor]:
    """Images of ten classes: uint8 (N, 3, 32, 32) and int64 labels (N,), N = 50,000 to train or 10,000 to test.

    Labels: airplane 0, automobile 1, bird 2, cat 3, deer 4, dog 5, frog 6, horse 7, ship 8, truck 9. Read from
    `cifar-10-binary.tar.gz` in the folder `cifar10` of `data_dir`, or from its unpacked files there. They are not
    downloaded. Raises UserError if a file is missing (the message says where to get it) or damaged.
    """
    return _load(_CIFAR10, Path(data_dir).expanduser(), train)


def load_cifar100(data_dir: str | Path, train: bool) -> tuple[Tensor, Tensor]:
    """Images of a hundred classes, with their fine labels; otherwise as :func:`load_cifar10`.

    Read from `cifar-100-binary.tar.gz` in the folder `cifar100` of `data_dir`, or from its unpacked files.
    """
    return _load(_CIFAR100, Path(data_dir).expanduser(), train)


def _load(cifar: _Cifar, data_dir: Path, train: bool) -> tuple[Tensor, Tensor]:
    names = cifar.train if train else cifar.test
    parts = [_records(content, where, cifar) for where, content in _contents(cifar, data_dir, names)]
    records = torch.cat(parts)
    images = records[:, cifar.label_bytes :].reshape(-1, 3, 32, 32)
    return images, records[:, cifar.label_bytes - 1].long()


def _contents(cifar: _Cifar, data_dir: Path, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the name of each file for messages, and its bytes, in the order of `names`."""
    base = data_dir / cifar.folder
    for folder in (base / cifar.unpacked, base, data_dir / cifar.unpacked):
        if all((folder / name).is_file() for name in names):
            yield from ((str(folder / name), _bytes(folder / name)) for name in names)
            return
    archive = base / cifar.archive
    if not archive.is_file():
        raise UserError(
            f"data_dir={data_dir}: expected the files of {cifar.title}, got none. Get its binary version, "
            f"{cifar.archive}, from https://www.cs.toronto.edu/~kriz/cifar.html and put it, packed or "
            f"unpacked, into {base}."
        )
    yield from _archived(archive, [f"{cifar.unpacked}/{name}" for name in names])


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}.") from error


def _archived(archive: Path, names: Sequence[str]) -> list[tuple[str, bytes]]:
    found = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:  # one pass, since seeking back in a compressed file decompresses it again
                if member.name in names and (file := tar.extractfile(member)) is not None:
                    found[member.name] = file.read()
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise UserError(f"{archive} cannot be read: {error}. If it is damaged, download it again.") from error
    for name in names:
        if name not in found:
            raise UserError(f"{archive}: expected {name} of the binary version, got an archive without it")
    return [(f"{archive}: {name}", found[name]) for name in names]


def _records(content: bytes, where: str, cifar: _Cifar) -> Tensor:
    """Records (N, label bytes + 3072), uint8."""
    size = cifar.label_bytes + _PIXELS
    if not content or len(content) % size:
        raise UserError(f"{where}: expected records of {size} bytes, got {len(content)} bytes; it is damaged")
    records = torch.frombuffer(bytearray(content), dtype=torch.uint8).reshape(-1, size)
    if (label := int(records[:, cifar.label_bytes - 1].max())) >= cifar.n_classes:
        raise UserError(f"{where}: expected labels of {cifar.title} up to {cifar.n_classes - 1}, got {label}")
    return records
