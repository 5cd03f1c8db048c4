"""Rotated MNIST: every task shows the same digits, turned by an angle of its own.

Source: Lopez-Paz and Ranzato 2017 (arXiv 1706.08840).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from metaplast.config.arguments import check_arguments
from metaplast.config.constraints import shown
from metaplast.data import TaskTensors, load_mnist, rotate
from metaplast.errors import UserError
from metaplast.scenarios.base import Scenario

_N_CLASSES = 10


def rotated_mnist(n_tasks: int, angles: float | Sequence[float], seed: int, data_dir: str | Path) -> Scenario:
    """Rotated MNIST: `n_tasks` tasks of 60,000 training and 10,000 test images (1, 28, 28), pixels in [0, 1].

    `angles`, in degrees counter-clockwise, is a number, the angle of the last task, towards which the tasks turn evenly
    from 0; or a list with one angle a task. Each task other than an upright one keeps 55 MB of turned images. MNIST is
    read from `data_dir`, into which it is fetched if it is not there. Nothing is drawn at random: `seed` is not used.
    Raises UserError for a wrong argument and for data that cannot be had.
    """
    check_arguments("metaplast.scenarios.rotated_mnist", "scenario", n_tasks=n_tasks, angles=angles)
    turns = _angles(n_tasks, angles)
    train, test = (TaskTensors(*load_mnist(data_dir, train=part)) for part in (True, False))
    return Scenario.from_tensors(
        [replace(train, images=rotate(train.images, angle)) for angle in turns],
        [replace(test, images=rotate(test.images, angle)) for angle in turns],
        n_classes=_N_CLASSES,
    )


def _angles(n_tasks: int, angles: float | Sequence[float]) -> list[float]:
    if not isinstance(angles, Sequence):
        return [angles * task / max(1, n_tasks - 1) for task in range(n_tasks)]
    if len(angles) != n_tasks:
        listed = shown(list(angles))
        raise UserError(f"scenario.angles={listed}: expected scenario.n_tasks={n_tasks} angles, got {len(angles)}")
    return list(angles)
