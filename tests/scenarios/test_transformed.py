"""Permuted scenarios: what each task shows, as a pure function of seed and task, and as Avalanche and we see it.

Rotated MNIST: the same digits, turned by the angles asked for.
"""

from pathlib import Path
from typing import Any

import pytest
import torch

from metaplast.data import load_digits, load_mnist, random_permutation, rotate
from metaplast.errors import UserError
from metaplast.scenarios import (
    Scenario,
    permuted_digits,
    permuted_fashion_mnist,
    permuted_mnist,
    rotated_mnist,
    task_tensors,
)

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def digits() -> Scenario:
    return permuted_digits(n_tasks=3, seed=5)


def permutations(scenario: Scenario) -> list[list[int]]:
    return [task_tensors(experience).permutation.tolist() for experience in scenario.benchmark.train_stream]  # type: ignore[union-attr]


def test_every_task_is_permuted_the_first_as_well_and_more_tasks_change_none(digits: Scenario) -> None:
    three = permutations(digits)
    assert list(range(64)) not in three
    assert permutations(permuted_digits(n_tasks=5, seed=5))[:3] == three


@pytest.mark.parametrize("stream", ["train", "test"])
def test_training_and_testing_see_the_digits_in_the_same_order_which_its_inverse_undoes(
    digits: Scenario, stream: str
) -> None:
    images, labels = load_digits(train=stream == "train")
    for task, experience in enumerate(digits.benchmark.streams[stream]):
        permuted, targets = task_tensors(experience).batch(slice(None))
        restored = permuted.flatten(1)[:, random_permutation(64, 5, task).argsort()]
        assert torch.equal(restored, images.flatten(1) / 255)
        assert torch.equal(targets, labels)


def test_tasks_share_their_images(digits: Scenario) -> None:
    assert len({task_tensors(e).images.data_ptr() for e in digits.benchmark.train_stream}) == 1


@pytest.mark.parametrize("make", [permuted_mnist, pytest.param(permuted_fashion_mnist, marks=pytest.mark.slow)])
def test_permuted_mnist_and_permuted_fashion_have_the_sizes_of_mnist(make: Any) -> None:
    scenario = make(n_tasks=2, seed=0, data_dir=DATA)
    assert (scenario.n_tasks, scenario.n_classes, scenario.input_shape) == (2, 10, (1, 28, 28))
    assert [len(e.dataset) for e in scenario.benchmark.train_stream] == [60_000, 60_000]
    assert [len(e.dataset) for e in scenario.benchmark.test_stream] == [10_000, 10_000]


def test_padding_adds_black_pixels_around_the_image_before_it_is_permuted() -> None:
    plain, padded = (permuted_mnist(n_tasks=1, seed=3, data_dir=DATA, padding=padding) for padding in (0, 2))
    assert padded.input_shape == (1, 32, 32)
    for stream in ("train", "test"):
        one, other = (task_tensors(scenario.benchmark.streams[stream][0]) for scenario in (plain, padded))
        restored = other.batch(slice(0, 9))[0].flatten(1)[:, random_permutation(32 * 32, 3, 0).argsort()]
        restored = restored.view(-1, 1, 32, 32)
        assert torch.equal(restored[:, :, 2:-2, 2:-2], one.images[:9] / 255)
        assert restored.count_nonzero() == one.images[:9].count_nonzero()


def test_padding_has_to_be_a_whole_number() -> None:
    with pytest.raises(UserError, match=r"scenario\.padding=-1: expected an integer "):
        permuted_mnist(n_tasks=1, seed=0, data_dir="/nowhere", padding=-1)


@pytest.mark.parametrize("make", [permuted_mnist, permuted_digits])
@pytest.mark.parametrize(
    ("n_tasks", "seed", "text"),
    [
        (0, 0, "scenario.n_tasks=0: expected an integer from"),
        (-3, 0, "scenario.n_tasks=-3: expected an integer from"),
        (2.5, 0, "scenario.n_tasks=2.5: expected an integer from"),
        ("two", 0, "scenario.n_tasks=two: expected an integer from"),
        (True, 0, "scenario.n_tasks=true: expected an integer from"),
        (2, -1, "seed=-1: expected an integer from"),
        (2, None, "seed=null: expected an integer from"),
    ],
)
def test_wrong_arguments_are_refused_before_any_data_is_looked_for(
    make: Any, n_tasks: Any, seed: Any, text: str
) -> None:
    with pytest.raises(UserError, match=text):
        make(n_tasks=n_tasks, seed=seed, data_dir="/nowhere")


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
