"""The errors that a user sees as one line, and the exit statuses of the command."""

from errno import EDQUOT, EFBIG, EIO, ENOSPC, EROFS
from pathlib import Path

DISK_FULL = frozenset({ENOSPC, EDQUOT, EIO, EFBIG, EROFS})
"""What the system answers where a disk takes no more: full, over quota, broken, file too large, read-only."""


class UserError(Exception):
    """Invalid user input or a missing resource; the message has the form `KEY=VALUE: expected X, got Y`."""


class TrainingError(UserError):
    """A UserError after the first training step: the files of the run are kept, and the run can be resumed."""


class WriteError(TrainingError, OSError):
    """A file that could not be written, as on a full disk: its path, the reason, and the bytes that it needs.

    It is an OSError as well, for callers that say in their own words what cannot be written.
    """

    def __init__(self, path: Path, reason: OSError, needed: int | None = None) -> None:
        self.errno, self.strerror = reason.errno, reason.strerror
        size = f"; {needed:,} bytes are needed" if needed and reason.errno in DISK_FULL else ""
        self._line = f"{path} cannot be written: {reason.strerror or reason}{size}"
        super().__init__(self._line)

    def __str__(self) -> str:
        return self._line


class JobError(Exception):
    """A job of a sweep failed, and why. It is an Exception, so that Hydra runs the other jobs."""


class HydraAbort(BaseException):
    """Takes its cause through Hydra, which turns an Exception raised in a callback into a warning."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


FAILED = 1
"""The run failed; also the status of an error in our own code."""
REFUSED = 2
"""The command line or the configuration is invalid: nothing was started and nothing was written."""
HANGED_UP, INTERRUPTED, WARNED, PIPE_CLOSED, TERMINATED = 129, 130, 138, 141, 143
"""128 + the number of the signal, as shells have it: SIGHUP, SIGINT, SIGUSR1, SIGPIPE, SIGTERM."""
STOPPED_BY = {
    HANGED_UP: "SIGHUP",
    INTERRUPTED: "Ctrl-C",
    WARNED: "SIGUSR1",
    PIPE_CLOSED: "a closed pipe",
    TERMINATED: "SIGTERM",
}
"""What stopped a command that ends with one of these statuses."""
