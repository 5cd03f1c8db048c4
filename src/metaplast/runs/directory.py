"""The directory of a run: taken by one run alone, and held by one process at a time."""

import itertools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml  # type: ignore[import-untyped]
from omegaconf import DictConfig, OmegaConf

from metaplast.errors import UserError
from metaplast.runs.old_keys import translate_old_keys
from metaplast.runs.summary import read_summary

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
    """Tell whether the run in `run_dir` left something to go on from: its last checkpoint or the one before."""
    return any((run_dir / "checkpoints").glob("last*.ckpt"))


def saved_config(run_dir: Path, resume: str) -> DictConfig:
    """Read the configuration of the run, once it is known that there is something to go on with."""
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
        saved = OmegaConf.load(run_dir / "config.yaml")
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"resume={resume}: its config.yaml cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(saved, DictConfig):
        raise UserError(f"resume={resume}: its config.yaml holds no settings")
    translate_old_keys(saved)
    return saved


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
        lock.acquire(timeout=patience)
    except Timeout:
        raise UserError(f"{run_dir}: another process is running there; wait for it, or end it first") from None
    try:
        yield
    finally:
        lock.release()
