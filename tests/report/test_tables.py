"""sweep.csv, tidy and complete, and the printed table."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from metaplast.report.aggregate import Sweep, make_sweep
from metaplast.report.tables import print_sweep, write_accuracy_table, write_sweep_csv
from metaplast.runs.index import LOST, find_runs

LayRun = Callable[..., Path]


@pytest.fixture
def sweep(tmp_path: Path, lay_run: LayRun) -> Sweep:
    """Two values of m and two seeds, of which one run failed, and one that was killed before it wrote anything."""
    for index, (m, seed) in enumerate((m, seed) for m in (0.5, 2.0) for seed in (0, 1)):
        lay_run(tmp_path / str(index), "failed" if index == 3 else "completed", m=m, seed=seed)
    (tmp_path / "4").mkdir()
    (tmp_path / "4" / ".lock").touch()
    return make_sweep(find_runs([tmp_path]))


def rows_of(target: Path) -> list[dict[str, str]]:
    with target.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def printed(sweep: Sweep, encoding: str = "utf-8", width: int = 80) -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    print_sweep(sweep, Console(file=file, width=width))
    assert isinstance(file.buffer, io.BytesIO)
    return file.buffer.getvalue().decode(encoding)


def test_every_run_is_a_row_with_its_settings_and_the_exact_figures(tmp_path: Path, sweep: Sweep) -> None:
    write_sweep_csv(tmp_path / "report" / "sweep.csv", sweep)
    rows = rows_of(tmp_path / "report" / "sweep.csv")
    assert [row["run"] for row in rows] == [f"../{index}" for index in range(5)]
    assert [row["status"] for row in rows] == ["completed"] * 3 + ["failed", "lost"]
    assert [(row["m"], row["seed"]) for row in rows] == [
        ("0.5", "0"),
        ("0.5", "1"),
        ("2.0", "0"),
        ("2.0", "1"),
        ("", ""),
    ]
    for row, run in zip(rows[:3], sweep.runs, strict=False):
        assert float(row["average_accuracy"]) == run.summary["average_accuracy"]
        assert json.loads(row["widths"]) == [32]
        assert row["task_label_used"] == "true"
    assert rows[3]["error"] == "ValueError: the loss is not finite\n  at step 7"
    assert rows[3]["average_accuracy"] == rows[0]["forward_transfer"] == rows[0]["overrides"] == ""


def test_a_key_that_varies_and_that_the_summary_does_not_name_gets_a_column(tmp_path: Path, lay_run: LayRun) -> None:
    for index, rate in enumerate([0.1, 0.2]):
        lay_run(tmp_path / str(index), optimizer={"lr": rate})
    write_sweep_csv(tmp_path / "sweep.csv", make_sweep(find_runs([tmp_path])))
    assert [row["optimizer.lr"] for row in rows_of(tmp_path / "sweep.csv")] == ["0.1", "0.2"]


def test_where_a_run_lies_in_wandb_is_no_column(tmp_path: Path, lay_run: LayRun) -> None:
    path = lay_run(tmp_path / "0") / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "wandb": {"name": "abc"}}))
    write_sweep_csv(tmp_path / "sweep.csv", make_sweep(find_runs([tmp_path])))
    [row] = rows_of(tmp_path / "sweep.csv")
    assert row["status"] == "completed"
    assert "wandb" not in row


def test_the_table_has_a_row_a_setting_and_names_the_conditions_and_what_is_not_completed(
    tmp_path: Path, sweep: Sweep
) -> None:
    lines = [" ".join(line.split()) for line in printed(sweep).splitlines()]
    assert lines == [
        "m seeds average accuracy, % ↑ forgetting ↓ BWT ↑ FWT ↑ s a run",
        "0.5 2 50.5 ± 0.7 60.0 ± 0.0 −60.0 ± 0.0 – 1.5",
        "2 1 of 2 65.0 37.5 −37.5 – 1.5",
        "mean ± standard deviation over seeds; forgetting, BWT and FWT in points",
        "norm batch, per task, γ uniform, population · optimizer kept · task boundary in training: yes"
        " · task label in testing: yes · tested on test data",
        "2 of 5 runs are not completed:",
        f"failed {tmp_path}/3: ValueError: the loss is not finite",
        f"lost {tmp_path}/4: {LOST}",
    ]


def test_a_completed_run_that_is_in_no_row_is_named_below_the_table(tmp_path: Path, lay_run: LayRun) -> None:
    for seed in (0, 1):
        lay_run(tmp_path / str(seed), seed=seed)
    (tmp_path / "1" / "config.yaml").unlink()
    *_, last = printed(make_sweep(find_runs([tmp_path]))).splitlines()
    assert last == f"{tmp_path}/1 is completed, but left no config.yaml, so that it is in no row"


def test_conditions_that_differ_are_said_for_each_setting(tmp_path: Path, lay_run: LayRun) -> None:
    for index, norm in enumerate(["batch", "none"]):
        path = lay_run(tmp_path / str(index), model={"norm": norm})
        summary = json.loads((path / "summary.json").read_text())
        (path / "summary.json").write_text(json.dumps({**summary, "norm": norm, "task_label_used": norm == "batch"}))
    text = printed(make_sweep(find_runs([tmp_path])))
    told = "task boundary in training: yes · task label in testing: no"
    assert f"norm = none: norm none · optimizer kept · {told}" in text


def test_a_terminal_of_plain_letters_gets_plain_letters(sweep: Sweep) -> None:
    assert "50.5 ~ 0.7" in printed(sweep, encoding="ascii")


def test_runs_that_all_failed_have_dashes_and_no_conditions(tmp_path: Path, lay_run: LayRun) -> None:
    lay_run(tmp_path / "0", "failed")
    text = printed(make_sweep(find_runs([tmp_path])))
    assert "0 of 1" in text
    assert "norm" not in text


def test_no_text_of_a_user_is_a_formula_in_a_spreadsheet(tmp_path: Path, lay_run: LayRun) -> None:
    for index, name in enumerate(["=cmd", "-2"]):
        path = lay_run(tmp_path / str(index), strategy=name) / "summary.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "scenario": "@SUM(A1)", "forgetting": -0.25}))
    sweep = make_sweep(find_runs([tmp_path]))
    write_sweep_csv(tmp_path / "sweep.csv", sweep)
    rows = rows_of(tmp_path / "sweep.csv")
    assert [(row["strategy"], row["scenario"]) for row in rows] == [("'=cmd", "'@SUM(A1)"), ("-2", "'@SUM(A1)")]
    assert {row["forgetting"] for row in rows} == {"-0.25"}
    write_accuracy_table(tmp_path, sweep)
    assert {row["setting"] for row in rows_of(tmp_path / "accuracy_table.csv")} == {"'=cmd", "-2"}
