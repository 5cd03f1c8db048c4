"""A run to report on."""

from typing import Any

import pytest


@pytest.fixture
def summary() -> dict[str, Any]:
    """What summary.json holds after two tasks, the second never tested before its training."""
    return {
        "average_accuracy": 0.875,
        "forgetting": 0.1,
        "backward_transfer": -0.1,
        "forward_transfer": None,
        "accuracy_matrix": [[0.9, None], [0.8, 0.95]],
        "n_tasks": 2,
        "strategy": "meta",
        "scenario": "pmnist",
        "model": "bnn",
        "m": 1.3,
        "seed": 0,
        "norm": "batch",
        "gamma_init": "uniform",
        "test_statistics": "population",
        "reset_optimizer": False,
        "task_boundary_used": False,
        "task_label_used": True,
        "train_seconds": 221.0,
        "samples_per_second": 6778.2,
        "status": "finished",
        "run_dir": "outputs/train/2025-11-24/17-49-03",
    }
