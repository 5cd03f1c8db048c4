"""One data set in parts: split by class, a few classes a task, or as a stream of random samples, with one test.

Split, class-incremental: one head for all classes and no task label. Split, task-incremental: the task label is given,
and the logits of other classes are masked in training and in testing; `Scenario.classes_of_task` lists the classes of
each task. Stream: all parts have the same distribution, and each is learned only once, so what is forgotten are past
samples, not past tasks; `n_parts=1` is the same data all at once.

Sources: split: Zenke et al. 2017 (arXiv 1703.04200); van de Ven and Tolias 2019 (arXiv 1904.07734) for the two kinds;
stream: Laborieux et al. 2021 (arXiv 2101.07592).
"""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from metaplast.config.arguments import check_arguments, check_divides
from metaplast.config.constraints import integer, problem
from metaplast.data import (
    Augmentation,
    TaskTensors,
    load_cifar10,
    load_digits,
    load_fashion_mnist,
    load_mnist,
    random_permutation,
    split_by_class,
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


def split_mnist(n_tasks: int, incremental: str, seed: int, data_dir: str | Path) -> Scenario:
    """MNIST's ten digits in `n_tasks` tasks of equally many digits, smallest first; images (1, 28, 28) in [0, 1].

    `n_tasks` is 1, 2, 5 or 10; `incremental` is `class` or `task`. MNIST is read from `data_dir`, or downloaded
    to it. `seed` is not used, since nothing is random. Raises UserError for a wrong argument or for missing data.
    """
    return _split(lambda train: load_mnist(data_dir, train), n_tasks, incremental)


def split_fashion_mnist(n_tasks: int, incremental: str, seed: int, data_dir: str | Path) -> Scenario:
    """Fashion-MNIST's ten classes, otherwise as :func:`split_mnist`."""
    return _split(lambda train: load_fashion_mnist(data_dir, train), n_tasks, incremental)


def split_digits(n_tasks: int, incremental: str, seed: int, data_dir: str | Path | None = None) -> Scenario:
    """The ten digits of scikit-learn, images (1, 8, 8), otherwise as :func:`split_mnist`; `data_dir` is not used."""
    return _split(load_digits, n_tasks, incremental)


def _split(load: Callable[[bool], tuple[Tensor, Tensor]], n_tasks: int, incremental: str) -> Scenario:
    check_arguments("metaplast.scenarios.split_mnist", "scenario", n_tasks=n_tasks, incremental=incremental)
    check_divides("scenario.n_tasks", n_tasks, _N_CLASSES)
    width = _N_CLASSES // n_tasks
    classes = tuple(tuple(range(first, first + width)) for first in range(0, _N_CLASSES, width))
    train, test = (split_by_class(TaskTensors(*load(part)), classes) for part in (True, False))
    return Scenario.from_tensors(
        train, test, n_classes=_N_CLASSES, classes_of_task=classes if incremental == "task" else None
    )
