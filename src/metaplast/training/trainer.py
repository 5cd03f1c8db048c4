"""What a configuration asks for: the tasks of the scenario that a run trains and tests on, and its network.

No profiler for Lightning's loop.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning.profilers import PassThroughProfiler
from torch import nn

from metaplast.config.instantiate import build
from metaplast.scenarios import Scenario, first_tasks, hold_out


def tasks_of(config: DictConfig, whole: Scenario) -> Scenario:
    """The tasks of the scenario to train, and what to test on; a config.yaml of before may lack both settings."""
    if config.get("max_tasks") is not None:
        whole = first_tasks(whole, config.max_tasks)
    return hold_out(whole, config.val_fraction, config.seed) if config.get("eval_split") == "validation" else whole


def network_for(config: DictConfig, whole: Scenario) -> nn.Module:
    """The network as it is before training, with a normalization for every task of the whole scenario."""
    network: nn.Module = build(
        config.model,
        input_shape=whole.input_shape,
        n_classes=whole.n_classes,
        # A mixed batch belongs to no task, and the parts of a stream, which share a test, are one.
        n_tasks=1 if config.strategy.task_order == "joint" else whole.n_tests,
    )
    return network


_NOTHING = nullcontext()


class NoProfiler(PassThroughProfiler):
    """Lightning's own for no profile, without a generator for each of fifty hooks a step, a seventh of its calls."""

    def profile(self, action_name: str) -> AbstractContextManager[Any]:  # type: ignore[override]
        """Do nothing around an action."""
        return _NOTHING
