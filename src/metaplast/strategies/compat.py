"""Static checks of what a plugin needs: the events it implements and the strategy attributes it uses.

Also the wrapper that makes a plugin's own loader usable in Lightning's loop.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from avalanche.core import BasePlugin, BaseSGDPlugin

from metaplast.errors import UserError

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
