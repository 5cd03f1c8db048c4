"""Recordings that were made offline go to the W&B server: each run once, with every row that it measured.

A recording that was cut is completed first, in a copy that lives as long as the upload. What was uploaded is marked the
way `wandb sync` marks it, so that neither of the two does it again.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from metaplast.errors import UserError
from metaplast.report.runs import Run
from metaplast.training.wandb_copy import is_whole, make_whole
from metaplast.training.wandb_file import read_records

OFFLINE = "offline-run-"


def why_not(run: Run) -> str | None:
    """Why there is nothing of `run` to upload; None if there is."""
    recording = newest_recording(run.path)
    if recording is None:
        return "W&B did not record it"
    if run.status == "running":
        return "still running"
    if not recording.parent.name.startswith(OFFLINE):
        return f"recorded online; if that was cut: wandb sync --include-online {recording.parent}"
    return "uploaded before" if marker(recording).exists() else None


def upload(run: Run) -> str:
    """Upload the newest recording of `run`, completed if it has to be, and say what was done.

    A run that was resumed is recorded anew from its first row, so that its newest recording holds the earlier ones.

    Raises:
        UserError: if the recording cannot be read, or the server does not take it; it can be tried again.
    """
    recording = newest_recording(run.path)
    assert recording is not None, "why_not says so"
    try:
        with TemporaryDirectory(prefix=".sync-", dir=recording.parents[1]) as folder:
            whole = is_whole(read_records(recording), run)
            _wandb_sync(_copy(recording, Path(folder)) if whole else make_whole(recording, run, Path(folder)))
        marker(recording).touch()
    except OSError as error:
        raise UserError(f"cannot be uploaded: {error}") from error
    return "uploaded" if whole else "uploaded, completed from the files of its directory"


def newest_recording(run_dir: Path) -> Path | None:
    """The .wandb file of the recording of a run that was begun last; None if there is none."""
    found = run_dir.glob("wandb/*run-*-*/run-*.wandb")
    return max(found, key=lambda path: path.parent.name.removeprefix(OFFLINE).removeprefix("run-"), default=None)


def marker(recording: Path) -> Path:
    """The file beside a recording that tells `wandb sync`, too, that it is uploaded."""
    return recording.with_suffix(".wandb.synced")


def _copy(recording: Path, folder: Path) -> Path:
    """A copy of a recording with its files. W&B notes beside what it uploads that it did, whether or not it did."""
    shutil.copytree(
        recording.parent, folder / recording.parent.name, ignore=shutil.ignore_patterns("logs", "*.wandb.*")
    )
    return folder / recording.parent.name / recording.name


def _wandb_sync(recording: Path) -> None:
    command = [sys.executable, "-m", "wandb", "sync", str(recording)]
    environment = {"WANDB_ERROR_REPORTING": "false", **os.environ}
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    # Its exit status is 0 and its marker is set whatever the server answered; only its words tell.
    failures = [line for line in lines if " ERROR " in line]
    if failures or not marker(recording).exists():
        raise UserError(f"W&B: {[*failures, *lines[-1:], f'wandb sync ended with status {done.returncode}'][0]}")
