"""Read, write, complete and upload offline W&B recordings.

W&B ships no Python reader for `.wandb` files. The format is LevelDB's log: a header of 7 bytes, then blocks of 32 KiB
with fragments of records, each preceded by its CRC-32, length and position in the record; a record is a protobuf
message. W&B's process writes block by block, so a killed run loses its last rows. They are still in metrics.csv: the
run is recorded again from the files of its directory, and the missing records are appended to the original recording.
Only the histograms of the hidden weights for those rows are lost.

A recording is uploaded once, completed first in a temporary copy if necessary, and marked as `wandb sync` marks it.
"""

import os
import shutil
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml  # type: ignore[import-untyped]

from metaplast.errors import UserError
from metaplast.io import atomic_path, leads_out, read_regular, refuse_links
from metaplast.runs.index import Run
from metaplast.runs.names import METRICS
from metaplast.runs.summary import RunStatus
from metaplast.runs.tables import accuracies, read_metrics

Record = Any
"""A `Record` message of W&B's protobuf, which has no types."""

RECORDING_BYTES = 256 << 20
RECORDS = 1_000_000
HEADER = b":W&B\xe1\xbe\x00"
BLOCK = 32 * 1024
FRAGMENT = struct.Struct("<IHB")
"""CRC-32, length and place of a fragment, before its bytes."""
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4
"""Places of a fragment in its record."""


