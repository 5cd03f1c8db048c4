"""A scenario: a real Avalanche benchmark with the sizes a network needs, and the tensors behind its experiences."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from metaplast.data import TaskTensors
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
