"""Files that are either whole or absent: written under a temporary name beside the target, flushed to disk, renamed."""

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EISDIR, ENOLCK, ENOSYS, EOPNOTSUPP
from pathlib import Path
from typing import TYPE_CHECKING

from metaplast.errors import UserError

if TYPE_CHECKING:
    from filelock import BaseFileLock

log = logging.getLogger(__name__)


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path in the target's folder; on a clean exit it becomes the target, on an error it is removed.

    The suffix is kept, since some writers (matplotlib) choose the format by it. Renaming within one folder is atomic;
    a temporary folder on another file system would make it a copy that a kill can cut short. The file is made by the
    writer itself, so that it gets the permissions of any new file, and a writer that writes nothing is an error.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}-{secrets.token_hex(8)}{target.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def check_target(option: str, target: Path) -> None:
    """Raise UserError for a file, named by `option`, that could not be written, before the work that is to fill it."""
    probe = target.with_name(f".{target.name}.probe")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
        if target.is_dir():
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
    except OSError as error:
        raise UserError(f"{option} {target} cannot be written: {error.strerror}") from error


def write_text(target: Path, text: str) -> None:
    """Write `text` as UTF-8 to `target`, atomically, with its line ends as they are."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


NO_FLOCK = frozenset({ENOSYS, ENOLCK, EOPNOTSUPP})
"""What `flock` answers on file systems that do not have it, such as some network mounts."""


def acquire_lock(path: Path, timeout: float = 0) -> "BaseFileLock | None":
    """Lock the file `path`, waiting `timeout` seconds for it (−1: without end); None if another process keeps it.

    Where the file system has no `flock`, a warning is logged and the lock is the file `exclusive_lock(path)` instead,
    created exclusively. The caller calls `release()`; the operating system releases an `flock` of a killed process.
    """
    from filelock import FileLock, SoftFileLock, Timeout

    lock: BaseFileLock = FileLock(path, fallback_to_soft=False)
    try:
        try:
            lock.acquire(timeout=timeout)
        except (NotImplementedError, OSError) as error:
            if isinstance(error, Timeout) or (isinstance(error, OSError) and error.errno not in NO_FLOCK):
                raise
            fallback = exclusive_lock(path)
            log.warning("%s: the file system has no flock (%s); using the file %s instead", path, error, fallback.name)
            lock = SoftFileLock(fallback)
            lock.acquire(timeout=timeout)
    except Timeout:
        return None
    return lock


def exclusive_lock(path: Path) -> Path:
    """The file whose existence locks `path` where there is no `flock`.

    >>> exclusive_lock(Path("run/.lock")).as_posix()
    'run/.lock.exclusive'
    """
    return path.with_name(f"{path.name}.exclusive")
