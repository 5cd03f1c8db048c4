"""Split scenarios show each class in one task only, and say which classes a task has where the task is told.

Streams: every image is in one part, the parts follow from the seed, and there is one test.

Features as tasks: rows normalized, signs taken, classes dealt out.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from metaplast.data import load_digits, load_mnist, write_features
from metaplast.errors import UserError
from metaplast.scenarios import (
    Scenario,
    cifar10_features,
    cifar10_stream,
    cifar100_features,
    digits_stream,
    fashion_mnist_stream,
    split_digits,
    split_fashion_mnist,
    split_mnist,
    task_tensors,
)

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


DATA_DIR = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CIFAR-10 of 35 training images, the first pixel of each its number, and of two test images."""
    data_dir = tmp_path_factory.mktemp("data")
    (data_dir / "cifar10").mkdir()
    for batch in range(5):
        records = [bytes([i % 10, i]) + bytes(3071) for i in range(7 * batch, 7 * batch + 7)]
        (data_dir / "cifar10" / f"data_batch_{batch + 1}.bin").write_bytes(b"".join(records))
    (data_dir / "cifar10" / "test_batch.bin").write_bytes(bytes([3]) + bytes(3072) + bytes([1]) + bytes(3072))
    return data_dir


def numbers(scenario: Scenario) -> list[list[int]]:
    """The images of each part by their number."""
    return [task_tensors(e).images[:, 0, 0, 0].tolist() for e in scenario.benchmark.train_stream]


@pytest.mark.parametrize("n_parts", [1, 2, 4, 35])
def test_every_image_is_in_one_part_with_its_label(small: Path, n_parts: int) -> None:
    scenario = cifar10_stream(n_parts=n_parts, augment="none", seed=0, data_dir=small)
    assert (scenario.n_tasks, scenario.n_tests) == (n_parts, 1)
    assert (scenario.n_tasks, scenario.n_classes, scenario.input_shape) == (n_parts, 10, (3, 32, 32))
    parts = numbers(scenario)
    assert sorted(number for part in parts for number in part) == list(range(35))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for part, experience in zip(parts, scenario.benchmark.train_stream, strict=True):
        assert task_tensors(experience).labels.tolist() == [number % 10 for number in part]
    (test,) = scenario.benchmark.test_stream
    assert task_tensors(test).labels.tolist() == [3, 1]


def test_the_parts_follow_from_the_seed_and_share_one_copy(small: Path) -> None:
    first, again, other = (cifar10_stream(n_parts=4, augment="none", seed=seed, data_dir=small) for seed in (1, 1, 2))
    assert numbers(first) == numbers(again)
    assert [sorted(part) for part in numbers(first)] != [sorted(part) for part in numbers(other)]
    tasks = [task_tensors(experience) for experience in first.benchmark.train_stream]
    assert len({task.images.untyped_storage().data_ptr() for task in tasks}) == 1


def test_more_parts_than_images_are_refused(small: Path) -> None:
    with pytest.raises(UserError, match=r"scenario\.n_parts=36: expected an integer from 1 to 35, got 36"):
        cifar10_stream(n_parts=36, augment="none", seed=0, data_dir=small)


def test_the_augmentation_goes_with_the_parts_and_not_with_the_test(small: Path) -> None:
    benchmark = cifar10_stream(n_parts=2, augment="flip_crop", seed=0, data_dir=small).benchmark
    assert [task_tensors(experience).augmentation for experience in benchmark.train_stream] == ["flip_crop"] * 2
    assert task_tensors(benchmark.test_stream[0]).augmentation == "none"


