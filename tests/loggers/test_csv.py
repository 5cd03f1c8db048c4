"""metrics.csv keeps every row it was given, whatever happens to its writer."""

import math
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaplast.errors import UserError
from metaplast.loggers.csv import MetricsFile
from metaplast.runs.tables import read_metrics


def row(epoch: int) -> dict[str, float | int]:
    return {"epoch": epoch, "train_loss": 1 / (epoch + 2), "accuracy/task_0": 0.1 * epoch}


def file_of(path: Path, epochs: int, first: int = 0) -> Path:
    metrics = MetricsFile(path)
    for epoch in range(first, epochs + 1):
        metrics.write(row(epoch))
    return path


@given(st.lists(st.tuples(st.integers(1, 10**9), st.floats(), st.floats(width=32)), min_size=1))
def test_numbers_read_back_as_the_same_floats(
    tmp_path_factory: pytest.TempPathFactory, values: list[tuple[int, float, float]]
) -> None:
    metrics = MetricsFile(tmp_path_factory.mktemp("run") / "metrics.csv")
    for a, b, c in values:
        metrics.write({"epoch": a, "x": b, "y": np.float32(c)})  # type: ignore[dict-item]
    read = [tuple(read_row.values()) for read_row in read_metrics(metrics.path)]
    assert all(same(x, y) for got, wrote in zip(read, values, strict=True) for x, y in zip(got, wrote, strict=True))


def same(x: float, y: float) -> bool:
    return x == y or (math.isnan(x) and math.isnan(y))


def test_a_row_is_in_the_file_as_soon_as_it_is_written(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "metrics.csv")
    metrics.write(row(1))
    assert metrics.path.read_text() == "epoch,train_loss,accuracy/task_0\n1,0.3333333333333333,0.1\n"


def test_columns_keep_the_order_of_the_first_row(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "metrics.csv")
    metrics.write({"epoch": 1, "b": 2, "a": 3})
    metrics.write({"a": 6, "epoch": 4, "b": 5})
    assert metrics.path.read_text() == "epoch,b,a\n1,2,3\n4,5,6\n"


@pytest.mark.parametrize("wrong", [{"epoch": 2}, {**row(2), "new": 1.0}])
def test_a_row_with_other_names_is_refused_by_name(tmp_path: Path, wrong: dict[str, float]) -> None:
    path = file_of(tmp_path / "metrics.csv", epochs=1)
    before = path.read_text()
    metrics = MetricsFile(path, epochs_done=1)
    with pytest.raises(ValueError, match=r"accuracy/task_0, train_loss|new"):
        metrics.write(wrong)
    assert path.read_text() == before


