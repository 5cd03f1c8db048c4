"""A second accuracy matrix of one training: how its tests come out with the other statistics of batch normalization.

Training never reads them, so that one run answers for `model.test_statistics=batch` and `=population` alike.
"""

import copy
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch

from metaplast.metrics import AccuracyMatrix
from metaplast.nn import BatchNorm
from metaplast.nn.normalization import Statistics
from metaplast.runs.paths import alternate_matrix
from metaplast.runs.tables import write_matrix_csv
from metaplast.training.datamodule import StreamDataModule
from metaplast.training.learner import Learner

OTHER: dict[Statistics, Statistics] = {"batch": "population", "population": "batch"}
"""What is tested besides. Running averages are another training buffer, and not there if a run does not keep them."""


class OtherStatistics(pl.Callback):
    """At the end of every task, test all tasks with the statistics that the run does not use.

    The matrix goes to `folder`/accuracy_matrix_population.csv of a run with batch statistics, and to
    `folder`/accuracy_matrix_batch.csv of one with population statistics, and is what a run with these settings would
    have come to. Nothing is written without batch normalization, with running averages, or with plugins, which a test
    more would lead astray.
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
        write_matrix_csv(self.folder / alternate_matrix(OTHER[statistics]), self._matrix.compute().numpy())

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
            for task, batches in enumerate(data.val_dataloader()):
                for index, batch in enumerate(map(precision.convert_input, batches)):
                    learner.on_validation_batch_start(batch, index, task)
                    with precision.val_step_context():
                        learner.validation_step(batch, index, task)
            learner.on_validation_epoch_end()
        finally:
            learner.matrix = matrix
            for norm in norms:
                norm.test_statistics = used
            learner.train()

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run goes on from."""
        return {} if self._matrix is None else {"matrix": self._matrix.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self._saved = state_dict.get("matrix")
