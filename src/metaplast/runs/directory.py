"""The directory of a run: taken by one run alone, and held by one process at a time."""

import itertools
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig

from metaplast.errors import UserError
from metaplast.io import refuse_links
from metaplast.runs.summary import read_summary
from metaplast.runs.untrusted import load_saved_config

LOCK = ".lock"


def claim(wanted: Path, key: str, named: bool) -> Path:
    """Make and return a directory that no other run has: `wanted`, or `wanted`-1, -2, … where that is taken.

    A directory that the user `named`, by the setting `key`, has no substitute: UserError if it holds anything, and
    wherever a directory cannot be made.
    """
    candidates = (wanted if n == 0 else wanted.with_name(f"{wanted.name}-{n}") for n in itertools.count())
    try:
        for candidate in candidates:
            if _take(candidate):
                return candidate
            if named:
                break
    except OSError as error:
        raise UserError(f"{key}={wanted}: cannot be made: {error.strerror}") from error
    going_on = f", or go on with the run in it by resume={wanted}" if (wanted / "config.yaml").exists() else ""
    raise UserError(f"{key}={wanted}: is not empty; give another name{going_on}")


def has_checkpoint(run_dir: Path) -> bool:
    """Tell whether the run in `run_dir` left something to go on from: its last checkpoint or the one before."""
    return any((run_dir / "checkpoints").glob("last*.ckpt"))


def saved_config(run_dir: Path, resume: str, trust: Collection[str] = ()) -> DictConfig:
    """Read the configuration of the run, once it is known that there is something to go on with.

    It may name what ships with metaplast, and the names in `trust`; UserError for any other.
    """
    if not run_dir.is_dir():
        raise UserError(f"resume={resume}: there is no such directory; give the directory of a run")
    if not (run_dir / "config.yaml").is_file():
        runs = sorted(str(path.parent) for path in run_dir.glob("*/config.yaml"))
        hint = f"; one below it is {runs[0]}" if runs else ""
        raise UserError(f"resume={resume}: is not the directory of a run, since it holds no config.yaml{hint}")
    if read_summary(run_dir).get("status") == "completed":
        raise UserError(f"resume={resume}: this run is complete, so that nothing is left to do")
    if not has_checkpoint(run_dir):
        raise UserError(f"resume={resume}: there is no checkpoint (checkpoints/last.ckpt); start the run again")
    try:
        refuse_links(run_dir, [*run_dir.iterdir(), *(run_dir / "checkpoints").glob("*")])
    except OSError as error:
        raise UserError(f"resume={resume}: {error}") from error
    try:
        return load_saved_config(run_dir / "config.yaml", trust)
    except UserError as error:
        raise UserError(f"resume={resume}: {error}") from error


def _take(directory: Path) -> bool:
    """Make `directory` and mark it as taken, in one step that only one of several processes can do."""
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        return False
    try:
        (directory / LOCK).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@contextmanager
def occupied(run_dir: Path, patience: float = 0) -> Iterator[None]:
    """Hold the lock of `run_dir`, so that no other process runs there; UserError if one does for `patience` seconds."""
    from filelock import FileLock, Timeout

    lock = FileLock(run_dir / LOCK)
    try:
        refuse_links(run_dir, [run_dir / LOCK])
        lock.acquire(timeout=patience)
    except Timeout:
        raise UserError(f"{run_dir}: another process is running there; wait for it, or end it first") from None
    except OSError as error:
        raise UserError(f"{run_dir}: cannot be held: {error}") from error
    try:
        yield
    finally:
        lock.release()
