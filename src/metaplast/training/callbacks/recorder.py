"""Measures every evaluated epoch as one row and passes it to the loggers (the file `metrics.csv`, W&B).

Only the file gets a row of epoch 0, before training, whose accuracies are the baseline of forward transfer. One of the
loggers writes the histograms of hidden weights after every task, hidden_weights.npz and .png.
"""

import functools
import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from metaplast.errors import UserError
from metaplast.io import atomic_path
from metaplast.loggers.base import MetricLogger, Row
from metaplast.loggers.csv import MetricsFile
from metaplast.metrics import SignFlips
from metaplast.metrics.hidden_weights import weight_histogram
from metaplast.nn import hidden_weights
from metaplast.report.figures.paper import write_histograms_figure
from metaplast.runs.names import HIDDEN_WEIGHTS
from metaplast.runs.tables import read_histograms, read_metrics
from metaplast.training.learner import Learner

log = logging.getLogger(__name__)


class Recorder(pl.Callback):
    """After every measured epoch, pass a row to the loggers; after every task, the accuracy matrix.

    Columns: `epoch` (trained so far), `step`, `task`, `epoch_in_task` (from 1), `train_loss` (mean since the last
    row), `average_accuracy_seen` (over the tasks trained so far), `accuracy/task_j`, `flips/LAYER` (fraction of
    binary weights whose sign changed since the last row), `samples_per_second` and `seconds` (of training alone,
    since the start of the run).

    Args:
        loggers: receive the rows.
        baseline: also receives the row of epoch 0, after Lightning's sanity check, which a resumed run must not repeat;
            there `train_loss`, `average_accuracy_seen` and `flips/LAYER` are NaN.
    """

    takes_several_steps = True
    """A batch may hold those of several steps."""

    def __init__(self, loggers: Sequence[MetricLogger] = (), baseline: MetricLogger | None = None) -> None:
        self.loggers, self.baseline = list(loggers), baseline
        self.rows: list[Row] = []
        self.train_seconds = 0.0
        """Time spent training, without tests and reports, over all the sessions of a run."""
        self.samples = 0
        """Images trained on, over all the sessions of a run."""
        self._started: float | None = None
        self._flips: SignFlips | None = None
        self._saved_flips: dict[str, Tensor] | None = None

    @property
    def samples_per_second(self) -> float:
        """Images a second of training time."""
        return self.samples / self.train_seconds if self.train_seconds else 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember the signs of the binary weights, or those of the run that is resumed."""
        self._flips = SignFlips(hidden_weights(cast(Learner, pl_module).network))
        if self._saved_flips is not None:
            self._flips.load_state_dict(self._saved_flips)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the images."""
        self.samples += len(batch[1])

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock before a test."""
        self._stop(pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock of an epoch that was not tested."""
        self._stop(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Make the row and, where a task ended, log the matrix."""
        learner = cast(Learner, pl_module)
        if trainer.sanity_checking:
            if self.baseline is not None:
                self.baseline.write(self._row_before_training(learner))
            return
        R = learner.matrix.compute()
        row = self._row(trainer, learner, R)
        self.rows.append(row)
        for logger in self.loggers:
            logger.write(row)
        if learner.schedule.ends_task(trainer.current_epoch):
            for logger in self.loggers:
                logger.log_accuracy_matrix(learner.task, R)

    def _row_before_training(self, learner: Learner) -> Row:
        """The columns of `_row`, in its order, with what is known before the first step."""
        unknown = float("nan")
        return {
            "epoch": 0,
            "step": 0,
            "task": learner.task,
            "epoch_in_task": 0,
            "train_loss": unknown,
            "average_accuracy_seen": unknown,
            **_accuracy_columns(learner.matrix.baseline()),
            **{f"flips/{name}": unknown for name in hidden_weights(learner.network)},
            "samples_per_second": self.samples_per_second,
            "seconds": self.train_seconds,
        }

    def _row(self, trainer: pl.Trainer, learner: Learner, R: Tensor) -> Row:
        assert self._flips is not None, "a row is made while training"
        accuracies = R[learner.task]
        return {
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step,
            "task": learner.task,
            "epoch_in_task": learner.schedule.epoch_in_task(trainer.current_epoch) + 1,
            "train_loss": learner.train_loss,
            "average_accuracy_seen": float(accuracies[: learner.task + 1].nanmean()),
            **_accuracy_columns(accuracies),
            **{f"flips/{name}": share for name, share in self._flips.update().items()},
            "samples_per_second": self.samples_per_second,
            "seconds": self.train_seconds,
        }

    def _stop(self, pl_module: pl.LightningModule) -> None:
        if self._started is not None:
            if pl_module.device.type == "cuda":
                torch.cuda.synchronize()
            self.train_seconds += time.perf_counter() - self._started
            self._started = None

    def state_dict(self) -> dict[str, Any]:
        """The state that a resumed run continues from."""
        flips = self._flips.state_dict() if self._flips is not None else None
        last = self.rows[-1:]  # of a thousand tasks, all rows would be tens of megabytes in every checkpoint
        state = {"train_seconds": self.train_seconds, "samples": self.samples, "rows": last, "flips": flips}
        return {**state, "file": self.baseline.state_dict()} if isinstance(self.baseline, MetricsFile) else state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a saved state; earlier rows are those in the file of the baseline, if it is one."""
        self.train_seconds, self.samples = state_dict["train_seconds"], state_dict["samples"]
        self.rows, self._saved_flips = list(state_dict["rows"]), state_dict["flips"]
        if isinstance(self.baseline, MetricsFile) and self.baseline.path.exists():
            self.rows = [dict(row) for row in read_metrics(self.baseline.path)] or self.rows


def _accuracy_columns(accuracies: Tensor) -> Row:
    """Accuracies (J,) by column of metrics.csv, NaN where not measured.

    Names and NaN are shared by all rows: of a thousand tasks, a million of each would take 100 MB.
    """
    return {
        name: math.nan if accuracy != accuracy else accuracy
        for name, accuracy in zip(_accuracy_names(len(accuracies)), accuracies.tolist(), strict=True)
    }


@functools.cache
def _accuracy_names(n_tested: int) -> tuple[str, ...]:
    return tuple(f"accuracy/task_{j}" for j in range(n_tested))


class WeightHistograms(pl.Callback):
    """A logger of the recorder that adds a histogram of every layer after every task, and saves them all.

    Args:
        folder: of the files. A resumed run writes them again from its checkpoint, if they are not as it knows them; of
            a checkpoint of an older version, the rows of tasks that are trained again are replaced.
        weights: the hidden weights by layer, as they are trained.
    """

    def __init__(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        self.folder, self.weights = folder, dict(weights)
        self._rows: dict[str, np.ndarray[Any, Any]] | None = None

    def write(self, row: Mapping[str, float | int]) -> None:
        """Nothing: histograms are of tasks."""

    def log_accuracy_matrix(self, task: int, R: Tensor) -> None:
        """Rewrite the files with a row for `task`; nothing for a network without binary layers."""
        if not self.weights:
            return
        path = self.folder / HIDDEN_WEIGHTS
        if self._rows is None:
            self._rows = {**read_histograms(path)} if path.exists() else {}
        rows = self._rows
        for name, hidden in self.weights.items():
            for part, values in weight_histogram(hidden)._asdict().items():
                before = rows.get(f"{name}/{part}", np.empty((0, len(values)), np.float32))[:task]
                rows[f"{name}/{part}"] = np.vstack([before, values.numpy()])
        self._write(path, rows)

    @staticmethod
    def _write(path: Path, rows: Mapping[str, np.ndarray[Any, Any]]) -> None:
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, **rows)  # type: ignore[arg-type]  # names are free, numpy's stubs think
        write_histograms_figure(path.with_suffix(".png"), {"": rows})

    def state_dict(self) -> dict[str, Any]:
        """The histograms so far."""
        return {name: torch.from_numpy(rows) for name, rows in (self._rows or {}).items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a saved state, and write the file again where it has other rows for the tasks so far."""
        path, rows = self.folder / HIDDEN_WEIGHTS, {name: saved.numpy() for name, saved in state_dict.items()}
        self._rows = rows
        try:
            found: Mapping[str, Any] = read_histograms(path)
        except UserError:
            found = {}
        if any(not np.array_equal(found.get(name, ())[: len(kept)], kept) for name, kept in rows.items()):
            log.warning("%s is missing, damaged or edited: made again from the checkpoint", path)
            self._write(path, rows)
