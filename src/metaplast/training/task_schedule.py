"""The task of an epoch. What changes with the task follows from the epoch counter, so a resume needs no more."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """`n_tasks` tasks of `epochs_per_task` epochs, one after the other, or all of them at once (`joint`).

    Epochs and tasks count from 0. A joint stream has one stretch of `epochs_per_task` epochs over the data of all
    tasks; it is reported as the last task, since all tasks have been trained when it ends.

    >>> schedule = Schedule(n_tasks=3, epochs_per_task=2)
    >>> [schedule.task(epoch) for epoch in range(schedule.total_epochs)]
    [0, 0, 1, 1, 2, 2]
    >>> [epoch for epoch in range(6) if schedule.ends_task(epoch)]
    [1, 3, 5]
    """

    n_tasks: int
    epochs_per_task: int
    joint: bool = False

    @property
    def total_epochs(self) -> int:
        """Epochs of the whole stream."""
        return self.epochs_per_task * (1 if self.joint else self.n_tasks)

    def task(self, epoch: int) -> int:
        """The task that `epoch` trains."""
        return self.n_tasks - 1 if self.joint else epoch // self.epochs_per_task

    def epoch_in_task(self, epoch: int) -> int:
        """The number of `epoch` within its task, from 0."""
        return epoch % self.epochs_per_task

    def starts_task(self, epoch: int) -> bool:
        """Whether a task begins with `epoch`."""
        return self.epoch_in_task(epoch) == 0

    def ends_task(self, epoch: int) -> bool:
        """Whether `epoch` is the last of its task."""
        return self.epoch_in_task(epoch) == self.epochs_per_task - 1
