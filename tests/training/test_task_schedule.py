"""The task follows from the epoch."""

from hypothesis import given
from hypothesis import strategies as st

from metaplast.training.task_schedule import Schedule


@given(st.integers(1, 20), st.integers(1, 20), st.booleans())
def test_every_task_starts_once_ends_once_and_lasts_its_epochs(n_tasks: int, epochs: int, joint: bool) -> None:
    schedule = Schedule(n_tasks, epochs, joint)
    tasks = [schedule.task(epoch) for epoch in range(schedule.total_epochs)]
    trained = [n_tasks - 1] if joint else list(range(n_tasks))
    assert tasks == [task for task in trained for _ in range(epochs)]
    assert [schedule.task(e) for e in range(schedule.total_epochs) if schedule.starts_task(e)] == trained
    assert [schedule.task(e) for e in range(schedule.total_epochs) if schedule.ends_task(e)] == trained
    assert all(schedule.epoch_in_task(e) == e % epochs for e in range(schedule.total_epochs))
