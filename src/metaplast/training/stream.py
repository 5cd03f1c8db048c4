"""The data module: it serves the task that the epoch counter says is current, every test set as a validation loader."""

from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from metaplast.data import TaskTensors, epoch_draws
from metaplast.scenarios import Scenario, task_tensors
from metaplast.training.batches import Batch, EpochBatches, TestBatches, epoch_order
from metaplast.training.schedule import Schedule


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
            self._laid_out = task, task.laid_out()  # once a task, not once a batch
        return [self._laid_out[1]]

    def train_dataloader(self) -> Any:
        """Batches of the current epoch; where there is a bridge, its plugins are asked for them."""
        epoch = self.trainer.current_epoch if self.trainer is not None else 0
        tasks = self.current_tasks(epoch)
        n = sum(len(task) for task in tasks)
        task, epoch_in_task = self.schedule.task(epoch), self.schedule.epoch_in_task(epoch)
        device, key = tasks[0].labels.device, (n, self.seed, task, epoch_in_task)
        changed = any(task.augmentation != "none" for task in tasks)
        draws = epoch_draws(*key).to(device) if changed else None
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
