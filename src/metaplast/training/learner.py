"""The LightningModule: one network and one optimizer through the whole stream of tasks.

What happens when (t is the task of the epoch; Lightning's hook on the left):

    sanity check                  every task is tested once: the baseline of forward transfer
    on_train_epoch_start          at a task's first epoch: the optimizer forgets its moments, if asked to
    training_step                 cross entropy of the live network on a batch of task t; in task-incremental learning
                                  among the classes of the task alone
    on_validation_epoch_start     population statistics from data of task t; the live normalization is stored for t
    validation_step, task j       normalization of task j, if trained before, else the live one; answers go into R[t, j]
    on_validation_epoch_end       the live normalization again
"""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from metaplast.data import TaskTensors
from metaplast.errors import UserError
from metaplast.metrics import AccuracyMatrix
from metaplast.nn import BatchNorm, TaskCrossEntropy, select_task, set_population_statistics, store_task
from metaplast.optim import parameter_groups
from metaplast.training.checkpoint import random_state, set_random_state
from metaplast.training.datamodule import Batch, StreamDataModule, TestBatches
from metaplast.training.task_schedule import Schedule

if TYPE_CHECKING:
    from metaplast.strategies.bridge import Bridge

STATISTICS_SAMPLES = 10_000
"""Images from which population statistics are estimated within a task; at its end all of its training data are used."""


