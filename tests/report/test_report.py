"""The report of a sweep, also of one that goes on, and the results of runs that broke off."""

import csv
import fcntl
import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from metaplast.errors import UserError
from metaplast.report.report import lacks_results, rebuild_run, report_sweep
from metaplast.runs.index import read_run
from metaplast.runs.tables import read_matrix_csv

LayRun = Callable[..., Path]


def test_table_csv_pictures_and_page_come_from_one_call(tmp_path: Path, lay_run: LayRun) -> None:
    for index, (m, seed) in enumerate((m, seed) for m in (0.0, 1.0) for seed in (0, 1)):
        lay_run(tmp_path / str(index), m=m, seed=seed)
    console = Console(file=io.StringIO(), width=120)
    assert report_sweep([tmp_path], console=console) == tmp_path / "sweep.html"
    assert {path.name for path in tmp_path.glob("sweep*")} == {
        "sweep.csv",
        "sweep.html",
        "sweep_curves.png",
        "sweep_matrices.png",
        "sweep_scores.png",
    }
    assert "average accuracy" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_sweep_that_goes_on_is_reported_as_it_stands_and_again(tmp_path: Path, lay_run: LayRun) -> None:
    lay_run(tmp_path / "0", m=0.0)
    going_on = lay_run(tmp_path / "1", "running", m=1.0)
    with (going_on / ".lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        report_sweep([tmp_path], console=Console(file=io.StringIO()))
        first = (tmp_path / "sweep.csv").read_text()
    lay_run(tmp_path / "2", m=2.0)
    report_sweep([tmp_path], console=Console(file=io.StringIO()))
    second = (tmp_path / "sweep.csv").read_text()
    assert [row["status"] for row in csv.DictReader(first.splitlines())] == ["completed", "running"]
    assert [row["status"] for row in csv.DictReader(second.splitlines())] == ["completed", "lost", "completed"]


def test_of_runs_that_were_cut_off_one_that_cannot_be_read_is_named_and_the_others_get_their_pictures(
    tmp_path: Path, lay_run: LayRun
) -> None:
    broken, cut = lay_run(tmp_path / "0", "failed"), lay_run(tmp_path / "1", "failed")
    (broken / "metrics.csv").write_text("epoch,task\n1\n")
    console = Console(file=io.StringIO(), width=60)
    report_sweep([tmp_path], console=console)
    said = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    reason = f"metrics: line 2 of {broken}/metrics.csv is not a row of 2 numbers"
    assert said[0] == f"{broken}: its pictures cannot be drawn: {reason}"
    assert {"accuracy_matrix.csv", "accuracy_matrix.png", "accuracy_curves.png"} <= {p.name for p in cut.iterdir()}
    assert "1/accuracy_curves.png" in (tmp_path / "sweep.html").read_text()


def test_a_figure_whose_file_was_cut_does_not_cost_the_page(tmp_path: Path, lay_run: LayRun) -> None:
    source = lay_run(tmp_path / "0", plots=["hidden_weights"]) / "hidden_weights.npz"
    np.savez(source, **{"layer1/counts": np.ones((3, 4)), "layer1/edges": np.ones((3, 5))})  # type: ignore[arg-type]
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    console = Console(file=io.StringIO(), width=60)
    assert report_sweep([tmp_path], console=console).is_file()
    said = console.file.getvalue().splitlines()[-1]  # type: ignore[attr-defined]
    assert said.startswith(f"not all plots can be drawn: hidden weights: {source} cannot be read: ")


def test_several_directories_are_reported_in_the_folder_that_holds_them(tmp_path: Path, lay_run: LayRun) -> None:
    for name in ("a/0", "b/0"):
        lay_run(tmp_path / name, "failed")
    assert report_sweep([tmp_path / "a", tmp_path / "b"], console=Console(file=io.StringIO())).parent == tmp_path
    assert report_sweep([tmp_path / "a"], tmp_path / "new", Console(file=io.StringIO())).parent == tmp_path / "new"


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path, lay_run: LayRun) -> None:
    lay_run(tmp_path / "0", "failed")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=rf"--out={tmp_path}/file: cannot be written to: .*; give a folder that can"):
        report_sweep([tmp_path], tmp_path / "file", Console(file=io.StringIO()))


@pytest.mark.parametrize(
    ("status", "lacking"), [("running", True), ("failed", True), ("interrupted", True), ("completed", False)]
)
def test_a_run_that_was_cut_off_lacks_results_until_they_are_rebuilt(
    tmp_path: Path, lay_run: LayRun, status: str, lacking: bool
) -> None:
    run = read_run(lay_run(tmp_path / "run", status))
    assert lacks_results(run) == lacking
    rebuild_run(run)
    assert not lacks_results(run)


def test_a_run_that_went_on_before_it_was_cut_off_again_lacks_the_newer_results(
    tmp_path: Path, lay_run: LayRun
) -> None:
    run = read_run(lay_run(tmp_path / "run", "failed"))
    rebuild_run(run)
    written = (run.path / "accuracy_matrix.csv").stat().st_mtime_ns
    os.utime(run.path / "metrics.csv", ns=(written + 1, written + 1))
    assert lacks_results(run)


def test_a_run_that_a_process_holds_lacks_nothing(tmp_path: Path, lay_run: LayRun) -> None:
    run = read_run(lay_run(tmp_path / "run", "failed"))
    with (run.path / ".lock").open("rb") as lock:  # it is being resumed
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not lacks_results(run)


@pytest.mark.parametrize("rows", [[], ["0,0,0.1,0.1"]], ids=["nothing", "the baseline"])
def test_a_run_that_measured_no_epoch_lacks_nothing(tmp_path: Path, lay_run: LayRun, rows: list[str]) -> None:
    run = read_run(lay_run(tmp_path / "run", "failed", n_tasks=2))
    (run.path / "metrics.csv").write_text("\n".join(["epoch,task,accuracy/task_0,accuracy/task_1", *rows, ""]))
    assert not lacks_results(run)
    with pytest.raises(UserError, match=r"metrics\.csv holds no accuracies of a task"):
        rebuild_run(run)


def test_tasks_that_were_not_reached_are_not_measured_and_an_older_file_has_no_forward_transfer(
    tmp_path: Path, lay_run: LayRun
) -> None:
    run = read_run(lay_run(tmp_path / "run", "failed", n_tasks=2))
    text = (run.path / "metrics.csv").read_text()
    (run.path / "metrics.csv").write_text(text.rpartition("\n2,")[0] + "\n")
    rebuilt = rebuild_run(run)
    assert rebuilt["accuracy_matrix"] == [[0.9, 0.1], [None, None]]
    assert (rebuilt["accuracy_before_training"], rebuilt["forward_transfer"]) == ([None, None], None)
    assert read_matrix_csv(run.path / "accuracy_matrix.csv")[0].tolist() == [0.9, 0.1]


@pytest.mark.parametrize("gone", ["config.yaml", "summary.json"])
def test_without_what_says_what_was_run_nothing_is_made(tmp_path: Path, lay_run: LayRun, gone: str) -> None:
    path = lay_run(tmp_path / "run", "failed")
    (path / gone).unlink()
    with pytest.raises(UserError, match=r"run: its config\.yaml and summary\.json do not say what was run"):
        rebuild_run(read_run(path))
    assert not (path / "accuracy_matrix.csv").exists()
