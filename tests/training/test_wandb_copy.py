"""A cut recording is continued with what it lacks, each row once, whatever was left of it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from metaplast.errors import UserError
from metaplast.report.runs import Run
from metaplast.training.wandb_copy import continued, is_whole, make_whole, row_key
from metaplast.training.wandb_file import Record, kind, read_records
from metaplast.training.wandb_sync import newest_recording

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
        made = continued(whole[:n], whole)
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
    made = continued([*whole[: whole.index(first) + 1], mine], whole)
    assert [row_key(record) for record in made if kind(record) == "history"] == [KEYS[0], None, *KEYS[1:]]
    assert [record.history.step.num for record in made if kind(record) == "history"] == list(range(1 + len(KEYS)))


def test_the_whole_of_a_cut_recording_is_what_it_was_and_it_stays_cut(
    tmp_path: Path, recorded: Callable[[], Run]
) -> None:
    run = recorded()
    recording = newest_recording(run.path)
    assert recording is not None
    before = of(recording)
    assert is_whole(before, run)
    left = recording.read_bytes()[: recording.stat().st_size // 2]
    recording.write_bytes(left)
    assert not is_whole(of(recording), run)
    made = make_whole(recording, run, tmp_path / "made")
    assert is_whole(of(made), run)
    assert recording.read_bytes() == left
    pictures = {"accuracy_matrix/path", "accuracy_matrix/sha256", "accuracy_matrix/size"}  # drawn anew
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
    assert not is_whole([], run)
    assert not is_whole(records[:-1], run)
    assert not is_whole([record for record in records if row_key(record) != ("epoch", 5)], run)


def test_a_run_without_its_configuration_is_a_user_error(tmp_path: Path, recorded: Callable[[], Run]) -> None:
    run = recorded()
    recording = newest_recording(run.path)
    assert recording is not None
    with pytest.raises(UserError, match=r"config\.yaml does not say"):
        make_whole(recording, Run(run.path, "lost", None, {}, {}, ""), tmp_path / "made")
