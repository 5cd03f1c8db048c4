"""The beginning of a stream is made of the stream's own tasks."""

import pytest
import torch

from metaplast.data import TaskTensors
from metaplast.errors import UserError
from metaplast.scenarios import Scenario, first_tasks, task_tensors


def tasks(n: int) -> list[TaskTensors]:
    return [TaskTensors(torch.full((2, 1, 1, 1), float(task)), torch.tensor([0, 1])) for task in range(n)]


def test_the_first_tasks_are_those_of_the_whole_stream() -> None:
    train, test = tasks(3), tasks(3)
    begun = first_tasks(Scenario.from_tensors(train, test, 2, [[0], [1], [0, 1]]), 2)
    assert begun.n_tasks == 2
    assert begun.classes_of_task == [[0], [1]]
    assert [task_tensors(experience) for experience in begun.benchmark.train_stream] == train[:2]
    assert [task_tensors(experience) for experience in begun.benchmark.test_stream] == test[:2]


def test_a_test_that_stands_for_all_tasks_stays_whole() -> None:
    test = tasks(1)
    [experience] = first_tasks(Scenario.from_tensors(tasks(3), test, 2), 2).benchmark.test_stream
    assert task_tensors(experience) is test[0]


def test_more_tasks_than_there_are_are_refused() -> None:
    with pytest.raises(UserError, match=r"^only_tasks=3: has to be at most 2, the tasks of the scenario$"):
        first_tasks(Scenario.from_tensors(tasks(2), tasks(2), 2), 3)
