"""Sequences of different data sets, one per task: MNIST and Fashion-MNIST, or a few images each of MNIST and USPS.

All tasks share one head of ten classes: label 3 is a 3 in MNIST and a dress in Fashion-MNIST.

Source: Laborieux et al. 2021 (arXiv 2101.07592), Fig. 4. For MNIST and USPS its published code takes 2,000 and 1,800
contiguous images from a random position on, for a convolutional network with binarized pixels.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from metaplast.config.targets import check_arguments
from metaplast.data import TaskTensors, load_fashion_mnist, load_mnist, load_usps, random_permutation
from metaplast.scenarios.base import Scenario

_LOADERS = {"mnist": load_mnist, "fashion_mnist": load_fashion_mnist}
_N_CLASSES = 10


def whole_datasets(order: Sequence[str], seed: int, data_dir: str | Path) -> Scenario:
    """One task per data set, in the given order: 60,000 training and 10,000 test images (1, 28, 28), pixels in [0, 1].

    `order` is a list of one or two different names of `mnist` and `fashion_mnist`. The data are read from `data_dir`,
    or downloaded to it. `seed` is not used, since nothing is random. Raises UserError for a wrong argument or for
    missing data.
    """
    check_arguments("metaplast.scenarios.whole_datasets", "scenario", order=order)
    train, test = ([TaskTensors(*_LOADERS[name](data_dir, train=part)) for name in order] for part in (True, False))
    return Scenario.from_tensors(train, test, n_classes=_N_CLASSES)


_MARGIN = 6
"""Background pixels added on each side of a USPS image, to the size of MNIST."""


def mnist_usps(
    order: Sequence[str], n_mnist: int, n_usps: int, binarize: bool, seed: int, data_dir: str | Path
) -> Scenario:
    """One task per data set: `n_mnist` or `n_usps` contiguous training images (1, 28, 28), and all of the test images.

    The first of them is a pure function of `seed`, an integer ≥ 0. `order` is a list of one or both of `mnist` and
    `usps`. With `binarize`, each pixel is replaced by its sign, 0 or 1; without, pixels are in [0, 1]. The data are
    read from `data_dir`; MNIST is downloaded if it is missing, USPS is not: see :func:`metaplast.data.load_usps`.
    Raises UserError for a wrong argument or for missing data.
    """
    settings = {"order": order, "n_mnist": n_mnist, "n_usps": n_usps, "binarize": binarize, "seed": seed}
    check_arguments("metaplast.scenarios.mnist_usps", "scenario", **settings)
    sizes = {"mnist": n_mnist, "usps": n_usps}
    train, test = ([_whole(name, data_dir, binarize, train) for name in order] for train in (True, False))
    train = [_contiguous(task, sizes[name], seed) for name, task in zip(order, train, strict=True)]
    return Scenario.from_tensors(train, test, n_classes=_N_CLASSES)


def _whole(name: str, data_dir: str | Path, binarize: bool, train: bool) -> TaskTensors:
    """All training or test images of a data set."""
    load = load_mnist if name == "mnist" else load_usps
    images, labels = load(data_dir, train=train)
    if name == "usps":
        images = F.pad(images, [_MARGIN] * 4)
    return TaskTensors(_signs(images) if binarize else images, labels)


def _contiguous(task: TaskTensors, n: int, seed: int) -> TaskTensors:
    """`n` images from a random position on, or all of them if there are fewer."""
    places = max(1, len(task) - n + 1)
    start = int(random_permutation(places, seed)[0])
    return TaskTensors(task.images[start : start + n], task.labels[start : start + n])


def _signs(images: Tensor) -> Tensor:
    """Signs of uint8 pixels, 0 or 1, as int8, which is not divided by 255."""
    return (images > 0).to(torch.int8)
