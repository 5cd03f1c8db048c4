"""Batches of one epoch, in an order that is a pure function of seed, task and epoch: a resume sees the same.

The data module: it serves the task that the epoch counter says is current, every test set as a validation loader.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from metaplast.data import TaskTensors, augment, augmentation_noise, batch_slices, random_permutation
from metaplast.scenarios import Scenario, task_tensors
from metaplast.training.task_schedule import Schedule

Batch = tuple[Tensor, Tensor]
"""Images (N, C, H, W) in [0, 1] and labels (N,)."""


def epoch_order(n: int, seed: int, task: int, epoch: int) -> Tensor:
    """The order (n,) in which the samples of an epoch are seen.

    >>> torch.equal(epoch_order(9, seed=0, task=1, epoch=2), epoch_order(9, seed=0, task=1, epoch=2))
    True
    """
    # torch's own generator keeps 32 bits of a seed, so it cannot tell all of these apart.
    return random_permutation(n, seed, task, epoch)


class EpochBatches:
    """Shuffled batches of one epoch over one task, or over several mixed, for Lightning's loop.

    Re-iterable and with a length; `state_dict` holds the number of batches already given out, from which a resumed
    epoch goes on. The last batch differs in size where `batch_size` does not divide the data.

    Args:
        tasks: the tasks whose data the epoch runs over, each image seen once. batch_size: images a batch. order: (total
        number of images,) indices into the tasks one after the other. draws: (total number of images, 5), what
        :func:`metaplast.data.augmentation_noise` gave for each, by which tasks with
            an augmentation are changed; None leaves all images as they are.
    """

    def __init__(
        self, tasks: Sequence[TaskTensors], batch_size: int, order: Tensor, draws: Tensor | None = None
    ) -> None:
        self.tasks, self.order, self.draws = tasks, order, draws
        self.slices = batch_slices(len(order), batch_size)
        self.given = 0
        """Batches of the current pass that have been given out."""

    def __len__(self) -> int:
        return len(self.slices)

    def __iter__(self) -> Iterator[Batch]:
        first, self.given = self.given % len(self), 0  # a pass that was left behind its last batch is a whole one
        for i in range(first, len(self)):
            self.given = i + 1
            yield self._batch(self.order[self.slices[i]])
        self.given = 0

    def _batch(self, indices: Tensor) -> Batch:
        if len(self.tasks) == 1:
            return self._part(self.tasks[0], indices, 0)
        parts, start = [], 0
        for task in self.tasks:
            inside = (indices >= start) & (indices < start + len(task))
            parts.append(self._part(task, indices[inside], start))
            start += len(task)
        return torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts])

    def _part(self, task: TaskTensors, indices: Tensor, start: int) -> Batch:
        """The images at `indices` of a task whose first image has the index `start`."""
        images, labels = task.batch(indices - start)
        return (images if self.draws is None else augment(images, task.augmentation, self.draws[indices])), labels

    def state_dict(self) -> dict[str, Any]:
        """How far the current pass has come."""
        return {"given": self.given}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass go on behind the batches that were given out."""
        self.given = state["given"] % len(self)


class TestBatches:
    """All images of one task in their order, in batches of `batch_size`."""

    __test__ = False  # not a test case, whatever pytest thinks of its name

    def __init__(self, task: TaskTensors, batch_size: int) -> None:
        self.task, self.slices = task, batch_slices(len(task), batch_size)

    def __len__(self) -> int:
        return len(self.slices)

    def __iter__(self) -> Iterator[Batch]:
        return (self.task.batch(part) for part in self.slices)


class StreamDataModule(pl.LightningDataModule):
    """A whole stream of tasks for one `Trainer.fit` (with `reload_dataloaders_every_n_epochs=1`).

    Args:
        scenario: the tasks.
        schedule: which task an epoch trains.
        batch_size: images a training batch.
        eval_batch_size: images a test batch.
        seed: the order of batches and their augmentation follow from it, the task and the epoch.
    """

    def __init__(
        self, scenario: Scenario, schedule: Schedule, batch_size: int, eval_batch_size: int, seed: int
    ) -> None:
        super().__init__()
        self.schedule, self.batch_size, self.eval_batch_size, self.seed = schedule, batch_size, eval_batch_size, seed
        self.train_tasks = [task_tensors(experience) for experience in scenario.benchmark.train_stream]
        self.test_tasks = [task_tensors(experience) for experience in scenario.benchmark.test_stream]
        self._laid_out: tuple[TaskTensors, TaskTensors] | None = None
        """The task that an epoch was last asked of, as it is and with its pixels in place."""

    def setup(self, stage: str) -> None:
        """Move the data to the device once; a batch is then an index operation there."""
        if self.trainer is not None:
            device = self.trainer.strategy.root_device
            self.train_tasks = _on_device(self.train_tasks, device)
            self.test_tasks = _on_device(self.test_tasks, device)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Batches of data that were moved are there; Lightning would look at each of their tensors to see so."""
        if batch[0].device == device:
            return batch
        moved: Batch = super().transfer_batch_to_device(batch, device, dataloader_idx)
        return moved

    def current_tasks(self, epoch: int) -> list[TaskTensors]:
        """The tasks that `epoch` trains: one, or all of a joint stream."""
        if self.schedule.joint:
            return self.train_tasks
        task = self.train_tasks[self.schedule.task(epoch)]
        if self._laid_out is None or self._laid_out[0] is not task:
            self._laid_out = task, task.materialize()  # once a task, not once a batch
        return [self._laid_out[1]]

    def train_dataloader(self) -> Any:
        """Batches of the current epoch; where there is a bridge, its plugins are asked for them."""
        epoch = self.trainer.current_epoch if self.trainer is not None else 0
        tasks = self.current_tasks(epoch)
        n = sum(len(task) for task in tasks)
        task, epoch_in_task = self.schedule.task(epoch), self.schedule.epoch_in_task(epoch)
        device, key = tasks[0].labels.device, (n, self.seed, task, epoch_in_task)
        changed = any(task.augmentation != "none" for task in tasks)
        draws = augmentation_noise(*key).to(device) if changed else None
        batches = EpochBatches(tasks, self.batch_size, epoch_order(*key).to(device), draws)
        bridge = getattr(self.trainer and self.trainer.lightning_module, "bridge", None)
        return batches if bridge is None else bridge.loader(batches, task, epoch_in_task)

    def val_dataloader(self) -> list[TestBatches]:
        """Every test set: one a task, or one for all the parts of a stream."""
        return [TestBatches(task, self.eval_batch_size) for task in self.test_tasks]


def _on_device(tasks: list[TaskTensors], device: torch.device) -> list[TaskTensors]:
    """The tasks on `device`; tensors that tasks share (the images, as a rule) are moved once and stay shared."""
    moved: dict[int, Tensor] = {}

    def move(tensor: Tensor) -> Tensor:
        if id(tensor) not in moved:
            moved[id(tensor)] = tensor.to(device)
        return moved[id(tensor)]

    return [
        replace(
            t,
            images=move(t.images),
            labels=move(t.labels),
            permutation=None if t.permutation is None else move(t.permutation),
        )
        for t in tasks
    ]
