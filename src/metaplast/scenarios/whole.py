"""Different data sets, each a task of its own: MNIST then Fashion-MNIST and the reverse.

All tasks share one head of ten classes: label 3 is a 3 in one task and a dress in the other.

Source: Laborieux et al. 2021 (arXiv 2101.07592), Fig. 4.
"""

from collections.abc import Sequence
from pathlib import Path

from metaplast.data import TaskTensors, load_fashion_mnist, load_mnist
from metaplast.scenarios.arguments import check_order
from metaplast.scenarios.scenario import Scenario

_LOADERS = {"mnist": load_mnist, "fashion_mnist": load_fashion_mnist}
_N_CLASSES = 10


def whole_datasets(order: Sequence[str], seed: int, data_dir: str | Path) -> Scenario:
    """One task a data set, in the order given: 60,000 training and 10,000 test images (1, 28, 28), pixels in [0, 1].

    `order` is a list of one or two different names of `mnist` and `fashion_mnist`. The data are read from `data_dir`,
    into which they are fetched if they are not there. Nothing is drawn at random: `seed` is not used. Raises UserError
    for a wrong argument and for data that cannot be had.
    """
    check_order("scenario.order", order, [*_LOADERS])
    train, test = ([TaskTensors(*_LOADERS[name](data_dir, train=part)) for name in order] for part in (True, False))
    return Scenario.from_tensors(train, test, n_classes=_N_CLASSES)
