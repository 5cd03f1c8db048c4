"""What a run is built from: the tasks that it selects, its network, its Trainer, and the runtime that they need.

Kinds say what the targets of a configuration have to be, so that nothing else is ever called. `fit` trains a learner
that Python code has built, without a configuration.
"""

import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor, nn

from metaplast.config.instantiate import Kind, build, shared_arguments
from metaplast.errors import UserError
from metaplast.runs.names import LAST_CHECKPOINT
from metaplast.scenarios import Scenario, first_tasks, hold_out
from metaplast.system import default_threads, keep_freed_memory
from metaplast.training.checkpoint import LastCheckpoint, SafeCheckpointIO
from metaplast.training.datamodule import Schedule, StreamDataModule
from metaplast.training.learner import Learner

if TYPE_CHECKING:
    from metaplast.strategies.bridge import Bridge

_NOTHING = nullcontext()


def select_tasks(config: DictConfig, whole: Scenario) -> Scenario:
    """The tasks of the scenario to train on, and the data to test on; an old config.yaml may lack both settings."""
    if config.get("max_tasks") is not None:
        whole = first_tasks(whole, config.max_tasks)
    return hold_out(whole, config.val_fraction, config.seed) if config.get("eval_split") == "validation" else whole


def build_network(config: DictConfig, whole: Scenario) -> nn.Module:
    """The untrained network, with a normalization for every task of the whole scenario."""
    network: nn.Module = build(
        config.model,
        MODEL,
        input_shape=whole.input_shape,
        n_classes=whole.n_classes,
        # A mixed batch belongs to no task, and the parts of a stream, which share a test, are one.
        n_tasks=1 if config.strategy.task_order == "joint" else whole.n_tests,
    )
    return network


def build_bridge(config: DictConfig, scenario: Scenario) -> "Bridge | None":
    """The bridge that drives the strategy's plugins; None where the strategy has no plugins."""
    if not config.strategy.plugins:
        return None
    from metaplast.strategies.bridge import Bridge  # imports Avalanche's training, which takes seconds

    plugins = [build(node, PLUGIN, **shared_arguments(config.strategy, node)) for node in config.strategy.plugins]
    return Bridge(plugins, scenario.benchmark, config.batch_size, config.eval_batch_size, config.epochs_per_task)


def configure_runtime(trainer: DictConfig) -> None:
    """Set the number of threads and silence libraries. Raises UserError where the device that was asked for is missing.

    `trainer` is that section of the configuration.
    """
    rank_zero_only.rank = 0  # type: ignore[attr-defined]  # where a cluster has numbered this process otherwise
    torch.set_num_threads(trainer.threads or default_threads())
    keep_freed_memory()
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # advertisements and a line for each device
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # "no CUDA", while compiling for a CPU
    # Lightning calls torch in a deprecated way, and warns of steps that are not logged, which are logged by epoch here.
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    if trainer.accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError("trainer.accelerator=gpu: torch finds no GPU here; use trainer=cpu or trainer=auto")


def make_trainer(
    config: DictConfig,
    run_dir: Path,
    schedule: Schedule,
    callbacks: Sequence[Callback],
    logger: Logger | Literal[False],
    about: Mapping[str, Any] | None = None,
) -> pl.Trainer:
    """The Trainer for all tasks of a run: one device, no distribution, checkpoints in `run_dir` that say `about` it."""
    every = config.trainer.checkpoint_every
    return pl.Trainer(
        accelerator=config.trainer.accelerator,
        devices=1,
        precision=config.trainer.precision,
        max_epochs=schedule.total_epochs,
        check_val_every_n_epoch=config.eval_every_n_epochs,
        # Every task is tested before any training, for the baseline of forward transfer; a resumed run has it already.
        num_sanity_val_steps=-1 if config.resume is None else 0,
        reload_dataloaders_every_n_epochs=1,
        callbacks=[*callbacks, *([LastCheckpoint(run_dir / LAST_CHECKPOINT, every, about)] if every else [])],
        # One process on one device, whatever a cluster's environment variables tell Lightning about others.
        plugins=[SafeCheckpointIO(), OneProcess()],
        profiler=NoProfiler(),
        logger=logger,
        enable_checkpointing=bool(every),
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=run_dir,
    )


class OneProcess(LightningEnvironment):
    """The environment of a run, one process on one device: Slurm's and other launchers' ranks are ignored.

    Every task of `srun --ntasks=4` would else be one of four parts of a run, of which only the first writes files.
    """

    @property
    def creates_processes_externally(self) -> bool:
        """No."""
        return False

    def local_rank(self) -> int:
        """The only process is the first."""
        return 0

    def node_rank(self) -> int:
        """The only node is the first."""
        return 0


class NoProfiler(PassThroughProfiler):
    """Lightning's own for no profile, without a generator for each of fifty hooks a step, a seventh of its calls."""

    def profile(self, action_name: str) -> AbstractContextManager[Any]:  # type: ignore[override]
        """Do nothing around an action."""
        return _NOTHING


def _is_plugin(kind: type) -> bool:
    # Avalanche's training: seconds, which a run without plugins need not pay.
    from avalanche.core import BasePlugin

    from metaplast.strategies.adapter import EVENTS

    return issubclass(kind, BasePlugin) or any(callable(getattr(kind, event, None)) for event in EVENTS)


SCENARIO = Kind("a scenario", lambda kind: issubclass(kind, Scenario), ("seed", "data_dir"))
MODEL = Kind("a model", lambda kind: issubclass(kind, nn.Module), ("input_shape", "n_classes", "n_tasks"))
OPTIMIZER = Kind("an optimizer", lambda kind: issubclass(kind, torch.optim.Optimizer))
PLUGIN = Kind("an Avalanche plugin", _is_plugin)


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
