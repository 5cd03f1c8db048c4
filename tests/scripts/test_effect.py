"""The picture of the README is drawn from the files that runs leave."""

import csv
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from metaplast.errors import UserError

SCRIPT = Path(__file__).parents[2] / "scripts" / "effect.py"
CONFIG = "epochs_per_task: 2\nseed: 0\nstrategy: {{task_order: {stream}}}\n"


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
    R = [[0.95, 0.1], [0.6, 0.95]]
    summary = {"status": "completed", "strategy": "meta", "m": 1.3, "n_tasks": 2, "average_accuracy": 0.775}
    (tmp_path / "summary.json").write_text(json.dumps({**summary, "accuracy_matrix": R}), encoding="utf-8")
    (tmp_path / "config.yaml").write_text(
        "epochs_per_task: 2\nseed: 0\nstrategy: {task_order: sequence}\n", encoding="utf-8"
    )
    with (tmp_path / "metrics.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "accuracy/task_0", "accuracy/task_1"])
        writer.writerows([[1, 0.9, 0.1], [2, 0.95, 0.1], [3, 0.7, 0.9], [4, 0.6, 0.95]])
    return tmp_path


@pytest.mark.parametrize("m", [None, 1.3, [1.3, 0, 2]])
def test_two_runs_are_drawn_side_by_side(effect: ModuleType, run_dir: Path, m: float | list[float] | None) -> None:
    summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
    (run_dir / "summary.json").write_text(json.dumps({**summary, "m": m}), encoding="utf-8")
    assert effect.main(["--runs", str(run_dir), str(run_dir), "--out", str(run_dir / "effect.png")]) == 0
    assert (run_dir / "effect.png").read_bytes().startswith(b"\x89PNG")


def test_a_completed_run_is_not_run_again_and_another_is_left_alone(
    effect: ModuleType, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effect, "RUNS", run_dir.parent)
    (run_dir / "summary.json").write_text(json.dumps({"status": "interrupted"}), encoding="utf-8")
    with pytest.raises(UserError, match=rf"^{run_dir}: expected a completed run, got an interrupted one; "):
        effect.train(run_dir.name)
    summary = {"status": "completed", "accuracy_matrix": [[0.9]]}
    (run_dir / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    assert effect.train(run_dir.name) == run_dir


def test_all_tasks_at_once_have_no_ends(effect: ModuleType, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metaplast.report.figures import sweep as sweep_figures

    drawn: list[Sequence[float]] = []
    draw_curves = sweep_figures.draw_curves  # type: ignore[attr-defined]

    def spy(ax: Any, epochs: Any, accuracies: Any, ends: Sequence[float], **more: Any) -> None:
        drawn.append(ends)
        draw_curves(ax, epochs, accuracies, ends, **more)

    monkeypatch.setattr(sweep_figures, "draw_curves", spy)
    for stream in ("sequence", "joint"):
        (run_dir / "config.yaml").write_text(CONFIG.format(stream=stream), encoding="utf-8")
        effect.draw([run_dir], run_dir / "effect.png")
    assert drawn == [[2, 4], []]


@pytest.mark.parametrize("wrong", ["nothing", "no config", "broken"])
def test_a_directory_without_a_completed_run_is_refused_by_name(
    effect: ModuleType, run_dir: Path, capsys: pytest.CaptureFixture[str], wrong: str
) -> None:
    if wrong == "no config":
        (run_dir / "config.yaml").unlink()
    if wrong == "broken":
        (run_dir / "summary.json").write_text("[", encoding="utf-8")
    directory = run_dir / "nothing" if wrong == "nothing" else run_dir
    assert effect.main(["--runs", str(directory), "--out", str(run_dir / "effect.png")]) == 2
    assert f"--runs {directory}: expected a completed run, got " in capsys.readouterr().err
    assert not (run_dir / "effect.png").exists()
