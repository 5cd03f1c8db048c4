"""Load and check data sets, and hold the tensors of a task."""

from metaplast.data.datasets import load_cifar10, load_cifar100, load_digits, load_fashion_mnist, load_mnist, load_usps
from metaplast.data.features import SCALES, normalize_rows, read_features, write_features
from metaplast.data.task_dataset import (
    Augmentation,
    TaskTensors,
    augment,
    augmentation_noise,
    batch_slices,
    random_permutation,
    rotate,
    seed_of,
    split_by_class,
)

__all__ = [
    "SCALES",
    "Augmentation",
    "TaskTensors",
    "augment",
    "augmentation_noise",
    "batch_slices",
    "load_cifar10",
    "load_cifar100",
    "load_digits",
    "load_fashion_mnist",
    "load_mnist",
    "load_usps",
    "normalize_rows",
    "random_permutation",
    "read_features",
    "rotate",
    "seed_of",
    "split_by_class",
    "write_features",
]
