"""Reserves the directory of a run, locks it for one process, and reads the configuration to resume from."""

import itertools
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig

from metaplast.errors import UserError
from metaplast.io import acquire_lock, lock_holder, refuse_links
from metaplast.runs.names import ANY_LAST_CHECKPOINT, CONFIG, LOCK
from metaplast.runs.summary import RunStatus, read_summary
from metaplast.runs.untrusted import load_saved_config


def create_run_dir(wanted: Path, key: str, named: bool) -> Path:
    """Create and return a directory that no other run has: `wanted`, or `wanted`-1, -2, … where that is not empty.

    Args:
        wanted: the directory to create.
        key: the setting that says it, for errors.
        named: whether the user typed it; then no other directory takes its place.

    Raises:
        UserError: if a `named` directory is not empty, or if a directory cannot be created.
    """
    candidates = (wanted if n == 0 else wanted.with_name(f"{wanted.name}-{n}") for n in itertools.count())
    try:
        for candidate in candidates:
            if _take(candidate):
                return candidate
            if named:
                break
    except OSError as error:
        raise UserError(f"{key}={wanted}: expected a directory that can be created, got: {error.strerror}") from error
    resume = f", or resume the run in it with resume={wanted}" if (wanted / CONFIG).exists() else ""
    raise UserError(f"{key}={wanted}: expected an empty directory, got one with files; give another name{resume}")


def check_not_finished(run_dir: Path) -> None:
    """Raise UserError where a new run would overwrite results: those of a finished run, or of one to resume.

    A run that broke off before its first checkpoint has nothing to lose and may start again in its directory.
    """
    status = read_summary(run_dir).get("status")
    if status in (RunStatus.COMPLETED, RunStatus.PRUNED):
        raise UserError(f"run_dir={run_dir}: expected a directory without results, got a {status} run; give another")
    if has_checkpoint(run_dir):
        raise UserError(
            f"run_dir={run_dir}: expected a directory without results, got a run with a checkpoint; "
            f"give another, or resume it with resume={run_dir}"
        )


def remove_run_dir(run_dir: Path) -> None:
    """Remove the directory of a run that was refused before its first step, and parents that are left empty.

    Parents are removed only below the current directory, and nothing where `run_dir` is that directory itself.
    """
    shutil.rmtree(run_dir, ignore_errors=True)
    cwd = Path.cwd()
    for parent in run_dir.absolute().parents:
        if cwd not in parent.parents:
            break
        try:
            parent.rmdir()
        except OSError:  # holds something else
            break


def has_checkpoint(run_dir: Path) -> bool:
    """Whether the run in `run_dir` left its last checkpoint, or the one before, to resume from."""
    return any(run_dir.glob(ANY_LAST_CHECKPOINT))


def saved_config(run_dir: Path, resume: str, trust: Collection[str] = ()) -> DictConfig:
    """Read the configuration of the run to resume, which may name what ships with metaplast and the names in `trust`.

    Raises:
        UserError: if there is no such run, it is completed, it has no checkpoint, or its config.yaml cannot be read or
            names anything else.
    """
    if not run_dir.is_dir():
        raise UserError(f"resume={resume}: there is no such directory; give the directory of a run")
    if not (run_dir / CONFIG).is_file():
        runs = sorted(str(path.parent) for path in run_dir.glob(f"*/{CONFIG}"))
        hint = f"; one below it is {runs[0]}" if runs else ""
        raise UserError(f"resume={resume}: is not the directory of a run, since it holds no {CONFIG}{hint}")
    if read_summary(run_dir).get("status") == RunStatus.COMPLETED:
        raise UserError(f"resume={resume}: this run is complete, so that nothing is left to do")
    if not has_checkpoint(run_dir):
        raise UserError(f"resume={resume}: there is no checkpoint (checkpoints/last.ckpt); start the run again")
    try:
        refuse_links(run_dir, [*run_dir.iterdir(), *(run_dir / "checkpoints").glob("*")])
    except OSError as error:
        raise UserError(f"resume={resume}: {error}") from error
    try:
        return load_saved_config(run_dir / CONFIG, trust)
    except UserError as error:
        raise UserError(f"resume={resume}: {error}") from error


def _take(directory: Path) -> bool:
    """Create `directory` and reserve it; atomic, so that only one of several processes succeeds."""
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        return False
    try:
        (directory / LOCK).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@contextmanager
def lock_run_dir(run_dir: Path, timeout: float = 0) -> Iterator[None]:
    """Hold the lock of `run_dir`, so that no other process runs there.

    Raises:
        UserError: if another process still holds it after `timeout` seconds, or it cannot be locked.
    """
    try:
        lock = acquire_lock(run_dir / LOCK, timeout)
    except OSError as error:
        raise UserError(f"{run_dir}: cannot be locked: {error}") from error
    if lock is None:
        raise UserError(f"{run_dir}: {lock_holder(run_dir / LOCK)} is running there; wait for it, or end it first")
    try:
        yield
    finally:
        lock.release()
