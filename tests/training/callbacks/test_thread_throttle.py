"""Threads are given up while others use the cores, and taken back afterwards."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
import torch

from metaplast.training.callbacks.thread_throttle import FIRST_PAUSE, LONGEST_PAUSE, WINDOW, SharedCores

pytestmark = pytest.mark.usefixtures("threads_as_before")


class World:
    """A clock that goes on by a window with every batch, and threads that wait as they are told."""

    def __init__(self, threads: int) -> None:
        self.now, self.waited = 0.0, 0.0
        self.sharing = SharedCores(threads, lambda: self.waited, lambda: self.now)
        self.sharing.on_train_start(cast(Any, None), cast(Any, None))

    def window(self, waiting: float) -> int:
        """Let `waiting` threads wait for a window; the number of threads afterwards."""
        self.now += WINDOW
        self.waited += waiting * WINDOW
        self.sharing.on_train_batch_start(cast(Any, None), cast(Any, None), None, 0)
        return torch.get_num_threads()

    def until(self, threads: int, waiting: float) -> float:
        """Seconds until the number of threads is that."""
        start = self.now
        while self.window(waiting) != threads:
            assert self.now - start < 10 * LONGEST_PAUSE
        return self.now - start


def test_alone_it_keeps_all_threads() -> None:
    world = World(4)
    assert {world.window(waiting=0.3) for _ in range(50)} == {4}


def test_beside_others_it_halves_its_threads_until_none_waits() -> None:
    world = World(8)
    assert [world.window(waiting) for waiting in (3.0, 1.0, 0.5, 0.9, 0.0)] == [4, 2, 1, 1, 1]
    assert world.sharing.fewest == 1


def test_it_takes_its_threads_back_step_by_step() -> None:
    world = World(8)
    for _ in range(3):
        world.window(waiting=3.0)
    assert world.until(2, waiting=0.0) == FIRST_PAUSE
    assert [world.window(waiting=0.0) for _ in range(3)] == [4, 8, 8]


def test_it_tries_again_after_pauses_that_double() -> None:
    world = World(2)
    pauses = []
    for _ in range(7):
        assert world.window(waiting=1.0) == 1
        pauses.append(world.until(2, waiting=0.4))
    assert pauses == [min(FIRST_PAUSE * 2**i, LONGEST_PAUSE) for i in range(7)]


def test_a_try_that_finds_the_cores_free_starts_over() -> None:
    world = World(2)
    for _ in range(4):
        world.window(waiting=1.0)
        world.until(2, waiting=0.1)
    world.window(waiting=0.0)
    world.window(waiting=1.0)
    assert world.until(2, waiting=0.0) == FIRST_PAUSE


def test_evaluation_gives_way_too() -> None:
    world = World(2)
    world.now, world.waited = WINDOW, WINDOW
    world.sharing.on_validation_batch_start(None, None, None, 0)
    assert torch.get_num_threads() == 1


def test_within_a_window_nothing_is_read() -> None:
    readings: list[None] = []

    def waited() -> float:
        readings.append(None)
        return 1e9

    sharing = SharedCores(2, waited, lambda: 0.0)
    sharing.on_train_start(cast(Any, None), cast(Any, None))
    taken = len(readings)
    for _ in range(100):
        sharing.on_train_batch_start(cast(Any, None), cast(Any, None), None, 0)
    assert len(readings) == taken


@pytest.mark.parametrize(
    "waits", [[None, None, None], [1.0, None, None], [None, 1e9, 1e9]], ids=["never", "no longer", "not yet"]
)
def test_where_nobody_knows_all_threads_are_used(waits: Sequence[float | None]) -> None:
    answers = iter(waits)
    times = iter(range(100))
    waited: Callable[[], float | None] = lambda: next(answers, None)  # noqa: E731
    sharing = SharedCores(2, waited, lambda: float(next(times)))
    sharing.on_train_start(cast(Any, None), cast(Any, None))
    for _ in range(5):
        sharing.on_train_batch_start(cast(Any, None), cast(Any, None), None, 0)
    assert torch.get_num_threads() == 2
