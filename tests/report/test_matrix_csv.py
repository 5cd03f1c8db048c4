"""The table as written, read back exactly, and what is no such table."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metaplast.errors import UserError
from metaplast.report import read_matrix_csv, write_matrix_csv

CELL = st.floats(0, 1) | st.just(math.nan)
SHAPES = st.integers(1, 5).flatmap(lambda n: st.sampled_from([(n, n), (n, 1)]))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SHAPES.flatmap(lambda n: st.lists(st.lists(CELL, min_size=n[1], max_size=n[1]), min_size=n[0], max_size=n[0])))
def test_what_is_written_is_read_back_exactly(tmp_path: Path, rows: list[list[float]]) -> None:
    R = torch.tensor(rows, dtype=torch.float64)
    write_matrix_csv(tmp_path / "accuracy_matrix.csv", R)
    assert torch.equal(read_matrix_csv(tmp_path / "accuracy_matrix.csv").nan_to_num(-1), R.nan_to_num(-1))


def test_a_row_is_a_task_trained_and_a_missing_cell_is_empty(tmp_path: Path) -> None:
    write_matrix_csv(tmp_path / "R.csv", torch.tensor([[0.97, math.nan], [0.5, 1.0]], dtype=torch.float64))
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
