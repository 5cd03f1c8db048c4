"""Rotated MNIST: the same digits, turned by the angles asked for."""

from pathlib import Path

import pytest
import torch

from metaplast.data import load_mnist, rotate
from metaplast.scenarios import rotated_mnist, task_tensors

DATA_DIR = Path(__file__).parents[2] / "data"


@pytest.mark.parametrize(
    ("n_tasks", "angles", "turns"),
    [(3, 180, [0, 90, 180]), (2, [45.5, -10], [45.5, -10]), (1, 90, [0]), (3, 0, [0, 0, 0])],
)
def test_each_task_is_turned_by_its_angle_in_training_and_testing(
    n_tasks: int, angles: float | list[float], turns: list[float]
) -> None:
    scenario = rotated_mnist(n_tasks=n_tasks, angles=angles, seed=0, data_dir=DATA_DIR)
    assert (scenario.n_tasks, scenario.n_classes, scenario.input_shape) == (n_tasks, 10, (1, 28, 28))
    for stream in ("train", "test"):
        images, labels = load_mnist(DATA_DIR, train=stream == "train")
        for experience, angle in zip(scenario.benchmark.streams[stream], turns, strict=True):
            task = task_tensors(experience)
            assert torch.equal(task.images[-50:], rotate(images[-50:], angle))
            assert torch.equal(task.labels, labels)


def test_labels_and_upright_images_are_shared() -> None:
    scenario = rotated_mnist(n_tasks=3, angles=[0, 20, 360], seed=0, data_dir=DATA_DIR)
    tasks = [task_tensors(experience) for experience in scenario.benchmark.train_stream]
    assert tasks[0].images is tasks[2].images
    assert len({id(task.labels) for task in tasks}) == 1
