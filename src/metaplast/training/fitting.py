"""Train a learner on a whole stream with a Trainer that has all the settings it needs."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from metaplast.training.checkpoint import SafeCheckpointIO
from metaplast.training.datamodule import StreamDataModule
from metaplast.training.learner import Learner


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
