"""Files that are either whole or absent, and files of others, read with care.

Written: under a random name beside the target, flushed to disk, renamed. Read: regular files alone, no larger than
expected, and none that a symbolic link fetches from outside the folder it is looked for in.
"""

import logging
import os
import re
import secrets
import socket
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from errno import EISDIR, ENOLCK, ENOSYS, EOPNOTSUPP
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from metaplast.errors import DISK_FULL, UserError, WriteError

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


def disk_error(error: BaseException | None) -> OSError | None:
    """The answer of a full disk that led to `error`: libraries raise errors of their own over it. None if none did.

    >>> disk_error(OSError(28, "No space left on device")), disk_error(ValueError("bug"))
    (OSError(28, 'No space left on device'), None)
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return error
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn whatever a full disk makes fail inside into a WriteError about the file, or `folder` if that is unknown."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if (reason := disk_error(error)) is None:
            raise
        raise WriteError(Path(os.fsdecode(reason.filename or folder)), reason) from error


@contextmanager
def atomic_path(target: Path, needed: int | None = None) -> Iterator[Path]:
    """Yield a temporary path in the target's folder; on a clean exit it becomes the target, on an error it is removed.

    The suffix is kept, since some writers (matplotlib) choose the format by it. Renaming within one folder is atomic;
    a temporary folder on another file system would make it a copy that a kill can cut short. The file is made by the
    writer itself, so that it gets the permissions of any new file, and a writer that writes nothing is an error.

    Args:
        target: the file; its folder is made.
        needed: its size in bytes, for errors, if it is known before.

    Raises:
        WriteError: if it cannot be written; what was at `target` is as it was.
    """
    temporary = temporary_path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
        sync_folder(target.parent)
    except Exception as error:
        reason = error if isinstance(error, OSError) else disk_error(error)
        if reason is None or isinstance(error, WriteError):
            raise
        raise WriteError(target, reason, needed) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def temporary_path(target: Path) -> Path:
    """A hidden path beside `target` with a random name and the suffix of `target`."""
    return target.with_name(f".{target.stem}-{secrets.token_hex(8)}{target.suffix}")


_TEMPORARY = re.compile(r"\..+-[0-9a-f]{16}(\.\w+)?|\..+\.partial")
"""The names of `temporary_path`, and those that older versions gave."""


def remove_strays(folder: Path, prefix: str = ".") -> None:
    """Remove temporary files that a killed process left in `folder`, whose names start with `prefix`.

    No other process may be writing files of such names.
    """
    with suppress(OSError):
        for path in folder.iterdir():
            if path.name.startswith(prefix) and _TEMPORARY.fullmatch(path.name) and not path.is_dir():
                path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Flush the renames in `folder` to the disk, where its file system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


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
    """Write `text` as UTF-8 to `target`, atomically, with its line ends as they are. Raises WriteError."""
    content = text.encode()
    with atomic_path(target, len(content)) as temporary, create_exclusively(temporary) as file:
        file.write(content)


def write_status(target: Path, text: str, room: int = 0) -> None:
    """Write `text`, which says how something stands: on a full disk, too, if the text before left room for it.

    There it goes over the file that is there, not atomically, if that is as large. `room` is the number of spaces that
    follow `text`, for a longer text to come. Raises WriteError if neither works.
    """
    try:
        write_text(target, text + " " * room)
    except WriteError:
        if not _overwrite(target, text.encode()):
            raise


def _overwrite(target: Path, content: bytes) -> bool:
    """Write over a file that is as large as `content`, which takes no room on the disk; return whether that worked."""
    with suppress(OSError), open(_open_own(target, os.O_RDWR), "r+b", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if size >= len(content):
            file.write(content.ljust(size))
            os.fsync(file.fileno())
            return True
    return False


def append(path: Path, content: bytes) -> None:
    """Append `content` to a file, made if it is missing, and put it on the disk; nothing of it on WriteError."""
    try:
        handle = _open_own(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            size, left = os.fstat(handle).st_size, memoryview(content)
            try:
                while left:
                    left = left[os.write(handle, left) :]
                os.fsync(handle)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(handle, size)
                raise
        finally:
            os.close(handle)
    except OSError as error:
        raise WriteError(path, error, len(content)) from error


def _open_own(path: Path, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


NO_FLOCK = frozenset({ENOSYS, ENOLCK, EOPNOTSUPP})
"""What `flock` answers on file systems that do not have it, such as some network mounts."""


def acquire_lock(path: Path, timeout: float = 0) -> "BaseFileLock | None":
    """Lock the file `path`, waiting `timeout` seconds for it (−1: without end); None if another process keeps it.

    Where the file system has no `flock`, a warning is logged and the lock is the file `exclusive_lock(path)` instead,
    created exclusively. The caller calls `release()`; the operating system releases an `flock` of a killed process.
    The file says who has it (`lock_holder`). Raises OSError if it cannot be made, or is a link or no regular file.
    """
    from filelock import FileLock, SoftFileLock, Timeout

    refuse_links(path.parent, [path])
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
    with suppress(OSError):  # the disk may be full
        handle = _open_own(path, os.O_WRONLY | os.O_TRUNC)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        os.close(handle)
    return lock


def lock_holder(path: Path) -> str:
    """Who has, or had last, the lock `path`, as in "process 4711 on node3"; "another process" where it does not say."""
    with suppress(OSError, UnicodeDecodeError):
        said = read_regular(path, 1024, within=path.parent).decode()
        if re.fullmatch(r"process \d+ on [\w.-]+\n", said):
            return said.strip()
    return "another process"


def exclusive_lock(path: Path) -> Path:
    """The file whose existence locks `path` where there is no `flock`.

    >>> exclusive_lock(Path("run/.lock")).as_posix()
    'run/.lock.exclusive'
    """
    return path.with_name(f"{path.name}.exclusive")
