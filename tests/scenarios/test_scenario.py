"""A scenario is a real Avalanche benchmark, and any Avalanche experience gives its tensors."""

import io
from typing import Any

import pytest
import torch
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.scenarios import CLScenario
from avalanche.benchmarks.utils import AvalancheDataset, DataAttribute
from avalanche.benchmarks.utils.classification_dataset import ClassificationDataset
from avalanche.logging import TextLogger
from avalanche.training import Naive
from avalanche.training.plugins import EvaluationPlugin
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from metaplast.data import TaskTensors
from metaplast.errors import UserError
from metaplast.scenarios import Scenario, permuted_digits, task_tensors


@pytest.fixture(scope="module")
def digits() -> Scenario:
    return permuted_digits(n_tasks=2, seed=0)


def test_avalanche_sees_every_sample_as_the_tensors_have_it(digits: Scenario) -> None:
    experience = digits.benchmark.train_stream[1]
    images, labels = task_tensors(experience).batch(slice(None))
    assert len(experience.dataset) == len(images)
    for index in (0, 1, 700, len(images) - 1):
        image, label, task_label = experience.dataset[index]
        assert torch.equal(image, images[index])
        assert (label, task_label) == (int(labels[index]), 0)
        assert type(label) is int


def test_the_benchmark_has_what_avalanche_strategies_ask_of_one(digits: Scenario) -> None:
    assert isinstance(digits.benchmark, CLScenario)
    for stream in (digits.benchmark.train_stream, digits.benchmark.test_stream):
        for task, experience in enumerate(stream):
            assert experience.current_experience == task
            assert experience.task_labels == [0]
            assert experience.classes_in_this_experience == set(range(10))
            assert list(experience.dataset.targets) == task_tensors(experience).labels.tolist()
            assert experience.dataset.targets_task_labels.uniques == {0}


def test_our_experiences_give_their_tensors_without_a_copy_in_training_and_out_of_it() -> None:
    train = TaskTensors(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]))
    test = TaskTensors(torch.ones(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([1, 0]))
    scenario = Scenario.from_tensors([train], [test], n_classes=2)
    assert (scenario.n_tasks, scenario.n_classes, scenario.input_shape) == (1, 2, (1, 2, 2))
    assert task_tensors(scenario.benchmark.train_stream[0]) is train
    assert task_tensors(scenario.benchmark.train_stream[0].train()) is train
    assert task_tensors(scenario.benchmark.test_stream[0].eval()) is test


def test_one_test_may_stand_for_all_tasks_but_no_other_number() -> None:
    tasks = [TaskTensors(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1])) for _ in range(3)]
    scenario = Scenario.from_tensors(tasks, tasks[:1], n_classes=2)
    assert (scenario.n_tasks, len(scenario.benchmark.test_stream)) == (3, 1)
    assert isinstance(scenario.benchmark, CLScenario)
    for test in ([], tasks[:2]):
        with pytest.raises(ValueError, match=f"3 tasks need as many tests, or a single one, not {len(test)}"):
            Scenario.from_tensors(tasks, test, n_classes=2)


def test_a_subset_of_a_dataset_is_seen_as_such(digits: Scenario) -> None:
    dataset = digits.benchmark.train_stream[0].dataset.subset([3, 1])
    experience = only_experience(dataset)
    images, labels = task_tensors(digits.benchmark.train_stream[0]).batch(torch.tensor([3, 1]))
    part = task_tensors(experience)
    assert torch.equal(part.images, images)
    assert torch.equal(part.labels, labels)


def test_avalanches_own_loop_learns_two_tasks(digits: Scenario) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    evaluator = EvaluationPlugin(loggers=TextLogger(io.StringIO()))
    strategy = Naive(
        model=network, optimizer=optimizer, train_mb_size=50, train_epochs=1, eval_mb_size=400, evaluator=evaluator
    )
    for trained, tested in zip(digits.benchmark.train_stream, digits.benchmark.test_stream, strict=True):
        strategy.train(trained)
        images, labels = task_tensors(tested).batch(slice(None))
        correct = (network(images).argmax(1) == labels).float().mean()
        assert correct > 0.8  # a tenth by chance; 0.9 when seen
    strategy.eval(digits.benchmark.test_stream)
    assert strategy.clock.train_exp_counter == 2


def classification(images: Tensor, labels: Tensor) -> Any:
    targets = DataAttribute(labels, "targets")
    return ClassificationDataset([TensorDataset(images, labels)], data_attributes=[targets])


def only_experience(dataset: Any) -> Any:
    (experience,) = benchmark_from_datasets(train=[dataset]).train_stream
    return experience


@pytest.mark.parametrize(("shape", "seen"), [((3, 4, 5), (3, 4, 5)), ((4, 5), (1, 4, 5)), ((5,), (1, 1, 5))])
def test_another_benchmark_is_read_once_into_tensors(shape: tuple[int, ...], seen: tuple[int, ...]) -> None:
    images = torch.randn(6, *shape, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([3, 1, 4, 1, 5, 9])
    experience = only_experience(classification(images, labels))
    tensors = task_tensors(experience)
    batch, targets = tensors.batch(torch.arange(6))
    assert tensors.shape == seen
    assert torch.equal(batch, images.reshape(6, *seen))
    assert torch.equal(targets, labels)
    assert task_tensors(experience) is tensors


def test_transforms_of_another_benchmark_are_applied() -> None:
    images, labels = torch.ones(3, 1, 2, 2), torch.tensor([0, 1, 2])
    dataset = classification(images, labels).replace_current_transform_group(lambda x: 2 * x)
    assert torch.equal(task_tensors(only_experience(dataset)).images, 2 * images)


class _NotImages(TensorDataset):
    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return ("a picture", 0)


@pytest.mark.parametrize(
    ("dataset", "text"),
    [
        (_NotImages(torch.zeros(2)), "image tensors of one shape"),
        (TensorDataset(torch.zeros(2, 1, 2, 2, 2), torch.zeros(2)), "1 to 3 dimensions, not the shape"),
    ],
)
def test_experiences_that_hold_no_images_are_refused(dataset: Any, text: str) -> None:
    experience = only_experience(AvalancheDataset([dataset]))
    with pytest.raises(UserError, match=text):
        task_tensors(experience)
