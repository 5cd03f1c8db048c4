"""What the targets of a configuration have to be, so that nothing else is ever called."""

import torch
from torch import nn

from metaplast.config.instantiate import Kind
from metaplast.scenarios import Scenario


def _is_plugin(kind: type) -> bool:
    # Avalanche's training: seconds, which a run without plugins need not pay.
    from avalanche.core import BasePlugin

    from metaplast.strategies.compat import EVENTS

    return issubclass(kind, BasePlugin) or any(callable(getattr(kind, event, None)) for event in EVENTS)


SCENARIO = Kind("a scenario", lambda kind: issubclass(kind, Scenario), ("seed", "data_dir"))
MODEL = Kind("a model", lambda kind: issubclass(kind, nn.Module), ("input_shape", "n_classes", "n_tasks"))
OPTIMIZER = Kind("an optimizer", lambda kind: issubclass(kind, torch.optim.Optimizer))
PLUGIN = Kind("an Avalanche plugin", _is_plugin)