@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_the_digits_are_dealt_out_whatever_the_seed(n_parts: int, seed: int) -> None:
    images, labels = load_digits(train=True)
    parts = [task_tensors(e) for e in digits_stream(n_parts, seed).benchmark.train_stream]
    rows = torch.cat([torch.cat([part.images.flatten(1), part.labels[:, None]], dim=1) for part in parts])
    expected = torch.cat([images.flatten(1), labels[:, None]], dim=1)
    assert sorted(rows.tolist()) == sorted(expected.tolist())
    assert {len(part) for part in parts} <= {1442 // n_parts, 1442 // n_parts + 1}


@pytest.mark.slow
def test_fashion_mnist_comes_in_sixty_parts_of_a_thousand_that_all_look_alike() -> None:
    scenario = fashion_mnist_stream(n_parts=60, seed=0, data_dir=DATA_DIR)
    tasks: list[Any] = [task_tensors(experience) for experience in scenario.benchmark.train_stream]
    assert [len(task) for task in tasks] == [1000] * 60
    assert sum((Counter(task.labels.tolist()) for task in tasks), Counter()) == dict.fromkeys(range(10), 6000)
    for task in tasks:  # 100 ± 9.5 of each class
        assert bool((task.labels.bincount() - 100).abs().max() < 50)
    (test,) = scenario.benchmark.test_stream
    assert torch.equal(task_tensors(test).labels.bincount(), torch.full((10,), 1000))


VEHICLES, ANIMALS = {0, 1, 8, 9}, {2, 3, 4, 5, 6, 7}


def drawn(n: int, n_classes: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    features = torch.rand(n, 512, generator=generator).half()
    return features, torch.arange(n) % n_classes


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_features(folder / "cifar10_features.npz", drawn(40, 10), drawn(20, 10))
    write_features(folder / "other" / "hundred.npz", drawn(300, 100), drawn(100, 100))
    return folder


def classes_seen(scenario: Scenario) -> list[set[int]]:
    return [experience.classes_in_this_experience for experience in scenario.benchmark.train_stream]


def test_vehicles_come_before_animals_and_the_horse_is_an_animal(data_dir: Path) -> None:
    scenario = cifar10_features(scale="std", binarize=True, seed=0, data_dir=data_dir)
    assert (scenario.n_tasks, scenario.n_classes, scenario.input_shape) == (2, 10, (512, 1, 1))
    assert classes_seen(scenario) == [VEHICLES, ANIMALS]


def test_the_references_classes_are_a_matter_of_an_argument(data_dir: Path) -> None:
    reference = [[0, 1, 7, 8, 9], [2, 3, 4, 5, 6]]
    scenario = cifar10_features(classes=reference, scale="variance", binarize=False, seed=0, data_dir=data_dir)
    assert classes_seen(scenario) == [set(part) for part in reference]


def test_cifar100_is_two_halves_from_the_file_that_is_named(data_dir: Path) -> None:
    scenario = cifar100_features(
        n_tasks=2, scale="std", binarize=True, seed=0, data_dir=data_dir, file="other/hundred.npz"
    )
    assert scenario.n_classes == 100
    assert classes_seen(scenario) == [set(range(50)), set(range(50, 100))]


@pytest.mark.parametrize("scale", ["std", "variance"])
def test_rows_are_normalized_each_by_itself(data_dir: Path, scale: str) -> None:
    scenario = cifar10_features(scale=scale, binarize=False, seed=0, data_dir=data_dir)
    features, labels = drawn(40, 10)
    rows = features[torch.tensor([int(label) in VEHICLES for label in labels])].double()
    deviation = rows.std(1, correction=0, keepdim=True)
    expected = (rows - rows.mean(1, keepdim=True)) / deviation ** (1 if scale == "std" else 2)
    batch, _ = task_tensors(scenario.benchmark.train_stream[0]).batch(slice(None))
    torch.testing.assert_close(batch.flatten(1).double(), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("scale", ["std", "variance", "none"])
def test_binarized_features_are_the_signs_of_what_lies_above_the_mean_however_scaled(
    data_dir: Path, scale: str
) -> None:
    scenario = cifar10_features(scale=scale, binarize=True, seed=0, data_dir=data_dir)
    features, labels = drawn(20, 10)
    rows = features[torch.tensor([int(label) in ANIMALS for label in labels])].float()
    task = task_tensors(scenario.benchmark.test_stream[1])
    batch, _ = task.batch(torch.arange(len(task)))
    assert (task.images.dtype, batch.dtype) == (torch.int8, torch.float32)
    assert torch.equal(batch.flatten(1), torch.where(rows >= rows.mean(1, keepdim=True), 1.0, -1.0))
