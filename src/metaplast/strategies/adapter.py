"""What a plugin of Avalanche gets: the `strategy` object of every event, and static checks that it needs nothing else.

The attributes of the object are live, with the names and meanings of Avalanche's `SupervisedTemplate`. A plugin that
needs an attribute not listed here is refused: the events that it implements and the attributes that it uses are read
from its source. A wrapper makes a plugin's own loader usable in Lightning's loop.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import torch
from avalanche.core import BasePlugin, BaseSGDPlugin
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


EVENTS = tuple(
    sorted(name for name in vars(BasePlugin) | vars(BaseSGDPlugin) if name.startswith(("before_", "after_")))
)
"""The events of Avalanche's supervised training and evaluation, all of which the bridge fires."""

REASONS = {
    "stop_training": "but no experience can end early, since the number of the epoch decides which task is trained",
    "train": "but Lightning runs the loop",
    "eval": "but Lightning runs the loop",
    "retain_graph": "but Lightning runs the backward pass",
    "evaluator": "which is there only if an EvaluationPlugin is among strategy.plugins",
}
"""Why the bridge lacks an attribute of Avalanche's strategies, as the end of a sentence."""


def check_plugins_supported(plugins: Sequence[Any], offered: set[str]) -> None:
    """Raise UserError for a plugin that implements an event that is not fired or uses an attribute not in `offered`.

    Attributes are searched in the source of the plugin's methods. An attribute unknown to Avalanche's strategies too is
    allowed if one of the plugins writes it: plugins pass values to each other that way.
    """
    notes = {name for plugin in plugins for name in used_attributes(plugin, written=True)} - set(REASONS)
    for plugin in plugins:
        kind = type(plugin).__name__
        events = {name for name in dir(type(plugin)) if name.startswith(("before_", "after_"))}
        if not events:
            raise UserError(f"strategy.plugins: expected Avalanche plugins, got {kind}, which has no event")
        for event in sorted(events.difference(EVENTS)):
            raise UserError(
                f"strategy.plugins: {kind} implements the event {event}, which supervised training does not fire"
            )
        for name in sorted(used_attributes(plugin, written=False) - offered - notes):
            reason = REASONS.get(name, "which the bridge does not provide")
            raise UserError(f"strategy.plugins: {kind} uses strategy.{name}, {reason}")


def implements_event(plugin: Any, *events: str) -> bool:
    """Whether the class of `plugin` implements one of `events`.

    >>> from avalanche.training.plugins import LwFPlugin
    >>> implements_event(LwFPlugin(), "after_training_exp"), implements_event(LwFPlugin(), "before_update")
    (True, False)
    """
    return any(getattr(type(plugin), event, None) not in (None, getattr(BaseSGDPlugin, event)) for event in events)


def used_attributes(plugin: Any, written: bool) -> set[str]:
    """Names of the attributes of its strategy that `plugin` uses, or only of those that it writes.

    >>> from avalanche.training.plugins import LwFPlugin
    >>> sorted(used_attributes(LwFPlugin(), written=False))
    ['experience', 'loss', 'mb_output', 'mb_x', 'model']
    """
    return {
        node.attr
        for function, strategy in _functions(type(plugin))
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == strategy
        if not written or isinstance(node.ctx, ast.Store)
    }


def _functions(kind: type) -> Iterator[tuple[ast.FunctionDef, str]]:
    """Methods of a class and of its bases below Avalanche's own, each with the name that it has for the strategy."""
    for base in kind.__mro__:
        if base.__module__ in ("avalanche.core", "abc", "typing", "builtins"):
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except OSError:  # defined where no source is kept
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                names = [argument.arg for argument in node.args.args]
                if node.name in EVENTS and len(names) > 1:
                    yield node, names[1]
                elif "strategy" in names:
                    yield node, "strategy"


class PluginBatches:
    """A loader made by a plugin, for Lightning's loop, which needs a length and may ask for more than one iterator.

    Raises UserError for one without a length, and RuntimeError for one that ends before its length.
    """

    def __init__(self, loader: Any) -> None:
        if not hasattr(loader, "__len__"):
            raise UserError(
                f"the plugin's loader ({type(loader).__name__}) must define `__len__`, so that the epoch ends"
            )
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        yielded = 0
        for batch in self.loader:  # iterated only now, since that draws random numbers
            yielded += 1
            yield batch
        if yielded < len(self):
            raise RuntimeError(f"a plugin's loader gave {yielded} batches, but its length is {len(self)}")
