"""MNIST, then USPS: the same ten digits in two hands, few images of each.

Source: Laborieux et al. 2021 (arXiv 2101.07592), Fig. 4: 2,000 contiguous images of MNIST and 1,800 of USPS, for a
convolutional network. That the test sets are the whole ones, and where the pixels are cut, is ours.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from metaplast.data import TaskTensors, load_mnist, load_usps
from metaplast.scenarios.arguments import check_order, check_true_or_false, check_whole
from metaplast.scenarios.scenario import Scenario

_N_CLASSES = 10
_MARGIN = 6
"""Background around an image of USPS, which makes it as large as one of MNIST."""


def mnist_usps(
    order: Sequence[str], n_mnist: int, n_usps: int, binarize: bool, seed: int, data_dir: str | Path
) -> Scenario:
    """One task a data set: the first `n_mnist` or `n_usps` training images (1, 28, 28), and all of the test images.

    `order` is a list of one or both of `mnist` and `usps`. With `binarize`, pixels are +1 where there is more than half
    of the ink and else -1; without, they are in [0, 1]. The data are read from `data_dir`; MNIST is fetched if it is
    not there, USPS is not: see :func:`metaplast.data.load_usps`. Nothing is drawn at random: `seed` is not used. Raises
    UserError for a wrong argument and for data that cannot be had.
    """
    check_order("scenario.order", order, ["mnist", "usps"])
    check_whole("scenario.n_mnist", n_mnist, least=1, most=60_000)
    check_whole("scenario.n_usps", n_usps, least=1, most=7_291)
    check_true_or_false("scenario.binarize", binarize)
    sizes = {"mnist": n_mnist, "usps": n_usps}
    train = [_task(name, data_dir, binarize, sizes[name]) for name in order]
    test = [_task(name, data_dir, binarize) for name in order]
    return Scenario.from_tensors(train, test, n_classes=_N_CLASSES)


def _task(name: str, data_dir: str | Path, binarize: bool, n_train: int | None = None) -> TaskTensors:
    """The first `n_train` training images of a data set, or (None) its test images."""
    load = load_mnist if name == "mnist" else load_usps
    images, labels = load(data_dir, train=n_train is not None)
    images, labels = images[:n_train], labels[:n_train]
    if name == "usps":
        images = F.pad(images, [_MARGIN] * 4)
    return TaskTensors(_signs(images) if binarize else images, labels)


def _signs(images: Tensor) -> Tensor:
    """+1 where a uint8 pixel is 128 or more, else -1; as int8, which a task takes as it is."""
    return (images >= 128).to(torch.int8) * 2 - 1
