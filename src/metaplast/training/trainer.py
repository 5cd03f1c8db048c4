"""What a configuration asks for: the tasks to train and test on, the network, and the Trainer."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig
from pytorch_lightning.profilers import PassThroughProfiler
from torch import Tensor, nn

from metaplast.config.instantiate import build
from metaplast.scenarios import Scenario, first_tasks, hold_out
from metaplast.training.checkpoint import SafeCheckpointIO
from metaplast.training.datamodule import StreamDataModule
from metaplast.training.learner import Learner


def tasks_of(config: DictConfig, whole: Scenario) -> Scenario:
    """The tasks of the scenario to train, and what to test on; a config.yaml of before may lack both settings."""
    if config.get("only_tasks") is not None:
        whole = first_tasks(whole, config.only_tasks)
    return hold_out(whole, config.validation_share, config.seed) if config.get("test_on") == "validation" else whole


def network_for(config: DictConfig, whole: Scenario) -> nn.Module:
    """The network as it is before training, with a normalization for every task of the whole scenario."""
    network: nn.Module = build(
        config.model,
        input_shape=whole.input_shape,
        n_classes=whole.n_classes,
        # A mixed batch belongs to no task, and the parts of a stream, which share a test, are one.
        n_tasks=1 if config.strategy.stream == "joint" else whole.n_tests,
    )
    return network


_NOTHING = nullcontext()


class NoProfiler(PassThroughProfiler):
    """Lightning's own for no profile, without a generator for each of fifty hooks a step, a seventh of its calls."""

    def profile(self, action_name: str) -> AbstractContextManager[Any]:  # type: ignore[override]
        """Do nothing around an action."""
        return _NOTHING


def fit(learner: Learner, data: StreamDataModule, ckpt_path: Path | None = None, **settings: Any) -> Tensor:
    """Train `learner` on all tasks of `data` and return the accuracy matrix R, float64 of shape (T, J).

    Args:
        learner: the network with its optimizer and schedule.
        data: the stream; its schedule is the learner's.
        ckpt_path: a checkpoint to resume from.
        settings: of `pl.Trainer`. By default nothing is printed, logged or saved, and every task is tested before
            training, for the baseline of forward transfer.

    Raises:
        UserError: if learner, data and trainer do not fit each other, or training diverges.
    """
    quiet = dict.fromkeys(("enable_progress_bar", "enable_model_summary", "enable_checkpointing", "logger"), False)
    defaults: dict[str, Any] = {
        "devices": 1,
        "max_epochs": learner.schedule.total_epochs,
        "num_sanity_val_steps": -1 if ckpt_path is None else 0,
        "use_distributed_sampler": False,
        "plugins": [SafeCheckpointIO()],
    }
    pl.Trainer(**(quiet | defaults | settings)).fit(learner, datamodule=data, ckpt_path=ckpt_path)
    return learner.matrix.compute()
