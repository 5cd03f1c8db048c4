"""Streams of tasks as Avalanche benchmarks, and the tensors behind them."""

from metaplast.scenarios.permuted import permuted_digits, permuted_mnist
from metaplast.scenarios.scenario import Scenario, task_tensors

__all__ = ["Scenario", "permuted_digits", "permuted_mnist", "task_tensors"]
