"""Use fewer threads while other processes use the cores."""

from collections.abc import Callable
from time import monotonic
from typing import Any

import pytorch_lightning as pl
import torch

from metaplast.system import waited_for_cores

WINDOW = 0.5
"""Seconds over which waiting is measured."""
MOST_WAITING = 0.1
"""Share of a window that a thread may, on average, be ready to run without a core."""
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0
"""Seconds on fewer threads before more are tried again: at first, and at most; every vain try doubles them."""


class SharedCores(pl.Callback):
    """Halve the threads of a run whose threads wait for cores that others use, and try twice as many again later.

    Threads meet some thirty times a step. One that has to wait for a core keeps the others waiting, which spin and so
    keep the core from whoever could use it: two trainings with two threads each on the same two cores stand nearly
    still, with one thread each both run at full speed. What a binary network of linear layers computes does not depend
    on the number of threads (`metaplast.nn._deterministic`); other networks add up in another order.

    Args:
        threads: the number to use when no other process needs the cores.
        waited: seconds that the threads of this process have waited for cores so far; None if unknown, and then all
            threads are used throughout.
        clock: seconds.
    """

    takes_several_steps = True
    """A batch may hold those of several steps."""

    def __init__(
        self,
        threads: int,
        waited: Callable[[], float | None] = waited_for_cores,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.threads = self.fewest = threads
        """The number that may be used, and the smallest number that was used."""
        self._waited, self._clock = waited, clock
        self._start = 0.0
        self._waited_before: float | None = None
        self._pause, self._try_again, self._trying = FIRST_PAUSE, 0.0, False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with all threads."""
        self._use(self.threads)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """At the end of a window, check whether threads waited in it."""
        self._look()

    def on_validation_batch_start(self, *args: Any) -> None:
        """The same."""
        self._look()

    def _look(self) -> None:
        now = self._clock()
        if self.threads == 1 or now - self._start < WINDOW:
            return
        used, before, waited = torch.get_num_threads(), self._waited_before, self._waited()
        seconds, self._start, self._waited_before = now - self._start, now, waited
        if before is None or waited is None:
            return
        crowded = used > 1 and waited - before > MOST_WAITING * used * seconds
        if crowded:
            self._pause = min(2 * self._pause, LONGEST_PAUSE) if self._trying else FIRST_PAUSE
            self._try_again = now + self._pause
            self._use(used // 2)
        elif used < self.threads and now >= self._try_again:
            self._use(min(2 * used, self.threads))
            self._trying = True
        else:
            self._trying = False

    def _use(self, threads: int) -> None:
        """Set the number of threads and start a window; the waits of threads that end are not counted any more."""
        torch.set_num_threads(threads)
        self.fewest = min(self.fewest, threads)
        self._start, self._waited_before, self._trying = self._clock(), self._waited(), False
