"""Different data sets, each a task of its own: MNIST then Fashion-MNIST and the reverse.

All tasks share one head of ten classes: label 3 is a 3 in one task and a dress in the other.

Source: Laborieux et al. 2021 (arXiv 2101.07592), Fig. 4.

MNIST, then USPS: the same ten digits in two hands, few images of each.

Source: Laborieux et al. 2021 (arXiv 2101.07592), Fig. 4, and its published code: 2,000 contiguous images of MNIST and
1,800 of USPS, from a place drawn at random on, for a convolutional network that sees the sign of a pixel.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from metaplast.config.arguments import check_arguments
from metaplast.data import TaskTensors, load_fashion_mnist, load_mnist, load_usps, random_permutation
from metaplast.scenarios.base import Scenario

_LOADERS = {"mnist": load_mnist, "fashion_mnist": load_fashion_mnist}
_N_CLASSES = 10


def whole_datasets(order: Sequence[str], seed: int, data_dir: str | Path) -> Scenario:
    """One task a data set, in the order given: 60,000 training and 10,000 test images (1, 28, 28), pixels in [0, 1].

    `order` is a list of one or two different names of `mnist` and `fashion_mnist`. The data are read from `data_dir`,
    into which they are fetched if they are not there. Nothing is drawn at random: `seed` is not used. Raises UserError
    for a wrong argument and for data that cannot be had.
    """
    check_arguments("metaplast.scenarios.whole_datasets", "scenario", order=order)
    train, test = ([TaskTensors(*_LOADERS[name](data_dir, train=part)) for name in order] for part in (True, False))
    return Scenario.from_tensors(train, test, n_classes=_N_CLASSES)


_MARGIN = 6
"""Background around an image of USPS, which makes it as large as one of MNIST."""


def mnist_usps(
    order: Sequence[str], n_mnist: int, n_usps: int, binarize: bool, seed: int, data_dir: str | Path
) -> Scenario:
    """One task a data set: `n_mnist` or `n_usps` contiguous training images (1, 28, 28), and all of the test images.

    Where they begin is a pure function of `seed`, an integer ≥ 0. `order` is a list of one or both of `mnist` and
    `usps`. With `binarize`, pixels are 1 where there is any ink and else 0, which is their sign; without, they are in
    [0, 1]. The data are read from `data_dir`; MNIST is fetched if it is not there, USPS is not: see
    :func:`metaplast.data.load_usps`. Raises UserError for a wrong argument and for data that cannot be had.
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
    """`n` images from a random place on, or all of them where there are fewer."""
    places = max(1, len(task) - n + 1)
    start = int(random_permutation(places, seed)[0])
    return TaskTensors(task.images[start : start + n], task.labels[start : start + n])


def _signs(images: Tensor) -> Tensor:
    """Signs of uint8 pixels: 1 where there is any ink, else 0; as int8, which a task takes as it is."""
    return (images > 0).to(torch.int8)
