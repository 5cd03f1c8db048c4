"""Fewer threads while other processes use the cores."""

from collections.abc import Callable
from time import monotonic
from typing import Any

import pytorch_lightning as pl
import torch

from metaplast.threads import waited_for_cores

WINDOW = 0.5
"""Seconds over which waiting is measured."""
MOST_WAITING = 0.2
"""Threads, on average over a window, that may be ready to run without a core."""
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0
"""Seconds on fewer threads before all are tried again: at first, and at most; every vain try doubles them."""


class SharedCores(pl.Callback):
    """Halve the threads of a training whose threads wait for cores that others use, and try all of them again later.

    Threads meet some thirty times a step. One that has to wait for a core keeps the others waiting, which spin and so
    keep the core from whoever could use it: two trainings with two threads each on the same two cores stand nearly
    still, with one thread each both run at full speed. What a dense binary network computes does not depend on the
    number of threads (`metaplast.nn.one_thread`).

    Args:
        threads: as many as it may use when alone.
        waited: seconds that the threads of this process have waited for cores so far; None where nobody knows, and
            then all threads are used throughout.
        clock: seconds.
    """

    def __init__(
        self,
        threads: int,
        waited: Callable[[], float | None] = waited_for_cores,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.threads = threads
        self._waited, self._clock = waited, clock
        self._window = (clock(), waited() or 0.0)
        """When it began, and what had been waited by then."""
        self._pause, self._try_again = FIRST_PAUSE, 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with all threads."""
        torch.set_num_threads(self.threads)
        self._window = (self._clock(), self._waited() or 0.0)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """At the end of a window, see whether threads waited in it."""
        now, (start, waited_before) = self._clock(), self._window
        if now - start < WINDOW or self.threads == 1:
            return
        waited = self._waited()
        if waited is None:
            return
        self._window = (now, waited)
        used = torch.get_num_threads()
        if used > 1 and (waited - waited_before) / (now - start) > MOST_WAITING:
            torch.set_num_threads(used // 2)
            self._try_again = now + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
        elif used == self.threads:
            self._pause = FIRST_PAUSE
        elif now >= self._try_again:
            torch.set_num_threads(self.threads)
