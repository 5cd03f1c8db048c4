"""Split scenarios show each class in one task only, and say which classes a task has where the task is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metaplast.data import load_mnist
from metaplast.scenarios import split_digits, split_fashion_mnist, split_mnist, task_tensors

DATA_DIR = Path(__file__).parents[2] / "data"


@pytest.mark.parametrize("make", [split_mnist, pytest.param(split_fashion_mnist, marks=pytest.mark.slow)])
def test_five_tasks_have_two_classes_each_and_all_images_between_them(make: Callable[..., Any]) -> None:
    scenario = make(n_tasks=5, incremental="class", seed=0, data_dir=DATA_DIR)
    assert (scenario.n_tasks, scenario.n_classes, scenario.input_shape) == (5, 10, (1, 28, 28))
    assert scenario.classes_of_task is None
    for stream, total in (("train", 60_000), ("test", 10_000)):
        experiences = scenario.benchmark.streams[stream]
        assert [e.classes_in_this_experience for e in experiences] == [{0, 1}, {2, 3}, {4, 5}, {6, 7}, {8, 9}]
        assert sum(len(task_tensors(e)) for e in experiences) == total
        storages = {task_tensors(e).images.untyped_storage().data_ptr() for e in experiences}
        assert len(storages) == 1


def test_images_stay_with_their_labels_in_the_files_order() -> None:
    scenario = split_mnist(n_tasks=5, incremental="class", seed=0, data_dir=DATA_DIR)
    images, labels = load_mnist(DATA_DIR, train=False)
    task = task_tensors(scenario.benchmark.test_stream[3])
    chosen = (labels == 6) | (labels == 7)
    assert task.images.equal(images[chosen])
    assert task.labels.equal(labels[chosen])


@pytest.mark.parametrize("n_tasks", [1, 2, 5, 10])
def test_a_task_incremental_scenario_says_which_classes_each_task_has(n_tasks: int) -> None:
    scenario = split_digits(n_tasks=n_tasks, incremental="task", seed=0)
    assert scenario.classes_of_task is not None
    assert [label for part in scenario.classes_of_task for label in part] == list(range(10))
    for classes, experience in zip(scenario.classes_of_task, scenario.benchmark.test_stream, strict=True):
        assert set(classes) == experience.classes_in_this_experience
