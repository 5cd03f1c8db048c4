"""Runs to report on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf


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


@pytest.fixture(scope="session")
def lay_run() -> Callable[..., Path]:
    """What writes the files of a run."""
    return _lay_run


def _lay_run(path: Path, status: str = "completed", *, seed: int = 0, n_tasks: int = 3, **changed: Any) -> Path:
    """Write the files of a run as the command leaves them, with made-up figures that fit each other, and return `path`.

    `changed` holds settings: strategy, m and hidden, and any key of config.yaml's first level. Old tasks are kept the
    better, the larger m is; each seed lies a point above the one before.
    """
    strategy, hidden = changed.pop("strategy", "meta"), changed.pop("hidden", [32])
    m = changed.pop("m", 1.0) if strategy == "meta" else None
    kept = 0.15 + 0.1 * min(m or 0.0, 4.0)
    R = [
        [
            (0.9 if i == j else max(0.1, 0.9 - (i - j) * (0.6 - kept)) if i > j else 0.1) + 0.01 * seed
            for j in range(n_tasks)
        ]
        for i in range(n_tasks)
    ]
    config = {
        **{"m": m, "seed": seed, "epochs_per_task": 1, "batch_size": 100, "data_dir": "data", "resume": None},
        "scenario": {"_target_": "metaplast.scenarios.permuted_digits", "name": "pdigits", "n_tasks": n_tasks},
        "model": {"name": "bnn", "hidden": hidden, "norm": "batch", "norm_per_task": True, "gamma_init": "uniform"},
        "strategy": {"name": strategy, "uses_m": strategy == "meta", "stream": "sequence", "reset_optimizer": False},
        "logger": {"name": "none"},
        **changed,
    }
    summary: dict[str, Any] = {
        **{"strategy": strategy, "scenario": "pdigits", "model": "bnn", "widths": hidden, "m": m, "seed": seed},
        **{"n_tasks": n_tasks, "epochs_per_task": 1, "batch_size": 100, "norm": "batch", "norm_affine": True},
        **{"norm_per_task": True, "gamma_init": "uniform", "test_statistics": "population", "reset_optimizer": False},
        **{"status": status, "run_dir": str(path), "versions": {"python": "3.11.7"}},
    }
    if status == "completed":
        last, drops = R[-1], [R[j][j] - R[-1][j] for j in range(n_tasks - 1)]
        forgetting = sum(drops) / len(drops) if drops else float("nan")
        summary |= {
            **{"average_accuracy": sum(last) / n_tasks, "forgetting": forgetting, "backward_transfer": -forgetting},
            **{"forward_transfer": None, "accuracy_matrix": R, "accuracy_before_training": [0.1] * n_tasks},
            **{"task_boundary_used": True, "task_label_used": True, "train_seconds": 1.5, "samples_per_second": 2e4},
        }
    elif status == "failed":
        summary["error"] = "ValueError: the loss is not finite\n  at step 7"
    path.mkdir(parents=True)
    (path / ".lock").touch()
    (path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
    (path / "summary.json").write_text(json.dumps(summary))
    rows = ["epoch,task," + ",".join(f"accuracy/task_{j}" for j in range(n_tasks))]
    rows += [f"{i + 1},{i}," + ",".join(map(repr, row)) for i, row in enumerate(R)]
    (path / "metrics.csv").write_text("\n".join(rows) + "\n")
    return path
