"""A cut recording is continued with what it lacks, each row once, whatever was left of it.

Recordings that were made offline arrive at the server once, those of killed runs with every row of metrics.csv.

A .wandb file reads as W&B wrote it, also where it was cut, and W&B reads what is written here.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wandb.proto import wandb_internal_pb2 as messages
from wandb.util import get_core_path

from metaplast.errors import UserError
from metaplast.loggers.wandb_offline import (
    BLOCK,
    Record,
    append_missing,
    complete_recording,
    is_complete,
    kind,
    newest_recording,
    read_records,
    row_key,
    skip_reason,
    upload,
    upload_all,
    write_records,
)
from metaplast.runs.index import Run, read_run
from metaplast.runs.summary import RunStatus
from metaplast.runs.tables import read_metrics

KEYS = [("epoch", 1), ("epoch", 2), ("epoch", 3), ("task", 0), ("epoch", 4), ("epoch", 5), ("epoch", 6), ("task", 1)]
KEYS += [("tables", 0)]


def rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    """The rows of a recording without histograms and what W&B counts and times."""
    found = []
    for record in records:
        if kind(record) == "history":
            items = {
                "/".join([item.key, *item.nested_key]).lstrip("/"): item.value_json for item in record.history.item
            }
            found.append({name: json.loads(value) for name, value in items.items() if name[0] not in "h_"})
    return found


def of(recording: Path | None) -> list[Record]:
    assert recording is not None
    return read_records(recording)


def test_a_recording_cut_anywhere_gets_every_row_once_and_its_end(recorded: Callable[[], Run]) -> None:
    whole = of(newest_recording(recorded().path))
    for n in range(len(whole)):
        made = append_missing(whole[:n], whole)
        assert [row_key(record) for record in made if row_key(record)] == KEYS
        assert rows(made) == rows(whole)
        steps = [record.history.step.num for record in made if kind(record) == "history"]
        assert steps == list(range(len(KEYS)))
        assert [kind(record) for record in made].count("run") == 1
        assert kind(made[-1]) == "exit"


def test_a_row_of_the_users_own_stays_and_the_rows_after_it_count_on(recorded: Callable[[], Run]) -> None:
    whole = of(newest_recording(recorded().path))
    first = next(record for record in whole if row_key(record) == ("epoch", 1))
    mine = type(first).FromString(first.SerializeToString())
    del mine.history.item[:]
    mine.history.item.add(key="my/metric", value_json="3")
    mine.history.step.num = 1
    made = append_missing([*whole[: whole.index(first) + 1], mine], whole)
    assert [row_key(record) for record in made if kind(record) == "history"] == [KEYS[0], None, *KEYS[1:]]
    assert [record.history.step.num for record in made if kind(record) == "history"] == list(range(1 + len(KEYS)))


def test_the_whole_of_a_cut_recording_is_what_it_was_and_it_stays_cut(
    tmp_path: Path, recorded: Callable[[], Run]
) -> None:
    run = recorded()
    recording = newest_recording(run.path)
    assert recording is not None
    before = of(recording)
    assert is_complete(before, run)
    left = recording.read_bytes()[: recording.stat().st_size // 2]
    recording.write_bytes(left)
    assert not is_complete(of(recording), run)
    made = complete_recording(recording, run, tmp_path / "made")
    assert is_complete(of(made), run)
    assert recording.read_bytes() == left
    pictures = {"accuracy_matrix/path", "accuracy_matrix/sha256", "accuracy_matrix/size"}  # drawn again
    ids = "accuracy_table/", "accuracy_heat_map_table/"  # of other artifacts

    def values(found: list[Record]) -> list[dict[str, Any]]:
        return [{k: v for k, v in row.items() if k not in pictures and not k.startswith(ids)} for row in rows(found)]

    assert values(of(made)) == values(before)
    tables = [
        (file.parent / "files" / rows(found)[-1]["accuracy_table/path"]).read_bytes()
        for file, found in ((made, of(made)), (recording, before))
    ]
    assert tables[0] == tables[1]
    for row in rows(of(made)):
        assert all((made.parent / "files" / value).is_file() for name, value in row.items() if name.endswith("/path"))


def test_a_recording_without_an_end_or_without_a_row_is_not_whole(recorded: Callable[[], Run]) -> None:
    run = recorded()
    records = of(newest_recording(run.path))
    assert not is_complete([], run)
    assert not is_complete(records[:-1], run)
    assert not is_complete([record for record in records if row_key(record) != ("epoch", 5)], run)


def test_a_run_without_its_configuration_is_a_user_error(tmp_path: Path, recorded: Callable[[], Run]) -> None:
    run = recorded()
    recording = newest_recording(run.path)
    assert recording is not None
    with pytest.raises(UserError, match=r"config\.yaml does not say"):
        complete_recording(recording, Run(run.path, RunStatus.LOST, None, {}, {}, ""), tmp_path / "made")


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


def test_a_whole_recording_is_uploaded_as_it_is_and_only_once(recorded: Callable[..., Run], stub: Any) -> None:
    run = recorded(copied=False)
    before = recording_of(run).read_bytes()
    assert (skip_reason(run), upload(run), skip_reason(run)) == (None, "uploaded", "uploaded before")
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
    assert skip_reason(run) == "uploaded before"
    after = files()
    assert [path.name for path in after.keys() - before.keys()] == [f"{recording_of(run).name}.synced"]
    assert before.items() <= after.items()


def copies_of(run: Run, n: int) -> list[Run]:
    """`n` runs like `run`, each with an id of its own."""
    runs, records = [], read_records(recording_of(run))
    for i in range(n):
        folder = run.path.with_name(f"copy{i}")
        shutil.copytree(run.path, folder, ignore=shutil.ignore_patterns("logs", "wandb"))
        for record in records:
            if kind(record) == "run":
                record.run.run_id = f"copy{i}"
        recording = folder / "wandb" / f"offline-run-20261124_10000{i:02}-copy{i}" / f"run-copy{i}.wandb"
        shutil.copytree(recording_of(run).parent / "files", recording.parent / "files")
        write_records(recording, records)
        runs.append(read_run(folder))
    return runs


def test_of_several_runs_the_one_that_cannot_be_read_costs_no_other(recorded: Callable[[], Run], stub: Any) -> None:
    first, damaged, last = runs = copies_of(recorded(), 3)
    recording_of(damaged).write_bytes(b"noise")
    outcomes = {run.path: outcome for run, outcome in upload_all(runs)}
    assert (outcomes[first.path], outcomes[last.path]) == ("uploaded", "uploaded")
    assert "is no .wandb file" in str(outcomes[damaged.path])
    assert [skip_reason(run) for run in runs] == ["uploaded before", None, "uploaded before"]
    assert [len(stub.history(f"copy{i}")) for i in (0, 2)] == [9, 9]


@pytest.mark.slow
def test_runs_together_are_uploaded_three_times_as_fast_as_one_by_one(recorded: Callable[[], Run], stub: Any) -> None:
    runs = copies_of(recorded(), 20)
    seconds = []
    for batches in ([[run] for run in runs[:4]], [runs[4:]]):
        start = time.perf_counter()
        outcomes = [outcome for batch in batches for _, outcome in upload_all(batch)]
        seconds.append((time.perf_counter() - start) / len(outcomes))
        assert {*outcomes} == {"uploaded"}
    assert seconds[0] > 3 * seconds[1], seconds


@pytest.mark.slow
def test_a_server_that_refuses_leaves_the_run_to_be_uploaded_later(recorded: Callable[..., Run], stub: Any) -> None:
    run = recorded(copied=False)
    stub.broken = True
    with pytest.raises(UserError, match="Fatal error while uploading") as caught:
        upload(run)
    assert "\n" not in str(caught.value)
    assert skip_reason(run) is None


lengths = st.lists(st.integers(0, 3 * BLOCK) | st.integers(BLOCK - 60, BLOCK), max_size=5)


def records_of(lengths: list[int]) -> list[messages.Record]:  # type: ignore[name-defined]
    return [messages.Record(num=i, output={"line": "x" * n}) for i, n in enumerate(lengths)]  # type: ignore[attr-defined]


@given(lengths=lengths)
def test_records_of_any_length_read_back(tmp_path_factory: pytest.TempPathFactory, lengths: list[int]) -> None:
    file = tmp_path_factory.mktemp("file") / "run.wandb"
    write_records(file, records_of(lengths))
    assert read_records(file) == records_of(lengths)


@given(lengths=lengths, share=st.floats(0, 1))
def test_a_file_that_was_cut_anywhere_gives_the_records_before(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], share: float
) -> None:
    file = tmp_path_factory.mktemp("file") / "run.wandb"
    write_records(file, records_of(lengths))
    log = file.read_bytes()
    file.write_bytes(log[: int(share * len(log))])
    found = read_records(file)
    assert found == records_of(lengths)[: len(found)]
    assert share < 1 or len(found) == len(lengths)


def test_a_flipped_bit_ends_the_records_before_it(tmp_path: Path) -> None:
    file = tmp_path / "run.wandb"
    write_records(file, records_of([100, 100, 100]))
    log = bytearray(file.read_bytes())
    log[180] ^= 1
    file.write_bytes(log)
    assert read_records(file) == records_of([100, 100, 100])[:1]


def test_wandb_reads_what_is_written_here_as_what_it_wrote(recorded: Callable[[], Run]) -> None:
    (recording,) = recorded().path.glob("wandb/offline-run-*/run-*.wandb")

    def inspect() -> list[str]:
        command = [get_core_path(), "leet", "inspect", "--no-observability", "--json", str(recording.parents[1])]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    written = inspect()
    records = read_records(recording)
    assert len(records) == len(written)
    assert (kind(records[0]), kind(records[-1])) == ("header", "exit")
    write_records(recording, records)
    assert inspect() == written


@pytest.mark.parametrize(
    ("content", "message"), [(b"PK\x03\x04 and so on", "is no .wandb file"), (None, "cannot be read")]
)
def test_what_is_no_recording_is_a_user_error(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "run.wandb").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_records(tmp_path / "run.wandb")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of the user's outside any run."""
    path = tmp_path / "secret"
    path.write_text("mine", encoding="utf-8")
    return path


