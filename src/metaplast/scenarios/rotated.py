"""Rotated MNIST: every task has the same digits, rotated by its own angle.

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

    `angles`, in degrees counterclockwise, is a list with one angle per task, or the angle of the last task, in which
    case the angles increase evenly from 0. Each rotated task holds 55 MB of images. MNIST is read from `data_dir`, or
    downloaded to it. `seed` is not used, since nothing is random. Raises UserError for a wrong argument or for missing
    data.
    """
    check_arguments("metaplast.scenarios.rotated_mnist", "scenario", n_tasks=n_tasks, angles=angles)
    degrees = _angles(n_tasks, angles)
    train, test = (TaskTensors(*load_mnist(data_dir, train=part)) for part in (True, False))
    return Scenario.from_tensors(
        [replace(train, images=rotate(train.images, angle)) for angle in degrees],
        [replace(test, images=rotate(test.images, angle)) for angle in degrees],
        n_classes=_N_CLASSES,
    )


def _angles(n_tasks: int, angles: float | Sequence[float]) -> list[float]:
    if not isinstance(angles, Sequence):
        return [angles * task / max(1, n_tasks - 1) for task in range(n_tasks)]
    if len(angles) != n_tasks:
        listed = shown(list(angles))
        raise UserError(f"scenario.angles={listed}: expected scenario.n_tasks={n_tasks} angles, got {len(angles)}")
    return list(angles)
