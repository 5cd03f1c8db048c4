"""The `strategy` object that every event hands to a plugin: live attributes under the names of Avalanche.

Names and meanings are those of Avalanche's `SupervisedTemplate`. A plugin that needs an attribute not listed here is
refused by :mod:`metaplast.strategies.compat`.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import torch
from avalanche.models.utils import avalanche_model_adaptation
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.plugins.clock import Clock
from pytorch_lightning import Trainer
from torch import Tensor, nn

from metaplast.errors import UserError
from metaplast.nn import TaskCrossEntropy


class Learner(Protocol):
    """The part of the LightningModule that the view uses."""

    network: nn.Module
    criterion: nn.Module

    @property
    def device(self) -> torch.device:
        """Where the network is."""

    def update_population_statistics(self) -> None:
        """Set the population statistics of the network for its current weights and task."""


class StrategyView:
    """The attributes that plugins read, one per line; "a plugin may" marks those that they can write with an effect."""

    def __init__(self, plugins: Sequence[Any], train_mb_size: int, eval_mb_size: int, train_epochs: int) -> None:
        self.clock = Clock()
        """Counters of experiences, epochs and iterations; counts after all plugins have seen an event."""
        self.plugins: list[Any] = [*plugins, self.clock]
        """All plugins in the order in which they are called, the clock last."""
        self.train_mb_size = train_mb_size
        """Images a training batch."""
        self.eval_mb_size = eval_mb_size
        """Images a test batch."""
        self.train_epochs = train_epochs
        """Epochs an experience."""
        self._criterion: Any = nn.CrossEntropyLoss()
        """Loss of (logits, labels), once attached that of the learner; a plugin may replace it."""
        self.is_training = False
        """False during tests."""
        self.current_eval_stream: Iterable[Any] = []
        """The test stream, during tests."""
        self.experience: Any = None
        """The experience that is trained or tested; None outside. Its `dataset` is the data without additions."""
        self.adapted_dataset: Any = None
        """The data trained on, from the dataset adaptation to the end of the experience; a plugin may replace it."""
        self.dataloader: Any = []
        """Batches of the current epoch; a plugin may replace it in `before_training_exp`, for the whole experience."""
        self.mbatch: list[Tensor] | None = None
        """[images, labels, task labels] in an iteration; a plugin may replace or extend it before the forward pass."""
        self.mb_output: Tensor | None = None
        """Logits of the batch after the forward pass; a plugin may replace them, in tests as well."""
        self.loss: Tensor = torch.zeros(1)
        """Loss of the batch, shape (1,), before the backward pass; a plugin may add to it or replace it."""
        evaluators = [plugin for plugin in plugins if isinstance(plugin, EvaluationPlugin)]
        if evaluators:
            self.evaluator = evaluators[0]
            """The `EvaluationPlugin` among the plugins, if there is one."""

    def attach(self, learner: Learner, trainer: Trainer) -> None:
        """Connect the view to the network of `learner` and the optimizer of `trainer`."""
        self._learner, self._trainer = learner, trainer
        self._criterion = learner.criterion

    @property
    def model(self) -> nn.Module:
        """The network; its parameters, buffers and modes are the live ones."""
        return self._learner.network

    @model.setter
    def model(self, model: nn.Module) -> None:
        """Copy the values of another network of the same shape; reset the optimizer state, as Avalanche does.

        The network object stays, since optimizer and metrics refer to its parameters.
        """
        if model is self.model:
            return
        try:
            self.model.load_state_dict(model.state_dict())
        except RuntimeError as error:
            raise UserError(f"a plugin put a network of another shape in place of the trained one: {error}") from error
        self.model.train(model.training)
        self.optimizer.state.clear()

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer with its state and its parameter groups."""
        return self._trainer.optimizers[0]

    @property
    def device(self) -> torch.device:
        """Where network and batches are."""
        return self._learner.device

    @property
    def is_eval(self) -> bool:
        """True during tests."""
        return not self.is_training

    @property
    def mb_x(self) -> Tensor:
        """Images of the batch, (N, C, H, W)."""
        return self._batch[0]

    @property
    def mb_y(self) -> Tensor:
        """Labels of the batch, int64 (N,)."""
        return self._batch[1]

    @property
    def mb_task_id(self) -> Tensor:
        """Task labels of the batch, int64 (N,); 0 unless a loader of a plugin gives others."""
        return self._batch[-1]

    @property
    def _batch(self) -> list[Tensor]:
        assert self.mbatch is not None, "there is a batch only during an iteration"
        return self.mbatch

    def forward(self) -> Any:
        """Logits of the batch."""
        return self.model(self.mb_x)

    def masked_logits(self) -> Any:
        """Logits of a test batch; in task-incremental learning -inf for classes outside the task."""
        logits, criterion = self.forward(), self._criterion
        return criterion.mask(logits, self.mb_y) if isinstance(criterion, TaskCrossEntropy) else logits

    def criterion(self) -> Any:
        """Loss of the logits of the batch."""
        return self._criterion(self.mb_output, self.mb_y)

    def model_adaptation(self, model: nn.Module | None = None) -> nn.Module:
        """Let Avalanche's dynamic modules in `model`, by default the network, see the experience.

        Raises UserError where the network gets other parameters by it.
        """
        model = self.model if model is None else model
        before = [*map(id, model.parameters())]
        avalanche_model_adaptation(model, self.experience)
        if [*map(id, model.parameters())] != before:
            raise UserError(
                "the network has an Avalanche module that grows with the classes it sees; the bridge needs one whose "
                "parameters stay the same, since optimizer and checkpoints refer to them"
            )
        return model.to(self.device)

    def _make_empty_loss(self) -> Tensor:
        return torch.zeros(1, device=self.device)

    def clear(self) -> None:
        """Release what belongs to an experience that has ended."""
        self.experience = self.adapted_dataset = self.mbatch = self.mb_output = None
        self.dataloader = []
        self.loss = self._make_empty_loss()
