"""Getting and checking the files of data sets, and the tensors of a task."""

from metaplast.data.digits import load_digits
from metaplast.data.mnist import load_fashion_mnist, load_mnist
from metaplast.data.permutation import random_permutation
from metaplast.data.tensors import TaskTensors

__all__ = ["TaskTensors", "load_digits", "load_fashion_mnist", "load_mnist", "random_permutation"]
