"""Recordings that were made offline arrive at the server once, those of killed runs with every row of metrics.csv."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metaplast.errors import UserError
from metaplast.report.metrics_csv import read_metrics
from metaplast.report.runs import Run
from metaplast.training.wandb_sync import newest_recording, upload, why_not


def recording_of(run: Run) -> Path:
    recording = newest_recording(run.path)
    assert recording is not None
    return recording


def assert_every_row_arrived_once(stub: Any, run: Run) -> None:
    run_id = recording_of(run).stem.removeprefix("run-")
    history = stub.history(run_id)
    assert [row["_step"] for row in history] == stub.offsets(run_id) == list(range(9))
    rows = read_metrics(run.path / "metrics.csv")
    assert [{name: row[name] for name in rows[0]} for row in history if "train_loss" in row] == rows
    assert [row["task"] for row in history if "accuracy_matrix" in row] == [0, 1]
    assert ["accuracy_table" in row for row in history] == [False] * 8 + [True]
    assert (stub.summary(run_id)["average_accuracy"], stub.exit_code(run_id)) == (0.72, 0)
    sent = stub.runs[0]
    assert [sent[name] for name in ("name", "project", "displayName", "groupName", "tags", "notes")] == [
        *(run_id, "mine"),
        *("meta · m = 1.3", "a sweep", ["meta"], "m=1.3"),
    ]
    assert json.loads(sent["config"])["m"]["value"] == 1.3
    assert sum(name.endswith(".png") for name in stub.files) == 2


def test_a_whole_recording_is_uploaded_as_it_is_and_only_once(recorded: Callable[[], Run], stub: Any) -> None:
    run = recorded()
    before = recording_of(run).read_bytes()
    assert (why_not(run), upload(run), why_not(run)) == (None, "uploaded", "uploaded before")
    assert recording_of(run).read_bytes() == before
    assert_every_row_arrived_once(stub, run)


@pytest.mark.parametrize(
    "share", [0.6, *(pytest.param(share, marks=pytest.mark.slow) for share in (0.0, 0.0005, 0.1, 0.3, 0.8, 0.999))]
)
def test_what_a_cut_recording_lacks_is_filled_in_and_nothing_else_changes(
    recorded: Callable[[], Run], stub: Any, share: float
) -> None:
    run = recorded()
    log = recording_of(run).read_bytes()
    recording_of(run).write_bytes(log[: int(share * len(log))])

    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file() and path.suffix != ".log"}

    before = files()
    assert upload(run) == "uploaded, completed from the files of its directory"
    assert_every_row_arrived_once(stub, run)
    assert why_not(run) == "uploaded before"
    after = files()
    assert [path.name for path in after.keys() - before.keys()] == [f"{recording_of(run).name}.synced"]
    assert before.items() <= after.items()


@pytest.mark.slow
def test_a_server_that_refuses_leaves_the_run_to_be_uploaded_later(recorded: Callable[[], Run], stub: Any) -> None:
    run = recorded()
    stub.broken = True
    with pytest.raises(UserError, match="Fatal error while uploading") as caught:
        upload(run)
    assert "\n" not in str(caught.value)
    assert why_not(run) is None
