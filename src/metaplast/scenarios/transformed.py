"""The same images in every task, transformed: their pixels permuted, or the images rotated.

The permutation of a task, including task 0, is a pure function of (seed, task), so that more tasks do not change the
earlier ones. A rotation has an angle per task.

Sources: Goodfellow et al. 2013 (arXiv 1312.6211) and Kirkpatrick et al. 2017 (arXiv 1612.00796) for permutations;
Lopez-Paz and Ranzato 2017 (arXiv 1706.08840) for rotations.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch.nn.functional import pad

from metaplast.config.constraints import shown
from metaplast.config.targets import check_arguments
from metaplast.data import TaskTensors, load_digits, load_fashion_mnist, load_mnist, random_permutation, rotate
from metaplast.errors import UserError
from metaplast.scenarios.base import Scenario

_N_CLASSES = 10


def permuted_mnist(n_tasks: int, seed: int, data_dir: str | Path, padding: int = 0) -> Scenario:
    """Permuted MNIST: `n_tasks` tasks of 60,000 training and 10,000 test images, pixels in [0, 1].

    Images have the shape (1, 28 + 2p, 28 + 2p), where p = `padding` black pixels were added on each side before the
    permutation: with p = 2, as in van de Ven & Tolias (arXiv 1809.10635), tasks have fewer non-black pixels in
    common. `n_tasks` is an integer ≥ 1, `seed` and `padding` ≥ 0; MNIST is read from `data_dir`, or
    downloaded to it. Raises UserError for a wrong argument or for missing data.
    """
    check_arguments("metaplast.scenarios.permuted_mnist", "scenario", n_tasks=n_tasks, padding=padding, seed=seed)
    train, test = (TaskTensors(*load_mnist(data_dir, train=part)) for part in (True, False))
    return _permuted(_padded(train, padding), _padded(test, padding), n_tasks, seed)


def permuted_fashion_mnist(n_tasks: int, seed: int, data_dir: str | Path) -> Scenario:
    """Permuted Fashion-MNIST: sizes, arguments and errors as in :func:`permuted_mnist`."""
    check_arguments("metaplast.scenarios.permuted_mnist", "scenario", n_tasks=n_tasks, seed=seed)
    train, test = (TaskTensors(*load_fashion_mnist(data_dir, train=part)) for part in (True, False))
    return _permuted(train, test, n_tasks, seed)


def permuted_digits(n_tasks: int, seed: int, data_dir: str | Path | None = None) -> Scenario:
    """Permuted digits of scikit-learn: `n_tasks` tasks of 1,442 training and 355 test images (1, 8, 8), in [0, 1].

    Arguments and errors as in :func:`permuted_mnist`; `data_dir` is not used, since the images come with scikit-learn.
    """
    check_arguments("metaplast.scenarios.permuted_mnist", "scenario", n_tasks=n_tasks, seed=seed)
    train, test = (TaskTensors(*load_digits(train=part)) for part in (True, False))
    return _permuted(train, test, n_tasks, seed)


def _padded(tensors: TaskTensors, padding: int) -> TaskTensors:
    return replace(tensors, images=pad(tensors.images, (padding,) * 4)) if padding else tensors


def _permuted(train: TaskTensors, test: TaskTensors, n_tasks: int, seed: int) -> Scenario:
    n_pixels = train.images[0].numel()
    permutations = [random_permutation(n_pixels, seed, task) for task in range(n_tasks)]
    return Scenario.from_tensors(
        [replace(train, permutation=permutation) for permutation in permutations],
        [replace(test, permutation=permutation) for permutation in permutations],
        n_classes=_N_CLASSES,
    )


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
