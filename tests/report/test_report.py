"""The whole look at once: what is written where, while a sweep goes on as well."""

import csv
import fcntl
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from metaplast.errors import UserError
from metaplast.report.report import report_sweep

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
    assert said[0] == f"{broken}: its pictures cannot be made: {reason}"
    assert {"accuracy_matrix.csv", "accuracy_matrix.png", "accuracy_curves.png"} <= {p.name for p in cut.iterdir()}
    assert "1/accuracy_curves.png" in (tmp_path / "sweep.html").read_text()


def test_a_figure_whose_file_was_cut_does_not_cost_the_page(tmp_path: Path, lay_run: LayRun) -> None:
    source = lay_run(tmp_path / "0", plots=["hidden_weights"]) / "hidden_weights.npz"
    np.savez(source, **{"layer1/counts": np.ones((3, 4)), "layer1/edges": np.ones((3, 5))})  # type: ignore[arg-type]
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    console = Console(file=io.StringIO(), width=60)
    assert report_sweep([tmp_path], console=console).is_file()
    said = console.file.getvalue().splitlines()[-1]  # type: ignore[attr-defined]
    assert said.startswith(f"not all figures can be drawn: hidden weights: {source} cannot be read: ")


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
