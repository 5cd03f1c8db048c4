"""The picture of the README is drawn from the files that runs leave."""

import csv
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "effect.py"


@pytest.fixture
def effect() -> ModuleType:
    spec = importlib.util.spec_from_file_location("effect", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Two tasks of two epochs."""
    summary = {"strategy": "meta", "m": 1.3, "n_tasks": 2, "epochs_per_task": 2}
    (tmp_path / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    with (tmp_path / "metrics.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "accuracy/task_0", "accuracy/task_1"])
        writer.writerows([[1, 0.9, 0.1], [2, 0.95, 0.1], [3, 0.7, 0.9], [4, 0.6, 0.95]])
    return tmp_path


def test_two_runs_are_drawn_side_by_side(effect: ModuleType, run_dir: Path) -> None:
    effect.main(["--runs", str(run_dir), str(run_dir), "--out", str(run_dir / "effect.png")])
    assert (run_dir / "effect.png").read_bytes().startswith(b"\x89PNG")


def test_a_directory_without_a_run_is_refused_by_name(
    effect: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        effect.main(["--runs", str(tmp_path / "nothing")])
    assert f"--runs: {tmp_path / 'nothing'} is not the directory of a run" in capsys.readouterr().err
