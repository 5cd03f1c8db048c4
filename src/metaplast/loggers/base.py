"""The interface of all loggers, and the logger that records nothing."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor

from metaplast.runs.tables import matrices

if TYPE_CHECKING:
    from pytorch_lightning.loggers import WandbLogger

Row = dict[str, float | int]


class MetricLogger(Protocol):
    """A destination of rows and accuracy matrices."""

    def write(self, row: Row) -> None:
        """Record the row of one measured epoch."""

    def log_accuracy_matrix(self, task: int, R: Tensor) -> None:
        """Record the accuracy matrix R, (T, T) or (T, 1), as it is after `task`."""


def replay(rows: Sequence[Row], logger: MetricLogger, epochs_per_task: int, n_tasks: int) -> None:
    """Pass the rows of an earlier session, and the matrix after each of its tasks, to `logger`, as the recorder did."""
    for row, R in zip(rows, matrices(rows, n_tasks), strict=True):
        logger.write(row)
        if row["epoch_in_task"] == epochs_per_task:
            logger.log_accuracy_matrix(int(row["task"]), torch.from_numpy(R))


class NullLogger:
    """Records nothing: the run is recorded in its directory only. Other loggers inherit from it."""

    view_command: str | None = None
    """Shows the run in the terminal, live or later, without a server."""
    sync_command: str | None = None
    """Uploads the run; None where that is done already."""

    @property
    def logger(self) -> "WandbLogger | Literal[False]":
        """For `Trainer(logger=…)`: values that a LightningModule logs go to the same run."""
        return False

    def watch(self, weights: Mapping[str, Tensor]) -> None:
        """Add histograms of these hidden weights, by layer, to every row from now on."""

    def write(self, row: Mapping[str, float | int]) -> None:
        """Keep the row of a measured epoch."""

    def log_accuracy_matrix(self, task: int, R: Tensor) -> None:
        """Keep the accuracy matrix (T, T) or (T, 1) as it is after `task`, and its figures over the tasks so far."""

    def summary(self, values: Mapping[str, Any]) -> None:
        """Record the results of the run."""

    def model(self, metadata: Mapping[str, Any]) -> None:
        """Keep the model as it is now: `MODEL_FILES`, which have to be there, with a few values to find it by."""

    def finish(self, exit_code: int = 0) -> None:
        """End the run, as failed unless the exit code is 0. Call it whatever happens; a second call does nothing."""
