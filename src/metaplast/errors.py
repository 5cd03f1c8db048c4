"""The one kind of error that is the user's to mend: it is shown as a line, without a traceback.

How a command ends: its exit statuses.

The exceptions that keep Hydra from commenting on an error first.
"""


class UserError(Exception):
    """Bad input or a missing resource. The message names the key, the value that came and what is allowed."""


class TrainingError(UserError):
    """A UserError after the first training step: the files of the run are kept, and the run can be resumed."""


FAILED = 1
"""The run broke off; also the status of an error in our own code."""
REFUSED = 2
"""The command line or the configuration cannot be: nothing was started and nothing was written."""
INTERRUPTED = 130
"""Ctrl-C, as shells have it: 128 + SIGINT."""
PIPE_CLOSED = 141
"""Nobody reads what is printed any more: 128 + SIGPIPE."""
TERMINATED = 143
"""Asked to end, by a scheduler for one: 128 + SIGTERM."""


class Carried(BaseException):
    """Carries its cause out through Hydra, which would turn an Exception of a callback into a warning."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class JobError(Exception):
    """A job of a multirun failed, and said why. An Exception, so that Hydra goes on with the other jobs."""
