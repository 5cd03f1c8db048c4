"""Stop a run after a task when a search finds it hopeless."""

from collections.abc import Callable
from typing import cast

import pytorch_lightning as pl

from metaplast.training.learner import Learner

IsHopeless = Callable[[int, float], bool]
"""Decides whether to stop, given a task and the average accuracy over the tasks trained so far, in [0, 1]."""


class Pruning(pl.Callback):
    """After every task but the last, ask `is_hopeless` and stop the run if it is."""

    def __init__(self, is_hopeless: IsHopeless) -> None:
        self.is_hopeless = is_hopeless
        self.pruned = False
        """Whether the run was stopped."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Ask where a task ended; Lightning then finishes the epoch, including the checkpoint, and stops."""
        learner = cast(Learner, pl_module)
        if trainer.sanity_checking or not learner.schedule.ends_task(trainer.current_epoch):
            return
        task = learner.task
        hopeless = self.is_hopeless(task, float(learner.matrix.compute()[task, : task + 1].nanmean()))
        if hopeless and task < learner.schedule.n_tasks - 1:
            self.pruned = trainer.should_stop = True
