"""The status of a run: one vocabulary for summary.json, for the journal of a sweep and for reports."""

from enum import StrEnum


class RunStatus(StrEnum):
    """How a run stands; its JSON is the plain word."""

    QUEUED = "queued"
    """A job of a sweep that has not started."""
    STARTING = "starting"
    """Its directory is reserved, and nothing is written yet."""
    RUNNING = "running"
    COMPLETED = "completed"
    PRUNED = "pruned"
    """A hyperparameter search ended it early, on purpose."""
    FAILED = "failed"
    """It raised an error."""
    INTERRUPTED = "interrupted"
    """It was stopped from outside, and said so in summary.json."""
    KILLED = "killed"
    """A job of a sweep that was stopped from outside, or ended without writing why."""
    LOST = "lost"
    """It says that it is running, but no process on this machine holds its directory."""
    UNREADABLE = "unreadable"
    """Its files cannot be read."""

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do: it ended as intended.

        >>> [status.value for status in RunStatus if status.is_done]
        ['completed', 'pruned']
        """
        return self in (RunStatus.COMPLETED, RunStatus.PRUNED)

    @property
    def is_broken_off(self) -> bool:
        """Whether it began, did not end as intended, and runs no more unless it is resumed.

        >>> [status.value for status in RunStatus if status.is_broken_off]
        ['failed', 'interrupted', 'killed', 'lost']
        """
        return self in (RunStatus.FAILED, RunStatus.INTERRUPTED, RunStatus.KILLED, RunStatus.LOST)
