"""Stream learning: one data set, learned part by part, each part only once, with one test.

The parts are random samples of the data, so all have the same distribution: what is forgotten are past samples, not
past tasks. `n_parts=1` is the same data all at once.

Source: Laborieux et al. 2021 (arXiv 2101.07592), stream learning.
"""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from metaplast.config.arguments import check_arguments
from metaplast.config.constraints import integer, problem
from metaplast.data import (
    Augmentation,
    TaskTensors,
    load_cifar10,
    load_digits,
    load_fashion_mnist,
    random_permutation,
)
from metaplast.errors import UserError
from metaplast.scenarios.base import Scenario

_N_CLASSES = 10


def fashion_mnist_stream(n_parts: int, seed: int, data_dir: str | Path) -> Scenario:
    """Fashion-MNIST's 60,000 training images (1, 28, 28) in `n_parts` parts, tested on its 10,000 test images.

    The sizes of the parts differ by at most one; their assignment is a pure function of `seed`, an integer ≥ 0. The
    data are read from `data_dir`, or downloaded to it. Raises UserError for a wrong argument or for missing data.
    """
    return _stream(lambda train: load_fashion_mnist(data_dir, train), n_parts, seed)


def cifar10_stream(n_parts: int, augment: Augmentation, seed: int, data_dir: str | Path) -> Scenario:
    """CIFAR-10's 50,000 training images (3, 32, 32) in `n_parts` parts, tested on its 10,000 test images.

    `augment` is the random augmentation of training images, see :data:`metaplast.data.Augmentation`. Otherwise as
    :func:`fashion_mnist_stream`, but the data are not downloaded: see :func:`metaplast.data.load_cifar10`.
    """
    check_arguments("metaplast.scenarios.cifar10_stream", "scenario", augment=augment)
    return _stream(lambda train: load_cifar10(data_dir, train), n_parts, seed, augment)


def digits_stream(n_parts: int, seed: int, data_dir: str | Path | None = None) -> Scenario:
    """The 1,442 training images (1, 8, 8) of scikit-learn's digits in `n_parts` parts, tested on its 355 test images.

    Otherwise as :func:`fashion_mnist_stream`; `data_dir` is not used, since the images come with scikit-learn.
    """
    return _stream(load_digits, n_parts, seed)


def _stream(
    load: Callable[[bool], tuple[Tensor, Tensor]], n_parts: int, seed: int, augment: Augmentation = "none"
) -> Scenario:
    check_arguments("metaplast.scenarios.digits_stream", "scenario", n_parts=n_parts, seed=seed)
    images, labels = load(True)
    at_most = integer(1, len(labels))
    if not at_most.is_valid(n_parts):
        raise UserError(problem("scenario.n_parts", n_parts, at_most))
    order = random_permutation(len(labels), seed)
    parts = zip(images[order].tensor_split(n_parts), labels[order].tensor_split(n_parts), strict=True)
    train = [TaskTensors(*part, augmentation=augment) for part in parts]
    return Scenario.from_tensors(train, [TaskTensors(*load(False))], n_classes=_N_CLASSES)
