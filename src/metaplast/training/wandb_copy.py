"""The recording of a killed run, made whole: what W&B kept of it, and then what its directory alone still knows.

W&B's process writes a block at a time, so a kill costs the last rows, and a short run all of them. Every row is in
metrics.csv. Whoever recorded the run records it once more, from the files of its directory; of that, what the recording
lacks is appended to it. Only the histograms of the hidden weights of those rows are gone.
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from metaplast.errors import UserError
from metaplast.report.metrics_csv import accuracies, read_metrics
from metaplast.report.runs import Run
from metaplast.training.wandb_file import Record, kind, read_records, write_records

APPENDED = ("metric", "config", "files", "artifact", "history", "summary", "exit")
"""Kinds of records that a recording can be continued with; the others say where and with what it was made."""
END_SECONDS = 20.0
CLOCKS = ("_step", "_runtime", "_timestamp", "_wandb")
"""What W&B counts and times by itself; of a recording made afterwards it is wrong."""
DEFAULTS: dict[str, Any] = {
    "project": "metaplast",
    "entity": None,
    "group": None,
    "run_name": None,
    "tags": [],
    "notes": None,
}


def is_whole(records: Sequence[Record], run: Run) -> bool:
    """Whether a recording came to its end and holds every row of metrics.csv."""
    rows = {("epoch", row["epoch"]) for row in _rows(run)}
    return bool(records) and kind(records[-1]) == "exit" and rows <= {row_key(record) for record in records}


def make_whole(recording: Path, run: Run, folder: Path) -> Path:
    """Write to `folder` a copy of `recording`, a .wandb file of `run`, with all that it lacks; return its path.

    The copy bears the id of the run; the recording stays as it is.

    Raises:
        UserError: if the recording or the files of the run cannot be read.
    """
    rebuilt = _record_anew(run, folder / "rebuilt", run_id=recording.stem.removeprefix("run-"))
    copy = folder / recording.parent.name / recording.name
    write_records(copy, continued(read_records(recording), read_records(rebuilt)))
    for source in (recording, rebuilt):
        if (source.parent / "files").is_dir():
            shutil.copytree(source.parent / "files", copy.parent / "files", dirs_exist_ok=True)
    return copy


def continued(recorded: Sequence[Record], rebuilt: Sequence[Record]) -> list[Record]:
    """Records of a cut recording, then those of a whole one of the same run from behind the last row that both have."""
    if not any(kind(record) == "run" for record in recorded):
        return list(rebuilt)
    known = {row_key(record) for record in recorded} - {None}
    last = max((i for i, record in enumerate(rebuilt) if row_key(record) in known), default=-1)
    rows = [record for record in recorded if kind(record) == "history"]
    clocks = {item: value for item, value in _items(rows[-1]).items() if item in CLOCKS} if rows else {}
    step = rows[-1].history.step.num if rows else -1
    kept = [record for record in recorded if kind(record) != "exit"]
    for record in rebuilt[last + 1 :]:
        if kind(record) not in APPENDED:
            continue
        appended = type(record).FromString(record.SerializeToString())
        if kind(record) == "history":
            step += 1
            appended.history.step.num = step
            _set_clocks(appended.history.item, clocks | {"_step": str(step)})
        elif kind(record) == "summary":
            _set_clocks(appended.summary.update, {})
        elif kind(record) == "exit":
            appended.exit.runtime = int(float(clocks.get("_runtime", 0)))
        kept.append(appended)
    for number, record in enumerate(kept, start=1):
        record.num = number
    return kept


def row_key(record: Record) -> tuple[str, float] | None:
    """Which row of ours a record is: that of an epoch, that after a task, or the tables; None if it is none of ours."""
    items = _items(record) if kind(record) == "history" else {}
    if "epoch_in_task" in items:
        return "epoch", float(items["epoch"])
    if "accuracy_matrix" in items:
        return "task", float(items["task"])
    return ("tables", 0.0) if "accuracy_table" in items else None


def wait_for_end(recording: Path) -> None:
    """Wait until the recording of a run that was finished is on the disk, which W&B's process writes in its own time.

    Raises:
        UserError: if it has no end after `END_SECONDS`.
    """
    deadline = time.monotonic() + END_SECONDS
    while not (records := read_records(recording)) or kind(records[-1]) != "exit":
        if time.monotonic() > deadline:
            raise UserError(f"W&B: {recording} has no end {END_SECONDS:g} s after it was finished")
        time.sleep(0.02)


def _record_anew(run: Run, folder: Path, run_id: str) -> Path:
    # With torch: seconds, which a recording that is whole need not pay.
    from metaplast.report.matrix_of_rows import n_trained
    from metaplast.training.recorder import replay
    from metaplast.training.wandb_run import open_run

    config: dict[str, Any] = yaml.safe_load(run.config) or {}
    if not {"logger", "scenario", "epochs_per_task"} <= config.keys():
        raise UserError("its config.yaml does not say what was run")
    settings = DEFAULTS | config["logger"] | {"name": "wandb", "mode": "offline"}
    labels = {"name": run.path.name, **run.summary.get("wandb", {})}
    recording = open_run(settings, folder, config, run_id=run_id, **labels)
    rows = _rows(run)
    n_tasks = n_trained(config, len(accuracies(rows[0])) if rows else 0)
    replay(rows, recording, config["epochs_per_task"], n_tasks)
    recording.summary({**run.summary, "status": run.status})
    recording.finish(exit_code=0 if run.completed else 1)
    (rebuilt,) = (folder / "wandb").glob(f"offline-run-*/run-{run_id}.wandb")
    wait_for_end(rebuilt)
    return rebuilt


def _rows(run: Run) -> list[dict[str, float]]:
    metrics = run.path / "metrics.csv"
    return read_metrics(metrics) if metrics.exists() else []


def _items(record: Record) -> dict[str, str]:
    """The values of a row, as JSON, by name; of what has parts, that of one part."""
    return {_name(item): item.value_json for item in record.history.item}


def _name(item: Any) -> str:
    return str(item.key or item.nested_key[0])


def _set_clocks(items: Any, clocks: Mapping[str, str]) -> None:
    kept = [item for item in items if _name(item) not in CLOCKS]
    del items[:]
    items.extend(kept)
    for name, value in clocks.items():
        items.add(nested_key=[name], value_json=value)