class Learner(pl.LightningModule):
    """Train `network` on a stream of tasks and count its answers into an accuracy matrix.

    Args:
        network: maps images (N, C, H, W) to logits (N, K).
        optimizer: makes the optimizer from parameter groups, each with its `m`.
        schedule: which task an epoch trains.
        m: metaplasticity of the weight layers, a number or one a layer.
        reset_optimizer: whether each task starts with a fresh optimizer state, as the reference does.
        bridge: drives Avalanche plugins, which then have a say in every training step and every test.
        n_tested: number of test sets; None: one a task.
        criterion: loss of (logits, labels). A :class:`metaplast.nn.TaskCrossEntropy` masks the answers in tests too.

    Raises UserError for plugins in a joint stream, which has no experiences to show them.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[[list[dict[str, Any]]], torch.optim.Optimizer],
        schedule: Schedule,
        m: float | list[float] = 0.0,
        reset_optimizer: bool = False,
        bridge: "Bridge | None" = None,
        n_tested: int | None = None,
        criterion: nn.CrossEntropyLoss | None = None,
    ) -> None:
        super().__init__()
        if bridge is not None and schedule.joint:
            raise UserError("strategy.task_order=joint: has to be sequence with strategy.plugins, which go by tasks")
        self.bridge = bridge
        self.network, self.schedule, self.m, self.reset_optimizer = network, schedule, m, reset_optimizer
        self.make_optimizer = optimizer
        self.criterion = nn.CrossEntropyLoss() if criterion is None else criterion
        self.matrix = AccuracyMatrix(schedule.n_tasks, n_tested)
        self.in_training_step = False
        """Whether a forward pass is the one that the training loss is taken from; plugins make others."""
        self._loss_sum: Tensor | float = 0.0
        self._loss_count = 0

    @property
    def task(self) -> int:
        """The task of the current epoch."""
        return self.schedule.task(self.current_epoch)

    @property
    def trained(self) -> int:
        """The row of R that a test belongs to: the current task, -1 before any training."""
        return -1 if self.trainer.sanity_checking else self.task

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K) of images (N, C, H, W)."""
        return cast(Tensor, self.network(x))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Every weight layer with its m, everything else with none."""
        return self.make_optimizer(parameter_groups(self.network, self.m))

    def configure_callbacks(self) -> list[pl.Callback]:
        """The bridge hooks into the loop by itself."""
        return [] if self.bridge is None else [self.bridge]

    @property
    def _data(self) -> StreamDataModule:
        return cast(StreamDataModule, self.trainer.datamodule)  # type: ignore[attr-defined]

    def on_fit_start(self) -> None:
        """Refuse a task of a single image, which has no variance to normalize by, before anything is trained."""
        norms = [module for module in self.network.modules() if isinstance(module, BatchNorm)]
        by_batch = any(norm.test_statistics == "batch" for norm in norms)
        tasks = [*enumerate(self._data.train_tasks if norms and not self.schedule.joint else ())]
        tasks += enumerate(self._data.test_tasks if by_batch else ())
        for task, tensors in tasks:
            if len(tensors) == 1:
                raise UserError(f"task {task} has a single image, which batch normalization cannot work on")

    def on_train_epoch_start(self) -> None:
        """Reset the optimizer where a task starts and the strategy asks for it."""
        if self.reset_optimizer and self.schedule.starts_task(self.current_epoch):
            self.trainer.optimizers[0].state.clear()  # every optimizer of torch keeps its moments there

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch, summed in a tensor, since logging each step would cost more than a small step."""
        self.in_training_step = True
        if self.bridge is None:
            x, y = batch
            loss: Tensor = self.criterion(self.network(x), y)
        else:
            loss = self.bridge.loss()
        self.in_training_step = False
        self._loss_sum = self._loss_sum + loss.detach()
        self._loss_count += 1
        return loss

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        """Drop the gradients behind the forward pass, unless the bridge has done so before it, where Avalanche does."""
        if self.bridge is None:
            for group in optimizer.param_groups:  # as the optimizer's own does, with less around it
                for parameter in group["params"]:
                    parameter.grad = None

    def mean_loss(self) -> float:
        """Mean training loss over the batches since the last call; NaN if there were none."""
        mean = float(self._loss_sum) / self._loss_count if self._loss_count else float("nan")
        self._loss_sum, self._loss_count = 0.0, 0
        return mean

    def on_validation_epoch_start(self) -> None:
        """Settle the normalization of the task just trained, and clear the row of R that is measured anew.

        Raises UserError where training has diverged: a binary weight is ±1 even if the weight behind it is NaN, so that
        no accuracy would tell it from a network that learned nothing.
        """
        for name, parameter in self.network.named_parameters():
            if not parameter.isfinite().all():
                raise UserError(
                    f"training diverged: after epoch {self.current_epoch + 1} (task {self.task}) {name} is not finite; "
                    "a smaller strategy.optimizer.lr may help"
                )
        self.settle_normalization()
        if self.trained >= 0:
            store_task(self.network, self.trained)
        self.matrix.clear(self.trained)

    def settle_normalization(self) -> None:
        """Set population statistics from data of the current task: all at its end, else enough for an estimate."""
        data, precision = self._data, self.trainer.precision_plugin
        complete = self.schedule.ends_task(self.current_epoch)
        batches = _images(data.current_tasks(self.current_epoch), data.eval_batch_size, complete)
        with precision.val_step_context():  # Lightning's own is around steps alone
            set_population_statistics(self.network, lambda: map(precision.convert_input, batches()))

    def on_validation_batch_start(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Put the normalization of the tested task in place; a task not trained yet has none of its own."""
        if batch_idx == 0:
            select_task(self.network, dataloader_idx if dataloader_idx <= self.trained else None)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Count the right answers of one test batch."""
        x, y = batch
        logits = self.network(x) if self.bridge is None else self.bridge.logits(batch, batch_idx, dataloader_idx)
        if isinstance(self.criterion, TaskCrossEntropy):
            logits = self.criterion.mask(logits, y)  # a test set is of one task, so its labels tell no more than that
        self.matrix.update(logits, y, trained=self.trained, tested=dataloader_idx)

    def on_validation_epoch_end(self) -> None:
        """Go on training with the live normalization."""
        select_task(self.network, None)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the states of the random generators, which Lightning leaves out, and the losses that await a row."""
        checkpoint["random_state"] = random_state()
        checkpoint["losses"] = float(self._loss_sum), self._loss_count

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the random generators and the losses back to where the checkpoint was taken."""
        set_random_state(checkpoint["random_state"])
        self._loss_sum, self._loss_count = checkpoint["losses"]


def _images(tasks: list[TaskTensors], batch_size: int, complete: bool) -> Callable[[], Iterable[Tensor]]:
    """Training images of the tasks, batch by batch: all of them, or enough for an estimate, the same from each task."""
    limit = None if complete else -(-STATISTICS_SAMPLES // (len(tasks) * batch_size))

    def batches() -> Iterable[Tensor]:
        for task in tasks:
            for x, _ in islice(TestBatches(task, batch_size), limit):
                yield x

    return batches
