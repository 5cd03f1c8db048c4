"""Stream learning: one data set, seen part after part, each part only once, and tested as a whole.

The parts are drawn without regard to class, so that all are of one distribution: what is lost is not the past task but
the past samples. There is one test, since there is one task; `n_parts=1` is the same data all at once.

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

    The sizes of the parts differ by one at most; which images are in which is a pure function of `seed`, an integer
    ≥ 0. The data are read from `data_dir`, into which they are fetched if they are not there. Raises UserError for a
    wrong argument and for data that cannot be had.
    """
    return _stream(lambda train: load_fashion_mnist(data_dir, train), n_parts, seed)


def cifar10_stream(n_parts: int, augment: Augmentation, seed: int, data_dir: str | Path) -> Scenario:
    """CIFAR-10's 50,000 training images (3, 32, 32) in `n_parts` parts, tested on its 10,000 test images.

    `augment` is what is done to training images at random, anew in every epoch; :data:`metaplast.data.Augmentation`
    says what. Otherwise as :func:`fashion_mnist_stream`, but the data are not fetched: see
    :func:`metaplast.data.load_cifar10`.
    """
    check_arguments("metaplast.scenarios.cifar10_stream", "scenario", augment=augment)
    return _stream(lambda train: load_cifar10(data_dir, train), n_parts, seed, augment)


def digits_stream(n_parts: int, seed: int, data_dir: str | Path | None = None) -> Scenario:
    """The 1,442 training images (1, 8, 8) of scikit-learn's digits in `n_parts` parts, tested on its 355 test images.

    Otherwise as :func:`fashion_mnist_stream`; `data_dir` is not used, since scikit-learn carries the images.
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
