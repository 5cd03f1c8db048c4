"""Files that are either whole or absent, and files of others, read with care.

Written: under a random name beside the target, flushed to disk, renamed. Read: regular files alone, no larger than
expected, and none that a symbolic link fetches from outside the folder it is looked for in.
"""

import logging
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from errno import EISDIR, ENOLCK, ENOSYS, EOPNOTSUPP
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from metaplast.errors import UserError

if TYPE_CHECKING:
    from filelock import BaseFileLock

log = logging.getLogger(__name__)


class RefusedFileError(OSError):
    """A file that is there and is not opened: its message says why, as the end of a sentence."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.strerror = reason


def leads_out(path: Path, folder: Path) -> bool:
    """Whether `path`, every symbolic link in it followed, lies outside `folder`.

    >>> leads_out(Path("run/../other"), Path("run")), leads_out(Path("run/files/x"), Path("run"))
    (True, False)
    """
    real, home = os.path.realpath(path), os.path.realpath(folder)
    return os.path.commonpath([real, home]) != home


@contextmanager
def open_regular(path: Path, limit: int, within: Path | None = None) -> Iterator[BinaryIO]:
    """Open a file for reading that somebody else may have written.

    Args:
        path: the file.
        limit: the largest size, in bytes.
        within: the folder that no symbolic link may lead out of.

    Raises:
        RefusedFileError: if it is a device, a pipe or a folder, too large, or outside `within`.
        OSError: if it cannot be opened.
    """
    if within is not None and leads_out(path, within):
        raise RefusedFileError(f"is a symbolic link out of {within}")
    # Not blocking: to open a pipe would wait for its writer.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise RefusedFileError("is no regular file")
    with open(handle, "rb") as file:  # noqa: PTH123
        if status.st_size > limit:
            raise RefusedFileError(f"has {status.st_size:,} bytes, more than the {limit:,} that are read")
        yield file


def read_regular(path: Path, limit: int, within: Path | None = None) -> bytes:
    """Read what :func:`open_regular` opens."""
    with open_regular(path, limit, within) as file:
        content = file.read(limit + 1)
    if len(content) > limit:  # it has grown, or the file system does not tell sizes
        raise RefusedFileError(f"has more than the {limit:,} bytes that are read")
    return content


def refuse_links(folder: Path, entries: Iterable[Path]) -> None:
    """Raise RefusedFileError for one of `entries` that is a symbolic link out of `folder`, a device or a pipe."""
    for entry in entries:
        if entry.is_symlink() and leads_out(entry, folder):
            raise RefusedFileError(f"{entry.relative_to(folder)} is a symbolic link out of {folder}")
        if entry.exists() and not (entry.is_file() or entry.is_dir()):
            raise RefusedFileError(f"{entry.relative_to(folder)} is no regular file")


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path in the target's folder; on a clean exit it becomes the target, on an error it is removed.

    The suffix is kept, since some writers (matplotlib) choose the format by it. Renaming within one folder is atomic;
    a temporary folder on another file system would make it a copy that a kill can cut short. The file is made by the
    writer itself, so that it gets the permissions of any new file, and a writer that writes nothing is an error.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(target)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_path(target: Path) -> Path:
    """A hidden path beside `target` with a random name and the suffix of `target`."""
    return target.with_name(f".{target.stem}-{secrets.token_hex(8)}{target.suffix}")


@contextmanager
def create_exclusively(path: Path) -> Iterator[BinaryIO]:
    """Make the file `path` and open it for writing and reading; OSError where anything, a link too, is there."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o666), "w+b") as file:  # noqa: PTH123
        yield file


def check_target(option: str, target: Path) -> None:
    """Raise UserError for a file, named by `option`, that could not be written, before the work that is to fill it."""
    probe = temporary_path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        probe.touch(exist_ok=False)
        probe.unlink()
        if target.is_dir():
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
    except OSError as error:
        raise UserError(f"{option} {target} cannot be written: {error.strerror}") from error


def write_text(target: Path, text: str) -> None:
    """Write `text` as UTF-8 to `target`, atomically, with its line ends as they are."""
    content = text.encode()
    with atomic_path(target) as temporary, create_exclusively(temporary) as file:
        file.write(content)


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
