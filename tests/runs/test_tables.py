"""The tables of a run read back as they were written, and what is no such table."""

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metaplast.errors import UserError
from metaplast.runs.tables import read_baseline, read_matrix_csv, read_metrics, to_csv, write_matrix_csv

CELL = st.floats(0, 1) | st.just(math.nan)
SHAPES = st.integers(1, 5).flatmap(lambda n: st.sampled_from([(n, n), (n, 1)]))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SHAPES.flatmap(lambda n: st.lists(st.lists(CELL, min_size=n[1], max_size=n[1]), min_size=n[0], max_size=n[0])))
def test_what_is_written_is_read_back_exactly(tmp_path: Path, rows: list[list[float]]) -> None:
    R = np.array(rows)
    write_matrix_csv(tmp_path / "accuracy_matrix.csv", R)
    np.testing.assert_array_equal(read_matrix_csv(tmp_path / "accuracy_matrix.csv"), R)


def test_a_row_is_a_task_trained_and_a_missing_cell_is_empty(tmp_path: Path) -> None:
    write_matrix_csv(tmp_path / "R.csv", np.array([[0.97, math.nan], [0.5, 1.0]]))
    assert (tmp_path / "R.csv").read_text() == "task_0,task_1\n0.97,\n0.5,1.0\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "R.csv cannot be read as an accuracy matrix: .*No such file"),
        ("", "R.csv holds no accuracy matrix: .*, got nothing and 0 rows"),
        ("task_0,task_1\n0.5,0.5\n", "R.csv holds no accuracy matrix: .*, got task_0,task_1 and 1 rows"),
        ("task_0\n", "R.csv holds no accuracy matrix: .*, got task_0 and 0 rows"),
        ("task_0,task_1\n0.5\n0.5,0.5\n", "R.csv holds no accuracy matrix"),
        ("epoch,loss\n1,2\n1,2\n", "R.csv holds no accuracy matrix: .*, got epoch,loss and 2 rows"),
        ("task_0\nhalf\n", "R.csv cannot be read as an accuracy matrix: could not convert string to float: 'half'"),
    ],
)
def test_what_is_no_such_table_is_refused_in_one_line(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "R.csv").write_text(text)
    with pytest.raises(UserError, match=message) as refusal:
        read_matrix_csv(tmp_path / "R.csv")
    assert "\n" not in str(refusal.value)


def test_rows_are_numbers_by_column_and_an_unfinished_line_is_left_out(tmp_path: Path) -> None:
    source = tmp_path / "metrics.csv"
    source.write_text("epoch,loss\n1,0.1\n2,0.30000000000000004\n3,0.")
    assert read_metrics(source) == [{"epoch": 1, "loss": 0.1}, {"epoch": 2, "loss": 0.1 + 0.2}]


@pytest.mark.parametrize("content", ["", "epoch,loss\n", "epoch,lo"])
def test_a_file_that_was_only_begun_has_no_rows(tmp_path: Path, content: str) -> None:
    (tmp_path / "metrics.csv").write_text(content)
    assert read_metrics(tmp_path / "metrics.csv") == []


def test_a_line_that_is_no_row_of_numbers_is_named(tmp_path: Path) -> None:
    source = tmp_path / "metrics.csv"
    source.write_text("epoch,loss\n1,0.1\n2\n")
    with pytest.raises(UserError, match=rf"line 3 of {source} is not a row of 2 numbers"):
        read_metrics(source)


def test_the_row_before_training_is_the_baseline_and_no_measured_epoch(tmp_path: Path) -> None:
    source = tmp_path / "metrics.csv"
    source.write_text("epoch,accuracy/task_0,accuracy/task_1\n0,0.1,0.2\n1,0.9,0.2\n")
    assert read_baseline(source) == [0.1, 0.2]
    assert [row["epoch"] for row in read_metrics(source)] == [1]


def test_an_older_file_has_no_baseline(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,accuracy/task_0\n1,0.9\n")
    assert read_baseline(tmp_path / "metrics.csv") is None


def test_a_file_without_epochs_is_none_of_ours(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("loss\n1\n")
    with pytest.raises(UserError, match=r"metrics\.csv has no column epoch"):
        read_metrics(tmp_path / "metrics.csv")


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be read: .*No such file"):
        read_metrics(tmp_path / "metrics.csv")


@pytest.mark.parametrize("text", ["=1+1", "+model.depth=2", "-m", "@SUM(A1)", "\tx", "\r=x", '=HYPERLINK("x")'])
def test_text_is_never_a_formula(text: str) -> None:
    [[cell]] = csv.reader(io.StringIO(to_csv([[text]]), newline=""))
    assert cell == f"'{text}".replace("\r", "\n")


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False) | st.integers(), min_size=1))
def test_numbers_stay_numbers(numbers: list[float]) -> None:
    [cells] = csv.reader(io.StringIO(to_csv([numbers])))
    assert [float(cell) for cell in cells] == [float(number) for number in numbers]
    assert to_csv([map(str, numbers)]) == to_csv([cells])  # also where they are text already


def test_a_carriage_return_starts_no_new_cell() -> None:
    [row] = csv.reader(io.StringIO(to_csv([["error\r=1+1\r\n=2", "b"]]), newline=""))
    assert row == ["error\n=1+1\n=2", "b"]


def test_harmless_text_is_left_as_it_is() -> None:
    assert to_csv([["meta · m = 1", "-2", "-inf", None, math.nan, "a=b"]]) == "meta · m = 1,-2,-inf,,,a=b\n"
