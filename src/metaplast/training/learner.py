"""The LightningModule: one network and one optimizer for the whole stream of tasks.

What happens when (t is the task of the epoch; Lightning's hook on the left):

    sanity check                  every task is tested once: the baseline of forward transfer
    on_train_epoch_start          at the first epoch of a task: the optimizer state is reset, if requested
    training_step                 cross entropy of the live network on a batch of task t; in task-incremental learning
                                  among the classes of the task only
    on_validation_epoch_start     population statistics from data of task t; the live normalization is stored for t
    validation_step, task j       normalization of task j, if trained before, else the live one; answers go into R[t, j]
    on_validation_epoch_end       the live normalization again; the row of the epoch is logged
"""

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from metaplast.data import batch_slices
from metaplast.errors import UserError
from metaplast.metrics import AccuracyMatrix
from metaplast.nn import BatchNorm, TaskCrossEntropy, select_task, set_population_statistics, store_task, task_norms
from metaplast.optim import parameter_groups
from metaplast.private_api import count_steps, group_batches, ungroup_batches
from metaplast.training.checkpoint import random_state, set_random_state
from metaplast.training.checkpoint_content import check_fits
from metaplast.training.datamodule import Batch, Batches, Schedule, StreamDataModule, check_content, image_batches
from metaplast.training.native import NativeSteps, native_steps, needs_single_steps, steps_per_call
from metaplast.training.native_build import NoKernelError

if TYPE_CHECKING:
    from metaplast.strategies.bridge import Bridge

STATISTICS_SAMPLES = 10_000
"""Images that population statistics are estimated from within a task; at its end all of its training data are used."""


