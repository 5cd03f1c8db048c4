"""What happens when a task has ended: a second test with other statistics, and the end of a run that is hopeless.

The second accuracy matrix is of the same training, which never reads the test statistics of batch normalization: so one
run answers for `batch` and `population` alike.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch

from metaplast.metrics import AccuracyMatrix
from metaplast.nn import BatchNorm, select_task
from metaplast.nn.normalization import Statistics
from metaplast.runs.names import alternate_matrix
from metaplast.runs.tables import write_matrix_csv
from metaplast.training.datamodule import StreamDataModule
from metaplast.training.learner import Learner

OTHER: dict[Statistics, Statistics] = {"batch": "population", "population": "batch"}
"""The statistics tested in addition. Running averages exist only in a run that keeps them while training."""


class OtherStatistics(pl.Callback):
    """At the end of every task, test all tasks with the statistics that the run does not use.

    The matrix goes to `folder`/accuracy_matrix_population.csv of a run with batch statistics, and to
    `folder`/accuracy_matrix_batch.csv of one with population statistics, and is what a run with these settings would
    have come to. Nothing is written without batch normalization, with running averages, or with plugins, whose
    state another test would change.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._matrix: AccuracyMatrix | None = None
        self._saved: dict[str, Any] | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start with an empty matrix, or with that of the run that is resumed."""
        self._matrix = copy.deepcopy(cast(Learner, pl_module).matrix)
        self._matrix.reset()
        if self._saved is not None:
            self._matrix.load_state_dict(self._saved)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Test once more, where a task ended, and write the matrix."""
        learner = cast(Learner, pl_module)
        norms = [module for module in learner.network.modules() if isinstance(module, BatchNorm)]
        used = {norm.test_statistics for norm in norms}
        if len(used) != 1 or learner.bridge is not None or not learner.schedule.ends_task(trainer.current_epoch):
            return
        (statistics,) = used
        if statistics not in OTHER:
            return
        self._test(trainer, learner, norms, OTHER[statistics])
        assert self._matrix is not None, "tests are made while training"
        write_matrix_csv(self.folder / alternate_matrix(OTHER[statistics]), self._matrix.compute().cpu().numpy())

    @torch.no_grad()
    def _test(self, trainer: pl.Trainer, learner: Learner, norms: list[BatchNorm], statistics: Statistics) -> None:
        """The learner's own test, with other statistics and into this matrix."""
        data, precision = cast(StreamDataModule, trainer.datamodule), trainer.precision_plugin  # type: ignore[attr-defined]
        used, matrix = norms[0].test_statistics, learner.matrix
        learner.matrix = cast(AccuracyMatrix, self._matrix)
        learner.eval()
        for norm in norms:
            norm.test_statistics = statistics
        try:
            learner.on_validation_epoch_start()
            for task, batches in enumerate(data.test_dataloader()):
                learner.select_trained(task, learner.task)
                for batch in map(precision.convert_input, batches):
                    with precision.val_step_context():
                        learner.count(batch, learner.task, task)
            select_task(learner.network, None)
        finally:
            learner.matrix = matrix
            for norm in norms:
                norm.test_statistics = used
            learner.train()

    def state_dict(self) -> dict[str, Any]:
        """The state that a resumed run continues from."""
        return {} if self._matrix is None else {"matrix": self._matrix.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self._saved = state_dict.get("matrix")


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
