"""The data module of a stream: the task of an epoch and its batches for training, test sets for validation.

What changes with the task follows from the epoch counter, and the order of an epoch's batches is a pure function of
seed, task and epoch, so a resumed run sees the same batches.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from metaplast.config.schema import EVAL_TASKS
from metaplast.data import TaskTensors, augment, augmentation_noise, batch_slices, random_permutation
from metaplast.errors import UserError
from metaplast.nn import TaskCrossEntropy
from metaplast.scenarios import Scenario, task_tensors


@dataclass(frozen=True)
class Schedule:
    """`n_tasks` tasks of `epochs_per_task` epochs, one after the other, or all of them at once (`joint`).

    Epochs and tasks count from 0. A joint stream has one stretch of `epochs_per_task` epochs over the data of all
    tasks; it is reported as the last task, since all tasks have been trained when it ends.

    >>> schedule = Schedule(n_tasks=3, epochs_per_task=2)
    >>> [schedule.task(epoch) for epoch in range(schedule.total_epochs)]
    [0, 0, 1, 1, 2, 2]
    >>> [epoch for epoch in range(6) if schedule.ends_task(epoch)]
    [1, 3, 5]
    """

    n_tasks: int
    epochs_per_task: int
    joint: bool = False

    @property
    def total_epochs(self) -> int:
        """Epochs of the whole stream."""
        return self.epochs_per_task * (1 if self.joint else self.n_tasks)

    def task(self, epoch: int) -> int:
        """The task that `epoch` trains."""
        return self.n_tasks - 1 if self.joint else epoch // self.epochs_per_task

    def epoch_in_task(self, epoch: int) -> int:
        """The number of `epoch` within its task, from 0."""
        return epoch % self.epochs_per_task

    def starts_task(self, epoch: int) -> bool:
        """Whether a task begins with `epoch`."""
        return self.epoch_in_task(epoch) == 0

    def ends_task(self, epoch: int) -> bool:
        """Whether `epoch` is the last of its task."""
        return self.epoch_in_task(epoch) == self.epochs_per_task - 1


Batch = tuple[Tensor, Tensor]
"""Images (N, C, H, W) in [0, 1] and labels (N,)."""


class Batches(NamedTuple):
    """Several batches, on each of which a step is taken: rows of images, which of them, and how many to a batch."""

    images: Tensor
    """(N, P), uint8 from 0 to 255 or float32."""
    order: Tensor
    """Indices (n,) into the images; second, so that `len(batch[1])` is the number of images of any batch."""
    labels: Tensor
    """(N,), int64."""
    sizes: list[int]
    """Images of each batch, n in all."""


_EVALUATION = 2**32 - 2
"""Separates the choice of test sets from the other random orders that follow from a seed: no epoch has this number."""


def epoch_order(n: int, seed: int, task: int, epoch: int) -> Tensor:
    """The order (n,) in which the samples of an epoch are seen.

    >>> torch.equal(epoch_order(9, seed=0, task=1, epoch=2), epoch_order(9, seed=0, task=1, epoch=2))
    True
    """
    # torch's own generator uses only 32 bits of a seed, too few to keep all of these apart.
    return random_permutation(n, seed, task, epoch)


class EpochBatches:
    """Shuffled batches of one epoch over one task, or over several mixed.

    Re-iterable, with a length. `state_dict` holds the number of batches yielded, from which a resumed epoch continues.
    The last batch differs in size where `batch_size` does not divide the data.

    Args:
        tasks: the tasks of the epoch; every image is seen once.
        batch_size: images per batch.
        order: (total number of images,) indices into the concatenated tasks.
        augmentation_noise: (total number of images, 5), from :func:`metaplast.data.augmentation_noise`; applied to
            tasks with an augmentation. None leaves all images as they are.
    """

    def __init__(
        self, tasks: Sequence[TaskTensors], batch_size: int, order: Tensor, augmentation_noise: Tensor | None = None
    ) -> None:
        self.tasks, self.order, self.augmentation_noise = tasks, order, augmentation_noise
        self.slices = batch_slices(len(order), batch_size)
        self.batches_yielded = 0
        """Batches of the current pass that have been yielded."""

    def __len__(self) -> int:
        return len(self.slices)

    def __iter__(self) -> Iterator[Batch]:
        # A pass that was abandoned after its last batch counts as complete.
        first, self.batches_yielded = self.batches_yielded % len(self), 0
        for i in range(first, len(self)):
            self.batches_yielded = i + 1
            yield self._batch(self.order[self.slices[i]])
        self.batches_yielded = 0

    def _batch(self, indices: Tensor) -> Batch:
        if len(self.tasks) == 1:
            return self._part(self.tasks[0], indices, 0)
        parts, start = [], 0
        for task in self.tasks:
            inside = (indices >= start) & (indices < start + len(task))
            parts.append(self._part(task, indices[inside], start))
            start += len(task)
        return torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts])

    def several(self, first: int, last: int) -> Batches:
        """The batches from number `first` to before `last` as one; read from the task itself, if nothing alters it."""
        sizes = [part.stop - part.start for part in self.slices[first:last]]
        task = self.tasks[0]
        unaltered = len(self.tasks) == 1 and task.permutation is None and self.augmentation_noise is None
        if unaltered and task.images.dtype in (torch.uint8, torch.float32):
            order = self.order[self.slices[first].start : self.slices[last - 1].stop]
            return Batches(task.images.flatten(1).contiguous(), order, task.labels, sizes)
        images, labels = zip(*(self._batch(self.order[part]) for part in self.slices[first:last]), strict=True)
        return Batches(torch.cat(images).flatten(1), torch.arange(sum(sizes)), torch.cat(labels), sizes)

    def _part(self, task: TaskTensors, indices: Tensor, start: int) -> Batch:
        """The images at `indices` of a task whose first image has the index `start`."""
        images, labels = task.batch(indices - start)
        noise = self.augmentation_noise
        return (images if noise is None else augment(images, task.augmentation, noise[indices])), labels

    def state_dict(self) -> dict[str, Any]:
        """The progress of the current pass."""
        return {"batches_yielded": self.batches_yielded}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass continue after the batches that were yielded."""
        yielded = state.get("batches_yielded", state.get("given", 0))  # `given` in older checkpoints
        self.batches_yielded = yielded % len(self)


