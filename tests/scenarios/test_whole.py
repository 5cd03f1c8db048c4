"""Data sets as tasks of their own, in the order asked for."""

from pathlib import Path

import pytest
import torch

from metaplast.data import load_fashion_mnist, load_mnist
from metaplast.scenarios import task_tensors, whole_datasets

DATA_DIR = Path(__file__).parents[2] / "data"
LOAD = {"mnist": load_mnist, "fashion_mnist": load_fashion_mnist}


@pytest.mark.parametrize(
    "order",
    [
        ["mnist"],
        pytest.param(["mnist", "fashion_mnist"], marks=pytest.mark.slow),
        pytest.param(["fashion_mnist", "mnist"], marks=pytest.mark.slow),
    ],
)
def test_each_task_is_one_data_set_as_it_was_published(order: list[str]) -> None:
    scenario = whole_datasets(order=order, seed=3, data_dir=DATA_DIR)
    assert (scenario.n_tasks, scenario.n_classes, scenario.input_shape) == (len(order), 10, (1, 28, 28))
    for stream in ("train", "test"):
        for experience, name in zip(scenario.benchmark.streams[stream], order, strict=True):
            images, labels = LOAD[name](DATA_DIR, train=stream == "train")
            assert torch.equal(task_tensors(experience).images, images)
            assert torch.equal(task_tensors(experience).labels, labels)