class Learner(pl.LightningModule):
    """Train `network` on a stream of tasks and count its answers into an accuracy matrix.

    Goes with a :class:`StreamDataModule` and a `pl.Trainer` of as many epochs as the schedule has. For the baseline of
    forward transfer the trainer needs `num_sanity_val_steps=-1`. `Trainer.test` tests the network on every task, with
    the normalization of that task; `Trainer.predict` gives logits.

    Logged at the end of every validation, for loggers and callbacks (`ModelCheckpoint(monitor="average_accuracy")`):
    `train_loss` (mean since the last row), `average_accuracy` (over all tasks measured), `average_accuracy_seen` (over
    those trained so far), `task`, `epoch_in_task` (from 1) and, with `log_rows`, `accuracy/task_j`.

    Args:
        network: maps images (N, C, H, W) to logits (N, K).
        optimizer: makes the optimizer from parameter groups, each with its `m`.
        schedule: which task an epoch trains.
        m: metaplasticity of the weight layers, a number or one per layer.
        reset_optimizer: whether each task starts with a fresh optimizer state, as in the reference.
        bridge: drives Avalanche plugins, which take part in every training step and every test.
        n_tested: number of test sets; None: one per task.
        criterion: loss of (logits, labels). A :class:`metaplast.nn.TaskCrossEntropy` masks the answers in tests too.
        log_rows: whether the trainer's logger gets the row of every measured epoch; if not, only callbacks see it.
        native: whether steps are taken by a compiled kernel where it covers the training (:attr:`native_reason`).
        steps_per_call: steps that the kernel takes in one batch of Lightning's; "auto" decides by the network's size.
            Results do not depend on it.

    Raises:
        UserError: here, for plugins in a joint stream, which has no experiences to show them; before training, for a
            trainer that does not fit the schedule, labels that the network or the loss does not know, and a task of a
            single image.
    """

    predict_task: int | None = None
    """The task whose normalization `Trainer.predict` uses; None: the live one, of the task trained last."""

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
        log_rows: bool = True,
        native: bool = False,
        steps_per_call: int | Literal["auto"] = "auto",
    ) -> None:
        super().__init__()
        if bridge is not None and schedule.joint:
            raise UserError("strategy.task_order=joint: has to be sequence with strategy.plugins, which go by tasks")
        self.save_hyperparameters({"m": m, "reset_optimizer": reset_optimizer}, logger=False)
        self.bridge = bridge
        self.network, self.schedule, self.m, self.reset_optimizer = network, schedule, m, reset_optimizer
        self.make_optimizer = optimizer
        self.criterion = nn.CrossEntropyLoss() if criterion is None else criterion
        self.log_rows = log_rows
        self.native, self.steps_per_call = native, steps_per_call
        self.native_reason: str | None = None
        """Why the steps of the current training are torch's, not the kernel's."""
        self._native_steps: NativeSteps | None = None
        self._is_planned = self._is_resumed = False
        self.matrix = AccuracyMatrix(schedule.n_tasks, n_tested)
        self.in_training_step = False
        """Whether a forward pass is the one that the training loss is taken from; plugins make others."""
        self.train_loss = float("nan")
        """Mean training loss over the batches between the last two validations."""
        self._loss_sum: Tensor | float = 0.0
        self._loss_count = 0

    @property
    def task(self) -> int:
        """The task of the current epoch."""
        return self.schedule.task(self.current_epoch)

    @property
    def after_task(self) -> int:
        """The row of R that a test belongs to: the current task, -1 before any training."""
        return -1 if self.trainer.sanity_checking else self.task

    @property
    def masks_answers(self) -> bool:
        """Whether only the classes of a sample's task may be answered."""
        return isinstance(self.criterion, TaskCrossEntropy)

    @property
    def uses_task_label(self) -> bool:
        """Whether a test is told which task it is of."""
        return self.masks_answers or any(norm.per_task for norm in task_norms(self.network))

    @property
    def uses_task_boundary(self) -> bool:
        """Whether training is told where a task ends and the next one starts."""
        # Population statistics are those of the current task, so they have to know it, unless there is a single test.
        statistics = {getattr(norm, "test_statistics", None) for norm in task_norms(self.network)}
        population = "population" in statistics and self.matrix.n_tested > 1
        plugins = self.bridge is not None and self.bridge.uses_boundary
        return (self.reset_optimizer or self.uses_task_label or population or plugins) and not self.schedule.joint

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
        """Refuse what cannot be trained as asked, before the first step."""
        self._native_steps, self.native_reason, self._is_planned = None, None, False
        self._check_trainer()
        check_content(self._data, self.criterion)
        norms = [module for module in self.network.modules() if isinstance(module, BatchNorm)]
        by_batch = any(norm.test_statistics == "batch" for norm in norms)
        tasks = [*enumerate(self._data.train_tasks if norms and not self.schedule.joint else ())]
        tasks += enumerate(self._data.test_tasks if by_batch else ())
        for task, tensors in tasks:
            if len(tensors) == 1:
                raise UserError(f"task {task} has a single image, which batch normalization cannot work on")

    def _check_trainer(self) -> None:
        trainer, epochs = self.trainer, self.schedule.total_epochs
        if not isinstance(getattr(trainer, "datamodule", None), StreamDataModule):
            raise UserError("datamodule: expected a StreamDataModule, as in trainer.fit(learner, datamodule=data)")
        if trainer.max_epochs is None or not 0 <= trainer.max_epochs <= epochs:
            raise UserError(f"max_epochs={trainer.max_epochs}: expected at most {epochs}, the epochs of the schedule")
        if trainer.world_size > 1:
            raise UserError(f"devices={trainer.world_size}: expected 1, since the data stay on one device")

    def on_train_start(self) -> None:
        """Forget the loaders of the sanity check where the first epoch tests fewer tasks."""
        if self._data.eval_tasks != "all":
            # Lightning 2.x keeps those loaders through epoch 0; there is no public way to rebuild them.
            self.trainer.fit_loop.epoch_loop.val_loop._last_val_dl_reload_epoch = float("-inf")

    def on_train_epoch_start(self) -> None:
        """Reset the optimizer where a task starts, if requested."""
        if self.reset_optimizer and self.schedule.starts_task(self.current_epoch):
            self.trainer.optimizers[0].state.clear()  # every torch optimizer keeps its moments there

    @property
    def native_steps_per_call(self) -> int:
        """Steps that the kernel takes in a batch of Lightning's; 0 where it takes none. Known once training begins."""
        if not self._is_planned:
            self._is_planned = True
            self._plan_steps()
        if self._native_steps is None:
            return 0
        if self.steps_per_call != "auto":
            return self.steps_per_call
        return steps_per_call(self.network)

    def _plan_steps(self) -> None:
        if not self.native:
            self.native_reason = "native=False"
        elif self.bridge is not None or type(self) is not Learner:
            self.native_reason = "plugins or a subclass of the learner take part in a step"
        else:
            self.native_reason = needs_single_steps(self.trainer)
        if self.native_reason is None:
            try:
                planned = native_steps(self.network, self.criterion, self.trainer.optimizers[0])
            except NoKernelError as error:
                planned = str(error)
                print(f"trainer.native: {planned}; training goes on without, more slowly", file=sys.stderr, flush=True)
            if isinstance(planned, str):
                self.native_reason = planned
            else:
                self._native_steps = planned
        if self._native_steps is not None and self._is_resumed:
            group_batches(self.trainer.fit_loop.epoch_loop, self.native_steps_per_call)
        self._is_resumed = False

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        """Take the step of torch's optimizer; the kernel has taken its own by the end of the closure."""
        if self._native_steps is None:
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        elif optimizer_closure is not None:
            optimizer_closure()

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute the gradients; the kernel leaves none to compute."""
        if self._native_steps is None:
            super().backward(loss, *args, **kwargs)

    def training_step(self, batch: Batch | Batches, batch_idx: int) -> Tensor:
        """Loss of one batch, or the last of several.

        Losses are summed in a tensor: logging every step would cost more than a small step.
        """
        if isinstance(batch, Batches):
            assert self._native_steps is not None, "which alone is given several batches"
            losses = self._native_steps(batch.images, batch.labels, batch.order, batch.sizes)
            for value in losses:  # one by one, so that the sum does not depend on their number
                self._loss_sum = self._loss_sum + value
            self._loss_count += len(losses)
            count_steps(self.trainer.fit_loop.epoch_loop, len(losses) - 1)
            return torch.tensor(losses[-1])
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
        """Drop the gradients after the forward pass; the bridge has done so before it, where Avalanche does."""
        if self.bridge is None:
            for group in optimizer.param_groups:  # what the optimizer's own does, without its overhead
                for parameter in group["params"]:
                    parameter.grad = None

    def on_validation_epoch_start(self) -> None:
        """Set up the normalization of the task just trained, and clear the row of R that is measured again.

        Raises UserError where training has diverged. The accuracy would not show it: a binary weight is ±1 even if the
        hidden weight is NaN.
        """
        self._check_finite()
        self.update_population_statistics()
        if self.after_task >= 0:
            store_task(self.network, self.after_task)
        self.matrix.clear(self.after_task)

    def _check_finite(self) -> None:
        where = f"after epoch {self.current_epoch + 1} (task {self.task})"
        advice = "a smaller strategy.optimizer.lr may help"
        for name, parameter in self.network.named_parameters():
            if not parameter.isfinite().all():
                raise UserError(f"training diverged: {where} {name} is not finite; {advice}")
        loss = float(self._loss_sum) / max(1, self._loss_count)
        # With 16-mixed, a loss that overflows is handled by the scaler, which skips the step.
        if not loss < LARGEST_LOSS and self.trainer.precision != "16-mixed":
            raise UserError(f"training diverged: {where} the mean training loss is {loss:.3g}; {advice}")

    def update_population_statistics(self) -> None:
        """Set population statistics from data of the current task: all at its end, otherwise enough for an estimate."""
        data, precision = self._data, self.trainer.precision_plugin
        complete = self.schedule.ends_task(self.current_epoch)
        limit = None if complete else STATISTICS_SAMPLES
        batches = image_batches(data.current_tasks(self.current_epoch), data.eval_batch_size, limit)
        with precision.val_step_context():  # Lightning's own covers only steps
            set_population_statistics(self.network, lambda: map(precision.convert_input, batches()))

    def on_validation_batch_start(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Select the normalization of the tested task; a task not trained yet has none of its own."""
        if batch_idx == 0:
            self.select_trained(self._data.evaluated_tasks[dataloader_idx], self.after_task)

    def select_trained(self, task: int, after_task: int) -> None:
        """Select the normalization of `task` if it has been trained, up to `after_task`; else the live one."""
        select_task(self.network, task if task <= after_task else None)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Count the right answers of one test batch."""
        task = self._data.evaluated_tasks[dataloader_idx]
        logits = None if self.bridge is None else self.bridge.logits(batch, batch_idx, dataloader_idx, task)
        self.count(batch, self.after_task, task, logits)

    def count(self, batch: Batch, after_task: int, on_task: int, logits: Tensor | None = None) -> None:
        """Count the right answers to a batch into R[after_task, on_task]; `logits` if they are known already."""
        x, y = batch
        logits = self.network(x) if logits is None else logits
        if isinstance(self.criterion, TaskCrossEntropy):
            logits = self.criterion.mask(logits, y)  # a test set is of one task, so its labels tell no more than that
        self.matrix.update(logits, y, after_task=after_task, on_task=on_task)

    def on_validation_epoch_end(self) -> None:
        """Continue training with the live normalization, and log what was measured."""
        select_task(self.network, None)
        if self.trainer.sanity_checking:
            if self.trainer.num_sanity_val_steps != float("inf"):
                self.matrix.clear(-1)  # a few batches of a task are no baseline
            return
        self.train_loss = float(self._loss_sum) / self._loss_count if self._loss_count else float("nan")
        self._loss_sum, self._loss_count = 0.0, 0
        accuracies = self.matrix.compute()[self.task]
        self._log(
            accuracies if self.log_rows else (),
            train_loss=self.train_loss,
            average_accuracy=accuracies.nanmean(),
            average_accuracy_seen=accuracies[: self.task + 1].nanmean(),
            task=self.task,
            epoch_in_task=self.schedule.epoch_in_task(self.current_epoch) + 1,
        )

    def _log(self, accuracies: Iterable[Tensor], **values: Tensor | float) -> None:
        logs = self.log_rows and bool(self.trainer.loggers)  # Lightning warns where there is no logger
        row = {**values, **{f"accuracy/task_{j}": accuracy for j, accuracy in enumerate(accuracies)}}
        self.log_dict({name: float(value) for name, value in row.items()}, logger=logs)

    def on_test_start(self) -> None:
        """Start counting the tests of the network as it is."""
        self._tested = torch.zeros(2, self.matrix.n_tested, dtype=torch.int64)  # right answers, samples

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Count the right answers to a batch of task `dataloader_idx`, with the normalization of that task."""
        if batch_idx == 0:
            measured = self.matrix.total[1:].sum(dim=1).nonzero()
            self.select_trained(dataloader_idx, int(measured.max()) if len(measured) else -1)
        x, y = batch
        logits = self.network(x)
        if isinstance(self.criterion, TaskCrossEntropy):
            logits = self.criterion.mask(logits, y)
        self._tested[:, dataloader_idx] += torch.tensor([int((logits.argmax(1) == y).sum()), len(y)])

    def on_test_epoch_end(self) -> None:
        """Log the accuracy on every task and their mean."""
        select_task(self.network, None)
        accuracies = self._tested[0].double() / self._tested[1]
        self._log(accuracies, average_accuracy=accuracies.nanmean())

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Logits (N, K) of a batch, which is images (N, C, H, W) or a tuple that begins with them."""
        select_task(self.network, self.predict_task)
        try:
            return cast(Tensor, self(batch[0] if isinstance(batch, (tuple, list)) else batch))
        finally:
            select_task(self.network, None)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the states of the random generators, which Lightning leaves out, and the losses not yet in a row."""
        checkpoint["random_state"] = random_state()
        checkpoint["losses"] = float(self._loss_sum), self._loss_count
        steps = self.native_steps_per_call if self._is_planned else 0
        if steps:  # progress is saved in batches, so that a run may be resumed by another number of steps
            ungroup_batches(checkpoint["loops"], steps, self._batches_in_epoch())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the random generators and the losses."""
        check_fits(checkpoint, self.state_dict(), self.configure_optimizers())
        set_random_state(checkpoint["random_state"])
        self._loss_sum, self._loss_count = checkpoint["losses"]
        self._is_resumed = True

    def _batches_in_epoch(self) -> int:
        return len(batch_slices(sum(map(len, self._data.current_tasks(self.current_epoch))), self._data.batch_size))


LARGEST_LOSS = 1e10
"""From here on training has diverged: in float32 a loss of this size leaves no digit for the cross entropy in it."""
