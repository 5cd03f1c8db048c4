"""Progress over the whole stream: a bar on a terminal, one line per epoch elsewhere.

━━━━━━━━━━━ task 2/5 · epoch 3/5 · 41,200 images/s · seen 93.1 % · 0:00:41 left
"""

import os
import sys
from collections.abc import Mapping
from datetime import timedelta
from time import monotonic
from typing import Any, Literal, TextIO, cast, get_args

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from torch import Tensor

from metaplast.errors import UserError
from metaplast.training.datamodule import Schedule

Mode = Literal["auto", "bar", "lines", "none"]

REFRESH_SECONDS = 0.5
"""Drawing the bar takes 0.7 to 2 ms, so it costs up to 0.4 % of the time: 16 µs of a step of 4 ms."""


class Progress(pl.Callback):
    """Show the current task and epoch of a run, its speed, its accuracy on the tasks seen, and the remaining time.

    Use it with `enable_progress_bar=False`, after the recorder in the list of callbacks. The remaining time follows
    from the epochs of this process, without its first step, which may include compilation.

    Args:
        schedule: the stream.
        mode: `bar`, `lines` (one an epoch), `none`, or `auto`: `bar` if standard output is a terminal, else `lines`.
        noun: what a task of the stream is called, such as a part.

    Raises:
        UserError: if there is no such mode.
    """

    takes_several_steps = True
    """A batch may hold those of several steps."""

    def __init__(self, schedule: Schedule, mode: str = "auto", noun: str = "task") -> None:
        if mode not in get_args(Mode):
            raise UserError(f"progress: expected one of {', '.join(get_args(Mode))}, got {mode!r}")
        self.schedule, self.mode, self.noun = schedule, cast(Mode, mode), noun
        self._shown: Mode = "none"
        self._separator = " · "
        self._bar: Bar | None = None
        self._next_refresh = 0.0
        self._row: Mapping[str, float | int] = {}
        self._started = 0.0
        """When this process began to train."""
        self._fit_mark: tuple[float, float] | None = None
        """When its first step was done, in seconds and in epochs of the stream."""
        self._epoch_mark: float | None = None
        """When the first step of this epoch was done."""
        self._step_mark = 0.0
        """When the last step was done."""
        self._images = 0
        """Images of the steps between those two."""

    def write(self, row: Mapping[str, float | int]) -> None:
        """Store the row of a measured epoch, of which `epoch`, `train_loss` and `average_accuracy_seen` are shown."""
        self._row = row

    def log_accuracy_matrix(self, task: int, R: Tensor) -> None:
        """Nothing: only rows are shown."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar before the first step, which may take a while to compile."""
        self._started, self._fit_mark, self._epoch_mark = monotonic(), None, None
        self._separator = _separator(sys.stdout)
        self._shown = shown_mode(self.mode, sys.stdout) if trainer.is_global_zero else "none"
        if self._shown == "bar":
            console = Console(force_terminal=True) if self.mode == "bar" else Console()
            columns = (
                BarColumn(bar_width=None, complete_style="cyan", finished_style="green"),
                TextColumn("{task.description}", markup=False),
            )
            self._bar = Bar(*columns, console=console, auto_refresh=False, expand=True)
            self._bar.add_task("", total=self.schedule.total_epochs)
            self._draw(trainer, trainer.current_epoch, at_once=True)
            self._bar.start()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure the speed of this epoch."""
        self._epoch_mark, self._images = None, 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the images; now and then, redraw the bar."""
        self._step_mark = monotonic()
        if self._epoch_mark is None:
            self._epoch_mark = self._step_mark
            self._fit_mark = self._fit_mark or (self._step_mark, _moment(trainer, batch_idx))
        else:
            self._images += len(batch[1])
        self._draw(trainer, _moment(trainer, batch_idx))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the line of an epoch, or redraw the bar."""
        moment = trainer.current_epoch + 1
        self._draw(trainer, moment, at_once=moment == self.schedule.total_epochs)
        if self._shown == "lines":
            print(self._text(trainer, moment), flush=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the final bar on the terminal."""
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Restore the terminal before the error is shown."""
        self._stop()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Restore the terminal."""
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _draw(self, trainer: pl.Trainer, moment: float, at_once: bool = False) -> None:
        """Redraw the bar, if there is one and it is time to."""
        if self._bar is None or (monotonic() < self._next_refresh and not at_once):
            return
        (task,) = self._bar.task_ids
        self._bar.update(task, completed=moment, description=self._text(trainer, moment))
        self._bar.refresh()
        self._next_refresh = monotonic() + REFRESH_SECONDS

    def _text(self, trainer: pl.Trainer, moment: float) -> str:
        """What is shown at `moment`, in epochs of the stream."""
        schedule, epoch, n = self.schedule, trainer.current_epoch, self.schedule.n_tasks
        task = f"all {n} {self.noun}s" if schedule.joint else f"{self.noun} {schedule.task(epoch) + 1}/{n}"
        parts = [task, f"epoch {schedule.epoch_in_task(epoch) + 1}/{schedule.epochs_per_task}"]
        measured = self._row.get("epoch") == epoch + 1
        if self._shown == "lines" and measured:
            parts.append(f"loss {self._row['train_loss']:.4f}")
        if self._epoch_mark is not None and self._images:
            parts.append(f"{self._images / (self._step_mark - self._epoch_mark):,.0f} images/s")
        if self._row and (self._shown == "bar" or measured):
            parts.append(f"seen {100 * self._row['average_accuracy_seen']:.1f} %")
        parts += self._time(moment)
        return self._separator.join(parts)

    def _time(self, moment: float) -> list[str]:
        """The remaining time at `moment` or, at the end, the total time; empty before a speed is known."""
        now, total = monotonic(), self.schedule.total_epochs
        if moment >= total:
            return [f"took {_clock(now - self._started)}"]
        if self._fit_mark is None or moment <= self._fit_mark[1]:
            return []
        seconds, epochs = now - self._fit_mark[0], moment - self._fit_mark[1]
        return [f"{_clock(seconds / epochs * (total - moment))} left"]


def shown_mode(mode: Mode, stream: TextIO) -> Mode:
    """The mode that is used for `mode` on `stream`: a bar needs a terminal that can move its cursor."""
    if mode != "auto":
        return mode
    return "bar" if stream.isatty() and os.environ.get("TERM") != "dumb" else "lines"


def _moment(trainer: pl.Trainer, batch_idx: int) -> float:
    """Epochs of the stream that are done after the batch, as a fraction."""
    return trainer.current_epoch + (batch_idx + 1) / trainer.num_training_batches


def _clock(seconds: float) -> str:
    """Whole seconds as H:MM:SS.

    >>> _clock(3725.6)
    '1:02:06'
    """
    return str(timedelta(seconds=round(seconds)))


def _separator(stream: TextIO) -> str:
    """The separator of the parts: a dot, if the encoding of the stream has it."""
    try:
        "·".encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return " | "
    return " · "
