"""Rows of a metrics.csv, of one that is still being written as well."""

from pathlib import Path

import pytest

from metaplast.errors import UserError
from metaplast.report.metrics_csv import read_baseline, read_metrics


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
