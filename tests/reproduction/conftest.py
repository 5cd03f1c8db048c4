"""Runs of an experiment, laid by hand, to be judged."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from metaplast.report.aggregate import Sweep, make_sweep
from metaplast.runs.index import find_runs
from metaplast.runs.journal import Job, Journal
from metaplast.runs.summary import RunStatus

Accuracies = Sequence[float]


@pytest.fixture
def lay() -> Callable[..., Path]:
    """Write one run: its accuracies on the tasks at the end, in percent, and what it differs in, by dotted key."""

    def make(path: Path, last: Accuracies, settings: Mapping[str, Any], curves: Sequence[Accuracies] = ()) -> Path:
        config = OmegaConf.create({"m": 1.0, "seed": 0, "epochs_per_task": 1, "strategy": {"uses_m": True}})
        for key, value in settings.items():
            OmegaConf.update(config, key, value, force_add=True)
        T = len(last)
        R = [[None] * T for _ in range(T - 1)] + [[accuracy / 100 for accuracy in last]]
        summary = {
            **{
                "status": "completed",
                "seed": config.seed,
                "accuracy_matrix": R,
                "average_accuracy": sum(last) / T / 100,
            },
            **{
                "norm": "batch",
                "norm_per_task": True,
                "gamma_init": "uniform",
                "test_statistics": "batch",
                "reset_optimizer": False,
            },
            **{"task_boundary_used": True, "task_label_used": True, "versions": {"commit": "abc"}},
        }
        path.mkdir(parents=True)
        (path / "summary.json").write_text(json.dumps(summary))
        (path / "config.yaml").write_text(OmegaConf.to_yaml(config))
        rows = ["epoch," + ",".join(f"accuracy/task_{j}" for j in range(T))]
        rows += [
            f"{epoch},{','.join(str(a / 100) for a in row)}" for epoch, row in enumerate(curves or [last], start=1)
        ]
        (path / "metrics.csv").write_text("\n".join(rows) + "\n")
        return path

    return make


@pytest.fixture
def sweep(tmp_path: Path, lay: Callable[..., Path]) -> Callable[..., Sweep]:
    """Lay runs as (accuracies at the end, settings) or (…, curves), and read them as a sweep."""

    def make(*runs: tuple[Any, ...], name: str = "sweep") -> Sweep:
        journal = Journal(tmp_path / name)
        journal.begin(["experiment=fig2", "seed=range(0,5)", "budget=cpu", f"hydra.sweep.dir={tmp_path / name}"])
        for number, run in enumerate(runs):
            lay(tmp_path / name / str(number), *run)
            journal.write(Job(number, [], str(number), status=RunStatus.COMPLETED))
        return make_sweep(find_runs([tmp_path / name]))

    return make