def artifact(local_path: str = "", manifest: str = "") -> Record:
    record = messages.Record()  # type: ignore[attr-defined]
    record.artifact.name = "a"
    record.artifact.manifest.manifest_file_path = manifest
    record.artifact.manifest.contents.add(path="x", local_path=local_path)
    return record


def requested(local_path: str) -> Record:
    record = messages.Record()  # type: ignore[attr-defined]
    record.request.log_artifact.artifact.CopyFrom(artifact(local_path).artifact)
    return record


def listed(path: str) -> Record:
    record = messages.Record()  # type: ignore[attr-defined]
    record.files.files.add(path=path)
    return record


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(
    "harm",
    [
        lambda recording, secret: (recording.parent / "files" / "x").symlink_to(secret),
        lambda recording, secret: (recording.parent / "files" / "x").symlink_to(secret.parent),
        lambda recording, secret: (recording.parent / "files" / "x").symlink_to("/dev/zero"),
        lambda recording, secret: os.mkfifo(recording.parent / "files" / "x"),
        lambda recording, secret: (recording.parent / "x").symlink_to("../../../secret"),
        lambda recording, secret: append(recording, artifact(str(secret))),
        lambda recording, secret: append(recording, artifact("../secret")),
        lambda recording, secret: append(recording, artifact(manifest=str(secret))),
        lambda recording, secret: append(recording, requested(str(secret))),
        lambda recording, secret: append(recording, listed("../../../../secret")),
        lambda recording, secret: append(recording, listed(str(secret))),
    ],
)
def test_nothing_outside_a_run_is_uploaded(
    harm: Any, cut: bool, secret: Path, recorded: Callable[[], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = recorded()
    monkeypatch.setattr("metaplast.loggers.wandb_offline._wandb_sync", lambda recording: pytest.fail("uploaded"))
    recording = newest_recording(run.path)
    assert recording is not None
    if cut:
        write_records(recording, of(recording)[:-1])
    harm(recording, secret)
    with pytest.raises(UserError) as refused:
        upload(run)
    assert "\n" not in str(refused.value)
    assert not list(run.path.glob("wandb/.sync-*"))


def append(recording: Path, record: Record) -> None:
    """Put a record before the last of a recording."""
    *records, last = of(recording)
    write_records(recording, [*records, record, last])


def test_the_mark_of_an_upload_is_not_set_through_a_link(
    tmp_path: Path, recorded: Callable[[], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = recorded()
    monkeypatch.setattr("metaplast.loggers.wandb_offline._wandb_sync", lambda recording: None)
    recording = newest_recording(run.path)
    assert recording is not None
    recording.with_suffix(".wandb.synced").symlink_to(tmp_path / "absent")
    with pytest.raises(UserError, match="cannot be uploaded"):
        upload(run)
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize(
    "content", [b"", b":W&B", b"hello", b":W&B\xe1\xbe\x00" + b"\0" * 100], ids=["empty", "begun", "other", "zeros"]
)
def test_a_recording_is_read_from_a_regular_file_of_its_folder(content: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "outside").write_bytes(content)
    for target in (tmp_path / "outside", Path("/dev/zero")):
        (folder / "run-a.wandb").symlink_to(target)
        with pytest.raises(UserError, match="is a symbolic link out of"):
            read_records(folder / "run-a.wandb")
        (folder / "run-a.wandb").unlink()


def test_a_recording_of_noise_is_refused_in_a_line(tmp_path: Path) -> None:
    from metaplast.loggers.wandb_offline import HEADER, _append

    log = bytearray(HEADER)
    _append(log, b"\xff" * 50)
    (tmp_path / "run-a.wandb").write_bytes(log)
    with pytest.raises(UserError, match=r"cannot be read"):
        read_records(tmp_path / "run-a.wandb")
