"""Scenarios: sequences of tasks as Avalanche benchmarks, with their tensors."""

from metaplast.scenarios.base import Scenario, first_tasks, hold_out, task_tensors
from metaplast.scenarios.sequence import mnist_usps, whole_datasets
from metaplast.scenarios.split import (
    cifar10_features,
    cifar10_stream,
    cifar100_features,
    digits_stream,
    fashion_mnist_stream,
    split_digits,
    split_fashion_mnist,
    split_mnist,
)
from metaplast.scenarios.transformed import permuted_digits, permuted_fashion_mnist, permuted_mnist, rotated_mnist

__all__ = [
    "Scenario",
    "cifar10_features",
    "cifar10_stream",
    "cifar100_features",
    "digits_stream",
    "fashion_mnist_stream",
    "first_tasks",
    "hold_out",
    "mnist_usps",
    "permuted_digits",
    "permuted_fashion_mnist",
    "permuted_mnist",
    "rotated_mnist",
    "split_digits",
    "split_fashion_mnist",
    "split_mnist",
    "task_tensors",
    "whole_datasets",
]