@settings(max_examples=20)  # every row waits for the disk
@given(written=st.integers(1, 6), done=st.integers(0, 6), cut=st.integers(0, 30))
def test_a_resumed_run_writes_the_file_of_a_run_that_was_never_stopped(
    tmp_path_factory: pytest.TempPathFactory, written: int, done: int, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("run")
    path = file_of(folder / "metrics.csv", written)
    # Killed while it wrote a row after the last checkpoint: that row is torn at any place.
    whole = path.read_text()
    last_row = whole.splitlines()[-1]
    path.write_text(whole + last_row[: min(cut, len(last_row))])
    done = min(done, written)
    metrics = MetricsFile(path, epochs_done=done)
    for epoch in range(done + 1, 8):
        metrics.write(row(epoch))
    assert path.read_text() == file_of(folder / "whole.csv", epochs=7).read_text()


def test_a_run_that_starts_begins_the_file_anew_and_one_resumed_before_its_first_row_keeps_the_baseline(
    tmp_path: Path,
) -> None:
    path = file_of(tmp_path / "metrics.csv", epochs=2)
    MetricsFile(path, epochs_done=0)
    assert path.read_text() == file_of(tmp_path / "baseline.csv", epochs=0).read_text()
    MetricsFile(path)
    assert not path.exists()


def test_a_file_of_before_without_a_baseline_is_gone_on_with(tmp_path: Path) -> None:
    path = file_of(tmp_path / "metrics.csv", epochs=3, first=1)
    MetricsFile(path, epochs_done=2).write(row(3))
    assert path.read_text() == file_of(tmp_path / "whole.csv", epochs=3, first=1).read_text()


def table(path: Path, rows: int = 4) -> dict[str, Any]:
    """Write a file, and return what a checkpoint after its rows holds of it."""
    path.unlink(missing_ok=True)
    metrics = MetricsFile(path)
    for epoch in range(rows):
        metrics.write({**row(epoch), "train_loss": math.nan} if epoch == 0 else row(epoch))
    return metrics.state_dict()


HARMS: dict[str, Callable[[bytes], bytes | None]] = {
    "later rows": lambda content: content + b"4,0.5,0.5\n5,0.1",
    "missing": lambda content: None,
    "empty": lambda content: b"",
    "older": lambda content: content[: content[:-1].rindex(b"\n") + 1],
    "a bit": lambda content: content.replace(b"0.1", b"0.3", 1),
    "a row twice": lambda content: content + content[content[:-1].rindex(b"\n") + 1 :],
    "edited": lambda content: content.replace(b"\n", b"\r\n"),
    "nothing of ours": lambda content: b"\xff\x00" * 100,
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_resumed_file_is_what_it_was_at_its_checkpoint_whatever_became_of_it(
    harm: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "metrics.csv"
    saved = table(path)
    whole = path.read_bytes()
    path.unlink()
    if (content := HARMS[harm](whole)) is not None:
        path.write_bytes(content)
    metrics = MetricsFile(path, saved=saved)
    assert path.read_bytes() == whole
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == (0 if harm in ("later rows", "a row twice") else 1)
    assert all("made again from the checkpoint" in line and "\n" not in line for line in said)
    assert metrics.lost is None
    assert (tmp_path / "metrics.damaged.csv").exists() == ("what was there is now metrics.damaged.csv" in str(said))
    metrics.write(row(4))
    later = metrics.state_dict()
    assert later.pop("cells").nan_to_num().equal(table(tmp_path / "other.csv", rows=5)["cells"].nan_to_num())
    assert later["bytes"] == path.stat().st_size


def test_a_long_file_that_is_lost_is_gone_on_without_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("metaplast.loggers.csv.CELLS", 5)
    path = tmp_path / "metrics.csv"
    saved = table(path)
    assert len(saved["cells"]) == 0
    assert MetricsFile(path, saved=saved).lost is None
    assert len(read_metrics(path)) == 3
    path.write_bytes(path.read_bytes().replace(b"0.1", b"0.2"))
    metrics = MetricsFile(path, saved=saved)
    assert metrics.lost is not None
    assert (
        caplog.records[-1].getMessage().endswith("rows up to here are lost; what was there is now metrics.damaged.csv")
    )
    metrics.write(row(4))
    assert [read["epoch"] for read in read_metrics(path)] == [4]


def test_an_unfinished_last_line_is_left_out(tmp_path: Path) -> None:
    path = file_of(tmp_path / "metrics.csv", epochs=3)
    rows, text = read_metrics(path), path.read_text()
    for length in range(len(text)):
        path.write_text(text[:length])
        read = read_metrics(path)
        assert read == rows[: len(read)]
        assert len(read) == max(0, text[:length].count("\n") - 2)


@pytest.mark.parametrize("content", ["epoch,x\n1,2\n2,three\n", "epoch,x\n1,2\n3\n", "epoch,x\n1,2\n3,4,5\n"])
def test_a_line_that_is_no_row_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "metrics.csv").write_text(content)
    with pytest.raises(UserError, match=r"line 3 of .*metrics\.csv is not a row of 2 numbers"):
        read_metrics(tmp_path / "metrics.csv")


def test_a_missing_file_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"metrics\.csv cannot be read: .*No such file"):
        read_metrics(tmp_path / "metrics.csv")


def test_a_full_disk_is_a_user_error_and_what_was_written_can_be_read(tmp_path: Path) -> None:
    path = file_of(tmp_path / "metrics.csv", epochs=2)
    metrics = MetricsFile(path, epochs_done=2)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 4, limits[1]))
    try:
        with pytest.raises(UserError, match=r"metrics\.csv cannot be written: .*File too large"):
            metrics.write(row(3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [read["epoch"] for read in read_metrics(path)] == [1, 2]
