"""Which runs lack results, and what there is to say where they cannot be made."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from metaplast.errors import UserError
from metaplast.report.report import lacks_results, rebuild_results
from metaplast.runs.index import read_run
from metaplast.runs.tables import read_matrix_csv

LayRun = Callable[..., Path]


@pytest.mark.parametrize(
    ("status", "lacking"), [("running", True), ("failed", True), ("interrupted", True), ("completed", False)]
)
def test_a_run_that_was_cut_off_lacks_results_until_they_are_rebuilt(
    tmp_path: Path, lay_run: LayRun, status: str, lacking: bool
) -> None:
    run = read_run(lay_run(tmp_path / "run", status))
    assert lacks_results(run) == lacking
    rebuild_results(run)
    assert not lacks_results(run)


def test_a_run_that_went_on_before_it_was_cut_off_again_lacks_the_newer_results(
    tmp_path: Path, lay_run: LayRun
) -> None:
    run = read_run(lay_run(tmp_path / "run", "failed"))
    rebuild_results(run)
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
        rebuild_results(run)


def test_tasks_that_were_not_reached_are_not_measured_and_an_older_file_has_no_forward_transfer(
    tmp_path: Path, lay_run: LayRun
) -> None:
    run = read_run(lay_run(tmp_path / "run", "failed", n_tasks=2))
    text = (run.path / "metrics.csv").read_text()
    (run.path / "metrics.csv").write_text(text.rpartition("\n2,")[0] + "\n")
    rebuilt = rebuild_results(run)
    assert rebuilt["accuracy_matrix"] == [[0.9, 0.1], [None, None]]
    assert (rebuilt["accuracy_before_training"], rebuilt["forward_transfer"]) == ([None, None], None)
    assert read_matrix_csv(run.path / "accuracy_matrix.csv")[0].tolist() == [0.9, 0.1]


@pytest.mark.parametrize("gone", ["config.yaml", "summary.json"])
def test_without_what_says_what_was_run_nothing_is_made(tmp_path: Path, lay_run: LayRun, gone: str) -> None:
    path = lay_run(tmp_path / "run", "failed")
    (path / gone).unlink()
    with pytest.raises(UserError, match=r"run: its config\.yaml and summary\.json do not say what was run"):
        rebuild_results(read_run(path))
    assert not (path / "accuracy_matrix.csv").exists()