def read_records(source: Path) -> list[Record]:
    """Read the whole records of a .wandb file, up to where a killed writer left off; none from an empty file.

    Raises:
        UserError: if the file cannot be read or is no .wandb file.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from wandb.proto import wandb_internal_pb2 as messages

    try:
        log = read_regular(source, RECORDING_BYTES, within=source.parent)
    except OSError as error:
        raise UserError(f"W&B: {source} cannot be read: {error}") from error
    if not HEADER.startswith(log[: len(HEADER)]):
        raise UserError(f"W&B: {source} is no .wandb file")
    parse = messages.Record.FromString  # type: ignore[attr-defined]  # made while it is imported
    try:
        return [parse(message) for message in _messages(log)]
    except (ValueError, DecodeError) as error:
        raise UserError(f"W&B: {source} cannot be read: {error}") from error


def write_records(target: Path, records: Sequence[Record]) -> None:
    """Write records as a .wandb file, whole or not at all."""
    log = bytearray(HEADER)
    for record in records:
        _append(log, record.SerializeToString())
    with atomic_path(target) as temporary:
        temporary.write_bytes(log)


def kind(record: Record) -> str:
    """What a record is about: `run`, `history`, `summary`, `exit` and so on."""
    return str(record.WhichOneof("record_type"))


def _messages(log: bytes) -> Iterator[bytes]:
    position, message, n = len(HEADER), bytearray(), 0
    while position + FRAGMENT.size <= len(log):
        left = BLOCK - position % BLOCK
        if left < FRAGMENT.size:  # too little for a fragment: zeros
            position += left
            continue
        checksum, length, place = FRAGMENT.unpack_from(log, position)
        position += FRAGMENT.size
        fragment = log[position : position + length]
        position += length
        if not WHOLE <= place <= LAST or checksum != _checksum(place, fragment):
            return
        if place in (WHOLE, FIRST):
            message.clear()
        message += fragment
        if place in (WHOLE, LAST):
            n += 1
            if n > RECORDS:
                raise ValueError(f"it has more than {RECORDS:,} records")
            yield bytes(message)


def _append(log: bytearray, message: bytes) -> None:
    begun = False
    while True:
        left = BLOCK - len(log) % BLOCK
        if left < FRAGMENT.size:
            log += bytes(left)
            continue
        fragment, message = message[: left - FRAGMENT.size], message[left - FRAGMENT.size :]
        place = (MIDDLE if begun else FIRST) if message else (LAST if begun else WHOLE)
        log += FRAGMENT.pack(_checksum(place, fragment), len(fragment), place) + fragment
        if not message:
            return
        begun = True


def _checksum(place: int, fragment: bytes) -> int:
    return zlib.crc32(fragment, zlib.crc32(bytes([place])))


APPENDED = ("metric", "config", "files", "artifact", "history", "summary", "exit")
"""Kinds of records that may be appended to a recording; the others describe where and how it was made."""
END_SECONDS = 20.0
CLOCKS = ("_step", "_runtime", "_timestamp", "_wandb")
"""Counters and times that W&B adds itself; they are wrong in a recording made afterwards."""
DEFAULTS: dict[str, Any] = {
    "project": "metaplast",
    "entity": None,
    "group": None,
    "run_name": None,
    "tags": [],
    "notes": None,
}


def is_complete(records: Sequence[Record], run: Run) -> bool:
    """Whether a recording has its end and every row of metrics.csv."""
    rows = {("epoch", row["epoch"]) for row in _rows(run)}
    return bool(records) and kind(records[-1]) == "exit" and rows <= {row_key(record) for record in records}


def complete_recording(recording: Path, run: Run, folder: Path) -> Path:
    """Write to `folder` a copy of `recording`, a .wandb file of `run`, with all missing records; return its path.

    The copy has the id of the run; the original is not changed.

    Raises:
        UserError: if the recording or the files of the run cannot be read.
    """
    rebuilt = _record_anew(run, folder / "rebuilt", run_id=recording.stem.removeprefix("run-"))
    _refuse_foreign(recording, run, read_records(recording))
    copy = folder / recording.parent.name / recording.name
    write_records(copy, append_missing(read_records(recording), read_records(rebuilt)))
    for source in (recording, rebuilt):
        if (source.parent / "files").is_dir():
            shutil.copytree(source.parent / "files", copy.parent / "files", dirs_exist_ok=True)
    return copy


def append_missing(recorded: Sequence[Record], rebuilt: Sequence[Record]) -> list[Record]:
    """Records of an incomplete recording, then those of a complete one of the same run after the last row in both."""
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
    """Identifies a record as the row of an epoch, the row after a task, or the tables; None for other records."""
    items = _items(record) if kind(record) == "history" else {}
    if "epoch_in_task" in items:
        return "epoch", float(items["epoch"])
    if "accuracy_matrix" in items:
        return "task", float(items["task"])
    return ("tables", 0.0) if "accuracy_table" in items else None


def wait_for_end(recording: Path) -> None:
    """Wait until W&B's process has written the whole recording of a finished run to the disk.

    Raises:
        UserError: if it has no end after `END_SECONDS`.
    """
    deadline = time.monotonic() + END_SECONDS
    while not (records := read_records(recording)) or kind(records[-1]) != "exit":
        if time.monotonic() > deadline:
            raise UserError(f"W&B: {recording} has no end {END_SECONDS:g} s after it was finished")
        time.sleep(0.02)


def _record_anew(run: Run, folder: Path, run_id: str) -> Path:
    # These import torch (seconds), which a complete recording does not need.
    from metaplast.loggers.base import replay
    from metaplast.loggers.wandb import create_logger
    from metaplast.runs.tables import n_trained

    config: dict[str, Any] = yaml.safe_load(run.config) or {}
    if not {"logger", "scenario", "epochs_per_task"} <= config.keys():
        raise UserError("its config.yaml does not say what was run")
    settings = DEFAULTS | config["logger"] | {"name": "wandb", "mode": "offline"}
    labels = {"name": run.path.name, **run.summary.get("wandb", {})}
    recording = create_logger(settings, folder, config, run_id=run_id, **labels)
    rows = _rows(run)
    n_tasks = n_trained(config, len(accuracies(rows[0])) if rows else 0)
    replay(rows, recording, config["epochs_per_task"], n_tasks)
    recording.summary({**run.summary, "status": run.status})
    recording.finish(exit_code=0 if run.completed else 1)
    (rebuilt,) = (folder / "wandb").glob(f"offline-run-*/run-{run_id}.wandb")
    wait_for_end(rebuilt)
    return rebuilt


def _rows(run: Run) -> list[dict[str, float]]:
    metrics = run.path / METRICS
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


OFFLINE = "offline-run-"
TOGETHER = 16
"""Runs that one process of W&B uploads at the same time; starting it takes seconds."""


def skip_reason(run: Run) -> str | None:
    """Why there is nothing to upload for `run`; None if there is something."""
    recording = newest_recording(run.path)
    if recording is None:
        return "W&B did not record it"
    if run.status is RunStatus.RUNNING:
        return "still running"
    return "uploaded before" if sync_marker(recording).exists() else None


def upload(run: Run) -> str:
    """Upload the newest recording of `run`, completed if necessary, and say what was done.

    A resumed run is recorded again from its first row, so the newest recording contains the earlier ones.

    Raises:
        UserError: if the recording cannot be read, or the server does not take it; it can be tried again.
    """
    ((_, outcome),) = upload_all([run])
    if isinstance(outcome, UserError):
        raise outcome
    return outcome


def upload_all(runs: Sequence[Run]) -> Iterator[tuple[Run, str | UserError]]:
    """Upload runs, `TOGETHER` per process of W&B; yield each with what :func:`upload` returns or raises."""
    for start in range(0, len(runs), TOGETHER):
        with ExitStack() as folders:
            copies: list[tuple[Run, Path, Path, str]] = []
            for run in runs[start : start + TOGETHER]:
                try:
                    copies.append((run, *_copy_whole(run, folders)))
                except UserError as error:
                    yield run, error
            # What W&B prints does not tell which of several runs was refused, so each is then tried by itself.
            together = len(copies) > 1 and _is_synced([copy for *_, copy, _ in copies])
            for run, recording, copy, outcome in copies:
                try:
                    if not together:
                        _wandb_sync([copy])
                    _mark_as_synced(recording)
                    yield run, outcome
                except UserError as error:
                    yield run, error


def _copy_whole(run: Run, folders: ExitStack) -> tuple[Path, Path, str]:
    """The newest recording of `run`, a copy with all its rows in a folder that lasts as long as `folders`, a word."""
    recording = newest_recording(run.path)
    assert recording is not None, "skip_reason says so"
    try:
        folder = Path(folders.enter_context(TemporaryDirectory(prefix=".sync-", dir=recording.parents[1])))
        records = read_records(recording)
        _refuse_foreign(recording, run, records)
        if is_complete(records, run):
            return recording, _copy(recording, folder), "uploaded"
        whole = complete_recording(recording, run, folder)
        return recording, whole, "uploaded, completed from the files of its directory"
    except OSError as error:
        raise UserError(f"cannot be uploaded: {error}") from error


def _mark_as_synced(recording: Path) -> None:
    try:
        mark_synced(recording)
    except OSError as error:
        raise UserError(f"cannot be uploaded: {error}") from error


def _refuse_foreign(recording: Path, run: Run, records: Sequence[Record]) -> None:
    """Refuse to upload what a recording, or a link beside it, fetches from anywhere else on this machine.

    Artifacts name the files that they consist of: those of the run, or copies that W&B has made in its own folder.
    """
    from wandb import env

    refuse_links(run.path, [run.path / "wandb", recording, *_copied(recording.parent)])
    own = (run.path, Path(env.get_data_dir()) / "artifacts", Path(env.get_cache_dir()) / "artifacts")
    for record in records:
        artifact = record.artifact if kind(record) == "artifact" else record.request.log_artifact.artifact
        for entry in artifact.manifest.contents:
            if entry.local_path and all(leads_out(Path(entry.local_path), folder) for folder in own):
                raise UserError(f"W&B: {recording} names a file outside its run: {ascii(entry.local_path)[1:-1]:.200}")
        if artifact.manifest.manifest_file_path:
            raise UserError(f"W&B: {recording} names a list of files outside of itself")
        for file in record.files.files:
            if leads_out(recording.parent / "files" / file.path, recording.parent / "files"):
                raise UserError(f"W&B: {recording} names a file outside its run: {ascii(file.path)[1:-1]:.200}")


def _copied(folder: Path) -> Iterator[Path]:
    """What `_copy` copies; W&B's logs, some of which are links to those of its process, are left out."""
    for place, folders, files in os.walk(folder):
        if Path(place) == folder and "logs" in folders:
            folders.remove("logs")
        yield from (Path(place) / name for name in (*folders, *files))


