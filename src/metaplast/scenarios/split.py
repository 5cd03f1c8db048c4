"""Split scenarios: the classes of one data set, a few per task.

Class-incremental: one head for all classes and no task label. Task-incremental: the task label is given, and the logits
of other classes are masked in training and in testing; `Scenario.classes_of_task` lists the classes of each task.

Sources: Zenke et al. 2017 (arXiv 1703.04200); van de Ven and Tolias 2019 (arXiv 1904.07734) for the two kinds.
"""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from metaplast.config.arguments import check_arguments, check_divides
from metaplast.data import TaskTensors, load_digits, load_fashion_mnist, load_mnist, split_by_class
from metaplast.scenarios.base import Scenario

_N_CLASSES = 10


def split_mnist(n_tasks: int, incremental: str, seed: int, data_dir: str | Path) -> Scenario:
    """MNIST's ten digits in `n_tasks` tasks of equally many digits, smallest first; images (1, 28, 28) in [0, 1].

    `n_tasks` is 1, 2, 5 or 10; `incremental` is `class` or `task`. MNIST is read from `data_dir`, or downloaded
    to it. `seed` is not used, since nothing is random. Raises UserError for a wrong argument or for missing data.
    """
    return _split(lambda train: load_mnist(data_dir, train), n_tasks, incremental)


def split_fashion_mnist(n_tasks: int, incremental: str, seed: int, data_dir: str | Path) -> Scenario:
    """Fashion-MNIST's ten classes, otherwise as :func:`split_mnist`."""
    return _split(lambda train: load_fashion_mnist(data_dir, train), n_tasks, incremental)


def split_digits(n_tasks: int, incremental: str, seed: int, data_dir: str | Path | None = None) -> Scenario:
    """The ten digits of scikit-learn, images (1, 8, 8), otherwise as :func:`split_mnist`; `data_dir` is not used."""
    return _split(load_digits, n_tasks, incremental)


def _split(load: Callable[[bool], tuple[Tensor, Tensor]], n_tasks: int, incremental: str) -> Scenario:
    check_arguments("metaplast.scenarios.split_mnist", "scenario", n_tasks=n_tasks, incremental=incremental)
    check_divides("scenario.n_tasks", n_tasks, _N_CLASSES)
    width = _N_CLASSES // n_tasks
    classes = tuple(tuple(range(first, first + width)) for first in range(0, _N_CLASSES, width))
    train, test = (split_by_class(TaskTensors(*load(part)), classes) for part in (True, False))
    return Scenario.from_tensors(
        train, test, n_classes=_N_CLASSES, classes_of_task=classes if incremental == "task" else None
    )
