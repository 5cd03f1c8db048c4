"""Stream learning: one data set, seen part after part, each part only once, and tested as a whole.

The parts are drawn without regard to class, so that all are of one distribution: what is lost is not the past task but
the past samples. There is one test, since there is one task; `n_parts=1` is the same data all at once.

Source: Laborieux et al. 2021 (arXiv 2101.07592), stream learning.
"""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from metaplast.data import TaskTensors, load_cifar10, load_fashion_mnist, random_permutation
from metaplast.scenarios.arguments import check_whole
from metaplast.scenarios.scenario import Scenario

_N_CLASSES = 10


def fashion_mnist_stream(n_parts: int, seed: int, data_dir: str | Path) -> Scenario:
    """Fashion-MNIST's 60,000 training images (1, 28, 28) in `n_parts` parts, tested on its 10,000 test images.

    The sizes of the parts differ by one at most; which images are in which is a pure function of `seed`, an integer
    ≥ 0. The data are read from `data_dir`, into which they are fetched if they are not there. Raises UserError for a
    wrong argument and for data that cannot be had.
    """
    return _stream(load_fashion_mnist, n_parts, seed, data_dir)


def cifar10_stream(n_parts: int, seed: int, data_dir: str | Path) -> Scenario:
    """CIFAR-10's 50,000 training images (3, 32, 32) in `n_parts` parts, tested on its 10,000 test images.

    Otherwise as :func:`fashion_mnist_stream`, but the data are not fetched: see :func:`metaplast.data.load_cifar10`.
    """
    return _stream(load_cifar10, n_parts, seed, data_dir)


def _stream(load: Callable[..., tuple[Tensor, Tensor]], n_parts: int, seed: int, data_dir: str | Path) -> Scenario:
    check_whole("scenario.n_parts", n_parts, least=1)
    check_whole("seed", seed, least=0)
    images, labels = load(data_dir, train=True)
    check_whole("scenario.n_parts", n_parts, least=1, most=len(labels))
    order = random_permutation(len(labels), seed)
    parts = zip(images[order].tensor_split(n_parts), labels[order].tensor_split(n_parts), strict=True)
    test = TaskTensors(*load(data_dir, train=False))
    return Scenario.from_tensors([TaskTensors(*part) for part in parts], [test], n_classes=_N_CLASSES)
