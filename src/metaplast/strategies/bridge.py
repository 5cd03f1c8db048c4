"""The bridge: unmodified Avalanche plugins driven by Lightning's loop, every event in Avalanche's own order.

Left, what Lightning runs (D the data module, L the LightningModule); right, in the order in which they fire, the
events of Avalanche's `for experience in train_stream: strategy.train(experience); strategy.eval(test_stream)`.
Lightning's sanity check is an `eval` before the first `train`.

    Lightning                                       Avalanche
    for epoch in all epochs of the stream:
      D.train_dataloader                            for experience in train_stream:
        -> loader, if a task starts                   before_training
                                                      before_train_dataset_adaptation
                                                      after_train_dataset_adaptation   may replace `adapted_dataset`
                                                      before_training_exp              may replace `dataloader`
      on_train_epoch_start                            for each epoch:
                                                        before_training_epoch
      for batch in loader:                              for mbatch in dataloader:
        on_train_batch_start                              before_training_iteration
        optimizer.step(closure):
          L.training_step -> loss                         before_forward               may extend `mbatch`
                                                          after_forward                may replace `mb_output`
                                                          before_backward              may add to `loss`, or replace it
          on_after_backward                               after_backward               may project gradients
          on_before_optimizer_step                        before_update
        on_train_batch_end                                after_update
                                                          after_training_iteration
        on_train_batch_end, last of an epoch            after_training_epoch
        on_train_batch_end, last of a task            after_training_exp
                                                      after_training
      on_validation_start                             before_eval
      for task in all tasks:                          for experience in test_stream:
        L.validation_step, first -> logits              before_eval_dataset_adaptation
                                                        after_eval_dataset_adaptation
                                                        before_eval_exp
        for batch in test set:
          L.validation_step -> logits                     before_eval_iteration
                                                          before_eval_forward
                                                          after_eval_forward           may replace `mb_output`
                                                          after_eval_iteration         may replace `mb_output`
                                                        after_eval_exp
      on_validation_end                               after_eval

An experience is closed before the tests of its last epoch, so that they see what plugins did in `after_training_exp`.
Tests within an experience are what Avalanche's `eval_every` makes of it.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, cast

import pytorch_lightning as pl
import torch
from avalanche.benchmarks.utils.data_loader import TaskBalancedDataLoader
from avalanche.training.utils import trigger_plugins
from lightning_fabric.utilities import move_data_to_device
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor

from metaplast.errors import UserError
from metaplast.strategies.adapter import Learner, PluginBatches, StrategyView, check_plugins_supported, implements_event

BOUNDARY_EVENTS = (
    "before_training",
    "before_train_dataset_adaptation",
    "after_train_dataset_adaptation",
    "before_training_exp",
    "after_training_exp",
    "after_training",
)
"""The events that fire only where a task starts or ends."""


class Bridge(pl.Callback):
    """Fire Avalanche's events at `plugins` from Lightning's hooks. Pass it to the `Learner`.

    The state of a plugin with `state_dict()` and `load_state_dict(state)` (tensors and plain Python) is part of every
    checkpoint; a run with a plugin that has none cannot be resumed. If a run is resumed within an experience, the
    events that open it fire again, since they make dataset and loader; states are loaded before and after that.

    Args:
        plugins: Avalanche plugins, called in this order.
        benchmark: the Avalanche benchmark whose streams are trained and tested.
        batch_size: images a training batch.
        eval_batch_size: images a test batch.
        epochs_per_task: epochs an experience.

    Raises UserError for a plugin that needs what the bridge does not provide.
    """

    def __init__(
        self, plugins: Sequence[Any], benchmark: Any, batch_size: int, eval_batch_size: int, epochs_per_task: int
    ) -> None:
        self.view = StrategyView(plugins, batch_size, eval_batch_size, epochs_per_task)
        check_plugins_supported(plugins, offered=set(dir(self.view)))
        self.plugins, self.benchmark = list(plugins), benchmark
        self._last_epoch = False
        """Whether the current epoch is the last of its experience."""
        self._training_attributes: dict[str, Any] = {}
        """Attributes of the view that a test overwrites, to be restored."""
        self._saved: dict[str, Any] | None = None
        """State of a checkpoint, not loaded yet."""

    @property
    def uses_boundary(self) -> bool:
        """Whether a plugin is told where a task starts or ends; a plugin's attribute of this name overrides it."""
        return any(
            getattr(plugin, "uses_boundary", implements_event(plugin, *BOUNDARY_EVENTS)) for plugin in self.plugins
        )

    def _fire(self, event: str) -> None:
        trigger_plugins(self.view, event)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Connect the view to network and optimizer."""
        self.view.attach(cast(Learner, pl_module), trainer)

    # training

    def loader(self, batches: Any, task: int, epoch_in_task: int) -> Any:
        """Batches of an epoch: `batches`, unless a plugin has replaced the loader or the data."""
        if self._saved is not None:
            self._resume(batches, task)
        view = self.view
        if view.clock.train_exp_counter > task:
            return batches  # Lightning requests an epoch again if a checkpoint was taken at its very end
        if view.experience is None:
            self._open(batches, task)
        self._last_epoch = epoch_in_task == view.train_epochs - 1
        if isinstance(view.dataloader, type(batches)):
            view.dataloader = batches
            return batches
        return PluginBatches(view.dataloader)

    def _open(self, batches: Any, task: int) -> None:
        view = self.view
        view.is_training = True
        view.model.train()
        self._fire("before_training")
        view.experience = self.benchmark.train_stream[task]
        original = view.experience.dataset
        self._fire("before_train_dataset_adaptation")
        adapted = view.adapted_dataset = view.experience.dataset.train()
        self._fire("after_train_dataset_adaptation")
        same = view.experience.dataset is original and view.adapted_dataset is adapted
        view.dataloader = batches if same else self._loader_of_adapted_dataset()
        view.model_adaptation()
        self._fire("before_training_exp")

    def _loader_of_adapted_dataset(self) -> Any:
        """The loader that Avalanche makes of a dataset."""
        return TaskBalancedDataLoader(
            self.view.adapted_dataset, oversample_small_groups=True, batch_size=self.view.train_mb_size, shuffle=True
        )

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Fire the event before an epoch."""
        self._fire("before_training_epoch")

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Expose the batch, and fire the event before an iteration."""
        self.view.mbatch = _with_task_labels(batch)
        self._fire("before_training_iteration")

    def loss(self) -> Tensor:
        """The training step: loss of the current batch, shape (1,), as plugins have changed it."""
        view = self.view
        view.optimizer.zero_grad()
        view.loss = view._make_empty_loss()
        self._fire("before_forward")
        view.mb_output = view.forward()
        self._fire("after_forward")
        view.loss += view.criterion()
        self._fire("before_backward")
        return view.loss

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Fire the event after the backward pass."""
        self._fire("after_backward")

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Fire the event before the optimizer's step."""
        self._fire("before_update")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Fire the events after the optimizer's step, after an epoch and after an experience."""
        self._fire("after_update")
        self._fire("after_training_iteration")
        if trainer.is_last_batch:
            self._fire("after_training_epoch")
            if self._last_epoch:
                self._close(cast(Learner, pl_module))

    def _close(self, learner: Learner) -> None:
        learner.update_population_statistics()  # importances and the like may be taken in evaluation mode
        self._fire("after_training_exp")
        self._fire("after_training")
        self.view.clear()

    # tests

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Fire the event before the tests of all tasks."""
        view = self.view
        self._training_attributes = {
            name: getattr(view, name) for name in ("experience", "is_training", "adapted_dataset", "dataloader")
        }
        view.is_training, view.current_eval_stream = False, self.benchmark.test_stream
        self._fire("before_eval")

    def logits(self, batch: Any, batch_idx: int, dataloader_idx: int, task: int) -> Tensor:
        """The validation step: logits of a test batch of `task`, as plugins have changed them."""
        view = self.view
        if batch_idx == 0:
            if dataloader_idx > 0:
                self._fire("after_eval_exp")
            self._open_test(task)
        view.mbatch = _with_task_labels(batch)
        self._fire("before_eval_iteration")
        self._fire("before_eval_forward")
        view.mb_output = view.masked_logits()
        self._fire("after_eval_forward")
        view.loss = view.criterion()
        self._fire("after_eval_iteration")
        return cast(Tensor, view.mb_output)

    def _open_test(self, task: int) -> None:
        view = self.view
        view.experience = self.benchmark.test_stream[task]
        self._fire("before_eval_dataset_adaptation")
        view.adapted_dataset = view.experience.dataset.eval()
        self._fire("after_eval_dataset_adaptation")
        view.model_adaptation()
        self._fire("before_eval_exp")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Fire the events after the tests, and restore the training attributes of the view."""
        self._fire("after_eval_exp")
        self._fire("after_eval")
        self.view.clear()
        self.view.current_eval_stream = []
        for name, value in self._training_attributes.items():
            setattr(self.view, name, value)

    # checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Counters, whether an experience is under way, and the state of every plugin that has one."""
        return {
            "clock": dict(vars(self.view.clock)),
            "open": self.view.experience is not None,
            "plugins": [plugin.state_dict() if hasattr(plugin, "state_dict") else None for plugin in self.plugins],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep a state until there is a network to load it for. Raises UserError for a plugin that cannot load one."""
        for plugin in self.plugins:
            if not hasattr(plugin, "load_state_dict"):
                raise UserError(
                    f"this run cannot be resumed: {type(plugin).__name__} of strategy.plugins has no load_state_dict, "
                    "so its state is lost; start the run again"
                )
        self._saved = state_dict

    def _resume(self, batches: Any, task: int) -> None:
        assert self._saved is not None, "there is a state to load"
        saved, self._saved = self._saved, None
        self._load(saved)
        if saved["open"]:
            with isolate_rng():
                self._open(batches, task)
            self._load(saved)

    def _load(self, saved: dict[str, Any]) -> None:
        vars(self.view.clock).update(saved["clock"])
        states = move_data_to_device(deepcopy(saved["plugins"]), self.view.device)
        for plugin, state in zip(self.plugins, states, strict=True):
            plugin.load_state_dict(state)


def _with_task_labels(batch: Any) -> list[Tensor]:
    """[images, labels, task labels] of a batch that may lack the last."""
    batch = list(batch)
    return batch if len(batch) > 2 else [*batch, torch.zeros_like(batch[1])]
