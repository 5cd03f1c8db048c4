"""A scenario: an Avalanche benchmark with the sizes a network needs and the tensors of its experiences.

Two functions derive another scenario: :func:`first_tasks` shortens it, and :func:`hold_out` replaces the test data by
validation data, a part of each task's training data. A search chooses by the latter, so that test data stay unseen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from metaplast.data import TaskTensors, random_permutation
from metaplast.errors import UserError


@dataclass(frozen=True)
class Scenario:
    """An Avalanche benchmark with the sizes that a network for it needs."""

    benchmark: Any
    """Avalanche `CLScenario` with a `train_stream` and a `test_stream` of as many experiences, or of a single one."""
    input_shape: tuple[int, int, int]
    """Shape (C, H, W) of an image."""
    n_classes: int
    classes_of_task: Sequence[Sequence[int]] | None = None
    """Classes allowed in each task in task-incremental learning, where the task label is given; None: all classes."""

    @property
    def n_tasks(self) -> int:
        """Number of experiences in the train stream."""
        return len(self.benchmark.train_stream)

    @property
    def n_tests(self) -> int:
        """Number of test sets: one per task, or one in total in stream learning."""
        return len(self.benchmark.test_stream)

    @property
    def in_parts(self) -> bool:
        """Whether the tasks are parts of one data set with a single test (stream learning)."""
        return self.n_tests < self.n_tasks

    @classmethod
    def from_tensors(
        cls,
        train: Sequence[Task],
        test: Sequence[Task],
        n_classes: int,
        classes_of_task: Sequence[Sequence[int]] | None = None,
    ) -> Scenario:
        """The scenario whose task i is trained on `train[i]` and tested on `test[i]`; all task labels are 0.

        Avalanche sees each task as a dataset of (image, label, task label), made sample by sample when asked for;
        :func:`task_tensors` gives the tensors themselves.

        Args:
            train: the tasks, at least one: :class:`~metaplast.data.TaskTensors`, or pairs of images (N, C, H, W),
                (N, H, W) or (N, D) and labels (N,), each a tensor, a NumPy array or a list. uint8 pixels are divided
                by 255; others are taken as they are.
            test: as many, or a single one for tasks that are parts of one.
            n_classes: K; labels are integers from 0 to K − 1.
            classes_of_task: the classes of each task, where the task is told.

        Raises:
            UserError: for data that do not fit, naming task, set and value.

        >>> pixels = [[[0.0, 1.0], [0.5, 0.0]]] * 3
        >>> Scenario.from_tensors([(pixels, [1, 2, 3])], [(pixels, [0, 1, 2])], n_classes=3)
        Traceback (most recent call last):
        metaplast.errors.UserError: task 0 (train): expected labels from 0 to 2 (n_classes=3), got 3
        """
        train, test = _checked(train, test, n_classes, classes_of_task)
        # imported here since it takes seconds, which a wrong argument should not cost
        from avalanche.benchmarks import benchmark_from_datasets, with_classes_timeline, with_task_labels
        from avalanche.benchmarks.utils import DataAttribute

        # Avalanche keeps labels as lists; tasks that share their labels share the list
        shared = {id(task.labels): task.labels for task in (*train, *test)}
        targets = {key: DataAttribute(labels.tolist(), "targets") for key, labels in shared.items()}
        datasets = {
            stream: [_avalanche_dataset(task, targets[id(task.labels)]) for task in tasks]
            for stream, tasks in (("train", train), ("test", test))
        }
        benchmark = with_classes_timeline(with_task_labels(benchmark_from_datasets(**datasets)))
        for stream, tasks in ((benchmark.train_stream, train), (benchmark.test_stream, test)):
            for experience, tensors in zip(stream, tasks, strict=True):
                experience.tensors = tensors
        return cls(benchmark, train[0].shape, n_classes, classes_of_task)


Task = TaskTensors | tuple[Any, Any]
"""The data of a task: tensors, or images and labels that can be made into tensors."""


def _checked(
    train: Sequence[Task], test: Sequence[Task], n_classes: int, classes_of_task: Sequence[Sequence[int]] | None
) -> tuple[list[TaskTensors], list[TaskTensors]]:
    """Both sets as tensors; what needs no conversion is returned as it is."""
    if not isinstance(n_classes, int) or n_classes < 1:
        raise UserError(f"n_classes={n_classes}: expected an integer >= 1")
    if not len(train):
        raise UserError("train: expected at least 1 task, got none")
    if len(test) not in (1, len(train)):
        raise UserError(f"test: expected {len(train)} tests, one per task, or a single one, got {len(test)}")
    if classes_of_task is not None and len(classes_of_task) != len(train):
        raise UserError(f"classes_of_task: expected {len(train)} lists of classes, got {len(classes_of_task)}")
    sound: dict[int, Tensor] = {}  # tensors that tasks share are looked at once
    tasks: dict[str, list[TaskTensors]] = {"train": [], "test": []}
    for name, given in (("train", train), ("test", test)):
        for number, task in enumerate(given):
            where = f"task {number} ({name})"
            tensors = _as_tensors(task, where)
            first = (tasks["train"] or [tensors])[0]
            if tensors.shape != first.shape:
                raise UserError(f"{where}: expected images of shape {first.shape}, as in task 0, got {tensors.shape}")
            _check_values(tensors, n_classes, where, sound)
            if classes_of_task is not None and len(test) == len(train):
                _check_classes(tensors.labels, classes_of_task, where)
            tasks[name].append(tensors)
    return tasks["train"], tasks["test"]


def _as_tensors(task: Task, where: str) -> TaskTensors:
    if isinstance(task, TaskTensors):
        return task if task.labels.dtype == torch.int64 else replace(task, labels=_integers(task.labels, where))
    try:
        images, labels = task
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: expected TaskTensors or images and labels, got {type(task).__name__}") from error
    images, labels = _as_tensor(images, "images", where), _as_tensor(labels, "labels", where)
    if not 2 <= images.ndim <= 4:
        shape = tuple(images.shape)
        raise UserError(f"{where}: expected images of shape (N, C, H, W), (N, H, W) or (N, D), got {shape}")
    if labels.shape != images.shape[:1]:
        raise UserError(f"{where}: expected labels of shape {(len(images),)}, got {tuple(labels.shape)}")
    pixels = images.shape[1:]
    return TaskTensors(images.reshape(len(images), *[1] * (3 - len(pixels)), *pixels), _integers(labels, where))


def _as_tensor(values: Any, what: str, where: str) -> Tensor:
    if isinstance(values, (list, tuple)) and len(values) and isinstance(values[0], Tensor):
        values = torch.stack(list(values)) if len({value.shape for value in values}) == 1 else [[0], []]
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{where}: expected {what} of one shape, as numbers, got {type(values).__name__}") from error


def _integers(labels: Tensor, where: str) -> Tensor:
    if len(labels) and (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool):
        raise UserError(f"{where}: expected integer labels, got {labels[0].item()} ({labels.dtype})")
    return labels.long()


def _check_values(tensors: TaskTensors, n_classes: int, where: str, sound: dict[int, Tensor]) -> None:
    images, labels = tensors.images, tensors.labels
    if not len(labels):
        raise UserError(f"{where}: expected at least 1 image, got none")
    if id(labels) not in sound:
        for label in (int(labels.min()), int(labels.max())):
            if not 0 <= label < n_classes:
                raise UserError(
                    f"{where}: expected labels from 0 to {n_classes - 1} (n_classes={n_classes}), got {label}"
                )
    if images.is_floating_point() and id(images) not in sound:
        finite = images.isfinite()
        if not finite.all():
            raise UserError(f"{where}: expected finite pixels, got {images[~finite][0].item()}")
    sound.update({id(labels): labels, id(images): images})


def _check_classes(labels: Tensor, classes_of_task: Sequence[Sequence[int]], where: str) -> None:
    odd = set(labels.tolist()).difference(*classes_of_task)
    if odd:
        raise UserError(f"{where}: expected labels of a class in classes_of_task, got {min(odd)}")


def task_tensors(experience: Any) -> TaskTensors:
    """Tensors of an Avalanche experience.

    Those of a :class:`Scenario` are returned without a copy. The dataset of any other experience is read once, with its
    transforms, and cached in the experience's attribute `tensors`; images of fewer than three dimensions get leading
    dimensions of size 1. Raises UserError if the samples are not image tensors of one shape with integer labels.
    """
    if not hasattr(experience, "tensors"):
        experience.tensors = _read(experience.dataset)
    tensors: TaskTensors = experience.tensors
    return tensors


class _Samples(Dataset[tuple[Tensor, int]]):
    """The samples of a task, one by one, for Avalanche."""

    def __init__(self, tensors: TaskTensors) -> None:
        self._tensors = tensors

    def __len__(self) -> int:
        return len(self._tensors)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        images, labels = self._tensors.batch(slice(index, index + 1))
        return images[0], int(labels[0])


def _avalanche_dataset(tensors: TaskTensors, targets: Any) -> Any:
    from avalanche.benchmarks.utils import ConstantSequence, TaskAwareSupervisedClassificationDataset, TaskLabels

    task_labels = TaskLabels(ConstantSequence(0, len(tensors)))
    return TaskAwareSupervisedClassificationDataset([_Samples(tensors)], data_attributes=[targets, task_labels])


def _read(dataset: Any) -> TaskTensors:
    try:
        samples = [dataset[index] for index in range(len(dataset))]
        images = torch.stack([sample[0] for sample in samples])
        labels = torch.tensor([int(sample[1]) for sample in samples])
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"experience: expected image tensors of one shape with integer labels, got {error}") from error
    shape = images.shape[1:]
    if not 1 <= len(shape) <= 3:
        raise UserError(f"experience: expected images of 1 to 3 dimensions, got the shape {tuple(shape)}")
    return TaskTensors(images.reshape(len(images), *[1] * (3 - len(shape)), *shape), labels)


def first_tasks(scenario: Scenario, n_tasks: int) -> Scenario:
    """The first `n_tasks` ≥ 1 tasks of a scenario, unchanged. Raises UserError if it has fewer.

    A single test of all tasks is kept whole.
    """
    if n_tasks > scenario.n_tasks:
        raise UserError(f"max_tasks={n_tasks}: has to be at most {scenario.n_tasks}, the tasks of the scenario")
    train, test = (
        [task_tensors(experience) for experience in stream][:n_tasks]
        for stream in (scenario.benchmark.train_stream, scenario.benchmark.test_stream)
    )
    classes = scenario.classes_of_task and scenario.classes_of_task[:n_tasks]
    return Scenario.from_tensors(train, test, scenario.n_classes, classes)


_DRAW = 2**32 - 1
"""Distinguishes this draw from the others derived from a seed: no task has this number."""


def hold_out(scenario: Scenario, share: float, seed: int) -> Scenario:
    """The same tasks, tested on a part of their training data and trained on the rest; the test data are dropped.

    Of each class of a task a fraction `share`, in (0, 1), of its images is held out, rounded to the nearest number, but
    at least one and never all (none of a single image). Which ones is a pure function of `seed` ≥ 0 and the task's
    labels: permuted tasks hold out the same images, so that no task trains on them. A single test of all tasks stays a
    single one. Raises UserError if a task would have no image left to train or test on.
    """
    masks: dict[int, Tensor] = {}
    parts: dict[tuple[int, int, bool], Tensor] = {}

    def part(tensors: TaskTensors, held: bool) -> TaskTensors:
        """The held-out part or the rest; shared tensors are split once and stay shared."""
        mask = masks[id(tensors.labels)]
        for tensor in (tensors.images, tensors.labels):
            key = (id(tensor), id(tensors.labels), held)
            if key not in parts:
                parts[key] = tensor[mask if held else ~mask]
        images, labels = (parts[id(t), id(tensors.labels), held] for t in (tensors.images, tensors.labels))
        return replace(tensors, images=images, labels=labels)

    tasks = [task_tensors(experience) for experience in scenario.benchmark.train_stream]
    for task, tensors in enumerate(tasks):
        if id(tensors.labels) not in masks:
            masks[id(tensors.labels)] = held_out(tensors.labels, share, seed)
        mask = masks[id(tensors.labels)]
        if not mask.any() or mask.all():
            raise UserError(f"val_fraction={share}: task {task}, of {len(mask)} images, cannot be split by it")
    train, held = ([part(tensors, held) for tensors in tasks] for held in (False, True))
    if len(scenario.benchmark.test_stream) < len(tasks):
        held = [_concatenated(held)]
    return Scenario.from_tensors(train, held, scenario.n_classes, scenario.classes_of_task)


def held_out(labels: Tensor, share: float, seed: int) -> Tensor:
    """Which of the images with `labels`, int64 (N,), are held out, as booleans (N,).

    >>> held_out(torch.tensor([0, 0, 0, 0, 1, 1]), share=0.25, seed=0).tolist()
    [False, True, False, False, False, True]
    """
    order = random_permutation(len(labels), seed, _DRAW)
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in set(labels.tolist()):
        members = order[labels[order] == label]
        held[members[: _size(len(members), share)]] = True
    return held


def _size(n: int, share: float) -> int:
    """How many of `n` images of a class are held out."""
    return min(max(math.floor(share * n + 0.5), 1), n - 1)


def _concatenated(parts: Sequence[TaskTensors]) -> TaskTensors:
    """All parts as one task; the parts of one data set have the same permutation."""
    return replace(parts[0], images=torch.cat([p.images for p in parts]), labels=torch.cat([p.labels for p in parts]))
