"""Runs of the study of normalization, with made-up diagnostics."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metaplast.report.normalization_study import Measured, study
from metaplast.runs.index import find_runs

DIAGNOSTICS = """epoch,task,epoch_in_task,window/act1,logits_std,hidden_mean/layer1,hidden_max/layer1,kept/layer1,\
first_steps/layer1,last_steps/layer1
1,0,1,0.5,1.0,0.1,0.4,0.9,0.030,nan
2,0,2,0.4,3.0,0.2,0.8,0.8,nan,0.010
3,1,1,0.3,5.0,0.5,1.5,0.7,0.040,nan
4,1,2,0.2,7.0,0.6,1.9,0.6,nan,0.020
"""
METRICS = "epoch,task,flips/layer1\n1,0,0.9\n2,0,0.5\n3,1,0.3\n4,1,0.1\n"


@pytest.fixture(scope="session")
def lay_study_run() -> Callable[..., Path]:
    """What writes the files of a run."""
    return _lay


def _lay(
    path: Path, kept: float, *, seed: int = 0, other: float | None = None, config: str = "", **changed: Any
) -> Path:
    """Write what a run of two tasks leaves, which keeps a share of what it learned; `config` is added to its own."""
    summary = {
        "status": "completed", "seed": seed, "widths": [8, 8], "m": 2.0, "epochs_per_task": 2, "norm": "batch",
        "norm_per_task": True, "gamma_init": "ones", "test_statistics": "batch", "reset_optimizer": True,
        "average_accuracy": (0.9 * kept + 0.8) / 2, "accuracy_matrix": [[0.9, 0.1], [0.9 * kept, 0.8]], **changed,
    }  # fmt: skip
    path.mkdir(parents=True)
    (path / "summary.json").write_text(json.dumps(summary))
    (path / "config.yaml").write_text(f"seed: {seed}\nplots: [normalization]\n{config}\n")
    (path / "diagnostics.csv").write_text(DIAGNOSTICS)
    (path / "metrics.csv").write_text(METRICS)
    if other is not None:
        (path / "accuracy_matrix_population.csv").write_text(f"task_0,task_1\n0.9,0.1\n{0.9 * other},0.7\n")
    return path


@pytest.fixture
def measured(tmp_path: Path) -> list[Measured]:
    """The reference over two seeds, with both statistics, and two arms."""
    _lay(tmp_path / "0", 0.5, other=0.25)
    _lay(tmp_path / "1", 0.7, seed=1, other=0.35)
    _lay(tmp_path / "2", 0.9, gamma_init="uniform", reset_optimizer=False)
    _lay(tmp_path / "3", 0.8, norm="layer", test_statistics=None, m=None)
    return study(find_runs([tmp_path]))
