"""One data set in parts, one part per task: a few of its classes, or a random sample.

Split by class. Class-incremental: one head for all classes and no task label. Task-incremental: the task label is
given, and the logits of other classes are masked in training and in testing; `Scenario.classes_of_task` lists the
classes of each task. CIFAR-10 and CIFAR-100 as features of a ResNet-18 have a common head: 512 features, normalized row
by row, then binarized by their signs (on which the divisor of the normalization has no effect).

Streams. Each part is learned only once, and all share one test. The parts are random samples of the data, so all have
the same distribution: what is forgotten are past samples, not past tasks. `n_parts=1` is the same data all at once.

Sources: Zenke et al. 2017 (arXiv 1703.04200); van de Ven and Tolias 2019 (arXiv 1904.07734) for the two kinds of
splits; Laborieux et al. 2021 (arXiv 2101.07592) for streams and, in Fig. 4, for features.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from metaplast.config.constraints import integer, problem, shown
from metaplast.config.targets import check_arguments, check_divides
from metaplast.data import (
    Augmentation,
    TaskTensors,
    load_cifar10,
    load_digits,
    load_fashion_mnist,
    load_mnist,
    normalize_rows,
    random_permutation,
    read_features,
    split_by_class,
)
from metaplast.errors import UserError
from metaplast.scenarios.base import Scenario

_N_CLASSES = 10


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


VEHICLES_AND_ANIMALS = ((0, 1, 8, 9), (2, 3, 4, 5, 6, 7))
"""CIFAR-10's vehicles (airplane, automobile, ship, truck), then its animals."""

_CHUNK = 50_000
"""Rows normalized at a time: 100 MB of floats; all rows of ten augmented passes would be several GB."""


def cifar10_features(
    scale: str,
    binarize: bool,
    seed: int,
    data_dir: str | Path,
    classes: Sequence[Sequence[int]] = VEHICLES_AND_ANIMALS,
    file: str = "cifar10_features.npz",
) -> Scenario:
    """CIFAR-10's features (512, 1, 1), one task for each list of classes; by default vehicles and animals.

    `classes` are lists of different labels from 0 to 9 (:func:`metaplast.data.load_cifar10` names them); those of the
    reference, whose vehicles contain the horse, are [[0, 1, 7, 8, 9], [2, 3, 4, 5, 6]]. `scale` is what each row is
    divided by: `std`, `variance` (the reference's) or `none`. With `binarize`, a feature is +1 if it is at least the
    mean of its row, else -1. The features are read from `file`, relative to `data_dir`. `seed` is not used, since
    nothing is random. Raises UserError for a wrong argument or for a missing or wrong file.
    """
    check_arguments("metaplast.scenarios.cifar10_features", "scenario", classes=classes)
    labels = [label for part in classes for label in part]
    if len({*labels}) < len(labels):
        raise UserError(f"scenario.classes={shown(_lists(classes))}: expected each class in one task, got one twice")
    return _features(Path(data_dir).expanduser() / file, classes, 10, scale, binarize)


def cifar100_features(
    n_tasks: int, scale: str, binarize: bool, seed: int, data_dir: str | Path, file: str = "cifar100_features.npz"
) -> Scenario:
    """CIFAR-100's features (512, 1, 1), its classes in `n_tasks` tasks of equal size, in the order of their labels.

    `n_tasks` divides 100; otherwise as :func:`cifar10_features`.
    """
    check_arguments("metaplast.scenarios.cifar100_features", "scenario", n_tasks=n_tasks)
    check_divides("scenario.n_tasks", n_tasks, 100)
    width = 100 // n_tasks
    classes = [range(first, first + width) for first in range(0, 100, width)]
    return _features(Path(data_dir).expanduser() / file, classes, 100, scale, binarize)


def _features(path: Path, classes: Sequence[Sequence[int]], n_classes: int, scale: str, binarize: bool) -> Scenario:
    check_arguments("metaplast.scenarios.cifar100_features", "scenario", scale=scale, binarize=binarize)
    train, test = (
        split_by_class(_rows(*read_features(path, part, n_classes), scale, binarize), classes) for part in (True, False)
    )
    return Scenario.from_tensors(train, test, n_classes=n_classes)


def _rows(features: Tensor, labels: Tensor, scale: str, binarize: bool) -> TaskTensors:
    chunks = (normalize_rows(chunk, scale) for chunk in torch.split(features, _CHUNK))
    rows = torch.cat([_signs(chunk) if binarize else chunk for chunk in chunks])
    return TaskTensors(rows[:, :, None, None], labels)


def _signs(rows: Tensor) -> Tensor:
    """±1, +1 at 0, as int8: a quarter of the memory of floats."""
    return (rows >= 0).to(torch.int8) * 2 - 1


def _lists(classes: Sequence[Sequence[int]]) -> list[list[int]]:
    return [list(part) for part in classes]
