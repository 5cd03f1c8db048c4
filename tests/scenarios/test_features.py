"""Features as tasks: rows normalized, signs taken, classes dealt out."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from metaplast.data import write_features
from metaplast.scenarios import Scenario, cifar10_features, cifar100_features, task_tensors

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