def newest_recording(run_dir: Path) -> Path | None:
    """The .wandb file of the newest recording of a run; None if there is none."""
    found = run_dir.glob("wandb/*run-*-*/run-*.wandb")
    return max(found, key=lambda path: path.parent.name.removeprefix(OFFLINE).removeprefix("run-"), default=None)


def sync_marker(recording: Path) -> Path:
    """The file beside a recording that tells `wandb sync`, too, that it is uploaded."""
    return recording.with_suffix(".wandb.synced")


def mark_synced(recording: Path) -> None:
    """Note that a recording is uploaded; raises OSError if that cannot be written."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(sync_marker(recording), flags, 0o666))


def _copy(recording: Path, folder: Path) -> Path:
    """A copy of a recording with its files, since W&B marks what it uploads as synced even if that failed."""
    shutil.copytree(
        recording.parent, folder / recording.parent.name, ignore=shutil.ignore_patterns("logs", "*.wandb.*")
    )
    return folder / recording.parent.name / recording.name


def _is_synced(recordings: Sequence[Path]) -> bool:
    try:
        _wandb_sync(recordings)
    except UserError:
        return False
    return True


def _wandb_sync(recordings: Sequence[Path]) -> None:
    command = [sys.executable, "-m", "wandb", "sync", "--include-online", "-n", str(TOGETHER), *map(str, recordings)]
    environment = {"WANDB_ERROR_REPORTING": "false", **os.environ}
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    # Its exit status is 0 and its marker is set even on failure; only its output tells.
    failures = [line for line in lines if " ERROR " in line]
    if failures or not all(sync_marker(recording).exists() for recording in recordings):
        raise UserError(f"W&B: {[*failures, *lines[-1:], f'wandb sync ended with status {done.returncode}'][0]}")
