"""CIFAR-10 and CIFAR-100 as features of a ResNet-18, their classes split into tasks with a common head.

Source: Laborieux et al. 2021 (arXiv 2101.07592), Fig. 4: 512 features, normalized row by row, then binarized
by their signs (on which the divisor of the normalization has no effect).
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from metaplast.config.arguments import check_arguments, check_divides
from metaplast.config.constraints import shown
from metaplast.data import TaskTensors, normalize_rows, read_features, split_by_class
from metaplast.errors import UserError
from metaplast.scenarios.base import Scenario

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
