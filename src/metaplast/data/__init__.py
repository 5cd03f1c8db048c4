"""Load and check data sets, and hold the tensors of a task."""

from metaplast.data.cifar import load_cifar10, load_cifar100
from metaplast.data.digits import load_digits, load_usps
from metaplast.data.features import SCALES, normalize_rows, read_features, write_features
from metaplast.data.mnist import load_fashion_mnist, load_mnist
from metaplast.data.seeding import random_permutation, seed_of
from metaplast.data.task_dataset import TaskTensors, batch_slices, split_by_class
from metaplast.data.transforms import Augmentation, augment, augmentation_noise, rotate

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