class SeveralBatches:
    """The batches of an epoch, `steps` at a time; the state that is saved is that of the batches themselves."""

    def __init__(self, batches: EpochBatches, steps: int) -> None:
        self.batches, self.steps = batches, steps

    def __len__(self) -> int:
        return -(-len(self.batches) // self.steps)

    def __iter__(self) -> Iterator[Batches]:
        batches, steps = self.batches, self.steps
        first, batches.batches_yielded = batches.batches_yielded % len(batches), 0
        while first < len(batches):  # a pass that continues within a group takes the rest of it
            last = min(len(batches), (first // steps + 1) * steps)
            batches.batches_yielded = last
            yield batches.several(first, last)
            first = last
        batches.batches_yielded = 0

    def state_dict(self) -> dict[str, Any]:
        """The progress of the current pass, in batches."""
        return self.batches.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass continue after the batches that were yielded."""
        self.batches.load_state_dict(state)


class SequentialLoader:
    """All images of one task in their order, in batches of `batch_size`."""

    def __init__(self, task: TaskTensors, batch_size: int) -> None:
        self.task, self.slices = task, batch_slices(len(task), batch_size)

    def __len__(self) -> int:
        return len(self.slices)

    def __iter__(self) -> Iterator[Batch]:
        return (self.task.batch(part) for part in self.slices)


class StreamDataModule(pl.LightningDataModule):
    """A whole stream of tasks for one `Trainer.fit`; it makes the trainer ask for the batches of every epoch.

    Args:
        scenario: the tasks.
        schedule: which task an epoch trains.
        batch_size: images per training batch.
        eval_batch_size: images per test batch.
        seed: determines the order of batches and their augmentation, together with task and epoch.
        eval_tasks: which tasks are tested after an epoch: "all"; "seen", those trained so far; "last_k:N", the N
            trained last; "sampled:N", the current one and N − 1 others trained before, drawn for each task. Before
            training and after the last epoch all tasks are tested, whatever the choice.

    Raises:
        UserError: if there is no such choice of `eval_tasks`.
    """

    def __init__(
        self,
        scenario: Scenario,
        schedule: Schedule,
        batch_size: int,
        eval_batch_size: int,
        seed: int,
        eval_tasks: str = "all",
    ) -> None:
        super().__init__()
        if not re.fullmatch(EVAL_TASKS, eval_tasks):
            raise UserError(f"eval_tasks={eval_tasks}: expected all, seen, last_k:N or sampled:N with N >= 1")
        self.schedule, self.batch_size, self.eval_batch_size, self.seed = schedule, batch_size, eval_batch_size, seed
        self.eval_tasks = eval_tasks
        self.train_tasks = [task_tensors(experience) for experience in scenario.benchmark.train_stream]
        self.test_tasks = [task_tensors(experience) for experience in scenario.benchmark.test_stream]
        self.evaluated_tasks = [*range(len(self.test_tasks))]
        """The task of each validation loader, by its number among them."""
        self._materialized: tuple[TaskTensors, TaskTensors] | None = None
        """The task of the current epoch as it is stored, and with its pixels permuted."""

    def setup(self, stage: str) -> None:
        """Move the data to the device once, and have the trainer ask for new batches every epoch."""
        if self.trainer is not None:
            self.trainer.reload_dataloaders_every_n_epochs = 1  # type: ignore[attr-defined]
            device = self.trainer.strategy.root_device
            self.train_tasks = _on_device(self.train_tasks, device)
            self.test_tasks = _on_device(self.test_tasks, device)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Skip Lightning's look at every tensor of a batch that is on the device already."""
        if batch[0].device == device:
            return batch
        moved: Batch = super().transfer_batch_to_device(batch, device, dataloader_idx)
        return moved

    def current_tasks(self, epoch: int) -> list[TaskTensors]:
        """The tasks that `epoch` trains: one, or all in a joint stream."""
        if self.schedule.joint:
            return self.train_tasks
        task = self.train_tasks[self.schedule.task(epoch)]
        if self._materialized is None or self._materialized[0] is not task:
            self._materialized = task, task.materialize()  # once per task, not once per batch
        return [self._materialized[1]]

    def train_dataloader(self) -> Any:
        """Batches of the current epoch, or what the plugins make of them."""
        epoch = self._epoch
        tasks = self.current_tasks(epoch)
        n = sum(len(task) for task in tasks)
        task, epoch_in_task = self.schedule.task(epoch), self.schedule.epoch_in_task(epoch)
        device, key = tasks[0].labels.device, (n, self.seed, task, epoch_in_task)
        changed = any(task.augmentation != "none" for task in tasks)
        noise = augmentation_noise(*key).to(device) if changed else None
        batches = EpochBatches(tasks, self.batch_size, epoch_order(*key).to(device), noise)
        learner = self.trainer and self.trainer.lightning_module
        bridge = getattr(learner, "bridge", None)
        if bridge is not None:
            return bridge.loader(batches, task, epoch_in_task)
        steps = getattr(learner, "native_steps_per_call", 0)
        return SeveralBatches(batches, steps) if steps else batches

    def val_dataloader(self) -> list[SequentialLoader]:
        """The test sets that are measured after the current epoch."""
        self.evaluated_tasks = self._tasks_to_evaluate()
        return [SequentialLoader(self.test_tasks[task], self.eval_batch_size) for task in self.evaluated_tasks]

    def test_dataloader(self) -> list[SequentialLoader]:
        """Every test set."""
        return [SequentialLoader(task, self.eval_batch_size) for task in self.test_tasks]

    predict_dataloader = test_dataloader

    def _tasks_to_evaluate(self) -> list[int]:
        epoch, everything = self._epoch, [*range(len(self.test_tasks))]
        before_training = self.trainer is not None and self.trainer.sanity_checking
        last = epoch >= self.schedule.total_epochs - 1
        if self.eval_tasks == "all" or before_training or last or len(everything) == 1:
            return everything
        task = self.schedule.task(epoch)
        if self.eval_tasks == "seen":
            return everything[: task + 1]
        choice, _, number = self.eval_tasks.partition(":")
        if choice == "last_k":
            return everything[max(0, task + 1 - int(number)) : task + 1]
        earlier = random_permutation(task, self.seed, task, _EVALUATION)[: int(number) - 1]
        return sorted([*earlier.tolist(), task])

    @property
    def _epoch(self) -> int:
        return self.trainer.current_epoch if self.trainer is not None else 0


def _on_device(tasks: list[TaskTensors], device: torch.device) -> list[TaskTensors]:
    """The tasks on `device`; a tensor shared by several tasks (the images, usually) is moved once and stays shared."""
    moved: dict[int, Tensor] = {}

    def move(tensor: Tensor) -> Tensor:
        if id(tensor) not in moved:
            moved[id(tensor)] = tensor.to(device)
        return moved[id(tensor)]

    return [
        replace(
            task,
            images=move(task.images),
            labels=move(task.labels),
            permutation=None if task.permutation is None else move(task.permutation),
        )
        for task in tasks
    ]


def check_content(data: StreamDataModule, criterion: nn.Module) -> None:
    """Refuse a label that the loss would skip or that no answer could match, and a pixel that is not finite."""
    known = criterion.allowed.diagonal().tolist() if isinstance(criterion, TaskCrossEntropy) else None
    checked: dict[int, Tensor] = {}  # tensors that tasks share are looked at once
    for name, tasks in (("train", data.train_tasks), ("test", data.test_tasks)):
        for task, tensors in enumerate(tasks):
            where, images, labels = f"task {task} ({name})", tensors.images, tensors.labels
            if not len(labels):
                raise UserError(f"{where}: expected images, got none")
            if id(labels) not in checked:
                classes = sorted(set(labels.tolist()))
                if classes[0] < 0:
                    raise UserError(f"{where}: expected labels >= 0, got {classes[0]}")
                odd = [] if known is None else [y for y in classes if y >= len(known) or not known[y]]
                if odd:
                    raise UserError(f"{where}: expected labels of a class in classes_of_task, got {odd[0]}")
            if images.is_floating_point() and id(images) not in checked:
                finite = images.isfinite()
                if not finite.all():
                    raise UserError(f"{where}: expected finite pixels, got {images[~finite][0].item()}")
            checked |= {id(labels): labels, id(images): images}


def image_batches(
    tasks: Sequence[TaskTensors], batch_size: int, enough: int | None = None
) -> Callable[[], Iterable[Tensor]]:
    """Makes passes over the images of `tasks`, batch by batch: over all or over `enough`, as many from each task."""
    limit = None if enough is None else -(-enough // (len(tasks) * batch_size))

    def batches() -> Iterable[Tensor]:
        for task in tasks:
            for x, _ in islice(SequentialLoader(task, batch_size), limit):
                yield x

    return batches
