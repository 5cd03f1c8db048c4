"""A scenario: a real Avalanche benchmark with the sizes a network needs, and the tensors behind its experiences.

The beginning of a stream.

Validation data: a part of each task's training data that is tested on in place of the test data.

Whatever chooses by a score (a search, early pruning) looks at this one, so that the test data stay unseen.
"""

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
    """Classes that may be answered in each task, where the task is told (task-incremental); None: any, in all tasks."""

    @property
    def n_tasks(self) -> int:
        """Number of experiences in the train stream."""
        return len(self.benchmark.train_stream)

    @property
    def n_tests(self) -> int:
        """Number of test sets: one a task, or a single one where the tasks are parts of one, as in a stream."""
        return len(self.benchmark.test_stream)

    @property
    def in_parts(self) -> bool:
        """Whether the tasks are parts of one, with a single test."""
        return self.n_tests < self.n_tasks

    @classmethod
    def from_tensors(
        cls,
        train: Sequence[TaskTensors],
        test: Sequence[TaskTensors],
        n_classes: int,
        classes_of_task: Sequence[Sequence[int]] | None = None,
    ) -> "Scenario":
        """The scenario whose task i is trained on `train[i]` and tested on `test[i]`; all task labels are 0.

        A single test may stand for all tasks, where they are parts of one. Raises ValueError for any other number.

        Avalanche sees each task as a dataset of (image, label, task label), made sample by sample when asked for;
        :func:`task_tensors` gives the tensors themselves.
        """
        if len(test) not in (1, len(train)):
            raise ValueError(f"{len(train)} tasks need as many tests, or a single one, not {len(test)}")
        # imported here since it takes 15 s, which a wrong argument should not cost
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


def task_tensors(experience: Any) -> TaskTensors:
    """Tensors of an Avalanche experience.

    Those that a :class:`Scenario` was made from are returned as they are, without a copy. The dataset of any other
    experience is read once, as its transforms give it at that time, and kept in the experience's attribute `tensors`;
    images with fewer than three dimensions are given leading ones of size 1. Raises UserError if the samples are not
    image tensors of one shape with integer labels.
    """
    if not hasattr(experience, "tensors"):
        experience.tensors = _read(experience.dataset)
    tensors: TaskTensors = experience.tensors
    return tensors


class _Samples(Dataset[tuple[Tensor, int]]):
    """The samples of a task one by one, as Avalanche reads them."""

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
        raise UserError(
            f"an experience's samples have to be image tensors of one shape with integer labels: {error}"
        ) from error
    shape = images.shape[1:]
    if not 1 <= len(shape) <= 3:
        raise UserError(f"an experience's images have to have 1 to 3 dimensions, not the shape {tuple(shape)}")
    return TaskTensors(images.reshape(len(images), *[1] * (3 - len(shape)), *shape), labels)


def first_tasks(scenario: Scenario, n_tasks: int) -> Scenario:
    """The first `n_tasks` ≥ 1 tasks of a scenario, each as it is there. Raises UserError if it has fewer.

    A test that stands for all tasks stays whole.
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
"""Tells this draw from the others that follow from a seed: there is no such task."""


def hold_out(scenario: Scenario, share: float, seed: int) -> Scenario:
    """The same tasks, tested on a part of their training data and trained on the rest; no test data are in it.

    Of each class of a task `share` of its images, in (0, 1), is held out, to the nearest number, but never none and
    never all of them (of a single image: none). Which ones is a pure function of `seed` ≥ 0 and the task's labels:
    tasks that show the same images in another order hold out the same ones, so that these are never trained on.
    Where one test stands for all tasks, so does one of all parts. Raises UserError where a task would have no image
    left to train on or to test on.
    """
    masks: dict[int, Tensor] = {}
    parts: dict[tuple[int, int, bool], Tensor] = {}

    def part(tensors: TaskTensors, held: bool) -> TaskTensors:
        """One of both parts; tensors that tasks share are cut once, and stay shared."""
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
        held = [_together(held)]
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


def _together(parts: Sequence[TaskTensors]) -> TaskTensors:
    """All parts as one; parts of one data set see its pixels alike."""
    return replace(parts[0], images=torch.cat([p.images for p in parts]), labels=torch.cat([p.labels for p in parts]))
