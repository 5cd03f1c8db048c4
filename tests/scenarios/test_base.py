"""A scenario is a real Avalanche benchmark, and any Avalanche experience gives its tensors.

Validation data are a part of the training data: whole, by class, the same every time, and never the test data.

The beginning of a stream is made of the stream's own tasks.
"""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.scenarios import CLScenario
from avalanche.benchmarks.utils import AvalancheDataset, DataAttribute
from avalanche.benchmarks.utils.classification_dataset import ClassificationDataset
from avalanche.logging import TextLogger
from avalanche.training import Naive
from avalanche.training.plugins import EvaluationPlugin
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from metaplast.data import TaskTensors, random_permutation
from metaplast.errors import UserError
from metaplast.scenarios import Scenario, first_tasks, hold_out, permuted_digits, task_tensors
from metaplast.scenarios.base import held_out


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
        with pytest.raises(UserError, match=f"^test: expected 3 tests, one per task, or a single one, got {len(test)}"):
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
        (TensorDataset(torch.zeros(2, 1, 2, 2, 2), torch.zeros(2)), "1 to 3 dimensions, got the shape"),
    ],
)
def test_experiences_that_hold_no_images_are_refused(dataset: Any, text: str) -> None:
    experience = only_experience(AvalancheDataset([dataset]))
    with pytest.raises(UserError, match=text):
        task_tensors(experience)


LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(torch.tensor)
SHARES = st.floats(0.01, 0.99)


def numbered(labels: list[int], first: int = 0, permutation: Tensor | None = None) -> TaskTensors:
    """Images of two pixels that hold their own number, from `first` on, once as it is and once negative."""
    pixels = torch.arange(first, first + len(labels)).float()
    return TaskTensors(torch.stack([pixels, -pixels], 1).reshape(-1, 1, 1, 2), torch.tensor(labels), permutation)


def numbers_of(tensors: TaskTensors) -> list[int]:
    return tensors.images[:, 0, 0, 0].int().tolist()


@given(LABELS, SHARES, st.integers(0, 2**32))
def test_of_each_class_the_nearest_number_is_held_out_but_never_all_and_never_none(
    labels: Tensor, share: float, seed: int
) -> None:
    held = held_out(labels, share, seed)
    for label in labels.unique():  # type: ignore[no-untyped-call]
        n, part = int((labels == label).sum()), int(held[labels == label].sum())
        assert abs(part - share * n) < 1
        assert 1 <= part <= n - 1 or (n, part) == (1, 0)


@given(LABELS, SHARES, st.integers(0, 2**32))
def test_the_same_seed_holds_out_the_same_whatever_is_drawn_in_between(labels: Tensor, share: float, seed: int) -> None:
    once = held_out(labels, share, seed)
    torch.manual_seed(seed + 1)
    assert torch.equal(once, held_out(labels.clone(), share, seed))


def test_another_seed_holds_out_another_part() -> None:
    labels = torch.arange(10).repeat(100)
    assert not torch.equal(held_out(labels, 0.1, seed=0), held_out(labels, 0.1, seed=1))


def test_both_parts_together_are_the_training_data_of_the_task_and_the_test_data_are_in_neither() -> None:
    labels = [0, 0, 0, 1, 1, 1, 1, 2, 2, 2]
    order = torch.tensor([1, 0])
    train = [numbered(labels), numbered(labels[:7], first=100, permutation=order)]
    test = [numbered(labels, first=1000), numbered(labels[:7], first=2000, permutation=order)]
    split = hold_out(Scenario.from_tensors(train, test, n_classes=3), share=0.3, seed=0)
    assert (split.n_tasks, split.n_classes, split.input_shape) == (2, 3, (1, 1, 2))
    for task in range(2):
        rest, held = (
            task_tensors(stream[task]) for stream in (split.benchmark.train_stream, split.benchmark.test_stream)
        )
        assert sorted(numbers_of(rest) + numbers_of(held)) == numbers_of(train[task])
        for part in (rest, held):
            assert part.permutation is train[task].permutation
            assert [int(train[task].labels[n - 100 * task]) for n in numbers_of(part)] == part.labels.tolist()


def test_avalanche_sees_the_parts_as_the_tensors_have_them() -> None:
    scenario = Scenario.from_tensors([numbered([0, 1] * 5)], [numbered([1, 1])], n_classes=2)
    split = hold_out(scenario, share=0.4, seed=1)
    for stream in (split.benchmark.train_stream, split.benchmark.test_stream):
        [experience] = stream
        images, labels = task_tensors(experience).batch(slice(None))
        assert list(experience.dataset.targets) == labels.tolist()
        assert all(torch.equal(experience.dataset[i][0], images[i]) for i in range(len(images)))


def test_permuted_tasks_hold_out_the_same_images_and_go_on_sharing_them() -> None:
    base = numbered([0, 1] * 10)
    train = [replace(base, permutation=random_permutation(2, 0, task)) for task in range(3)]
    split = hold_out(Scenario.from_tensors(train, train, n_classes=2), share=0.2, seed=0)
    for stream in (split.benchmark.train_stream, split.benchmark.test_stream):
        assert len({id(task_tensors(experience).images) for experience in stream}) == 1
        assert len({id(task_tensors(experience).labels) for experience in stream}) == 1


def test_where_one_test_stands_for_all_tasks_so_does_one_of_all_parts() -> None:
    train = [numbered([0, 1] * 4), numbered([0, 1] * 3, first=100)]
    split = hold_out(Scenario.from_tensors(train, [numbered([0], first=1000)], n_classes=2), share=0.25, seed=0)
    [test] = split.benchmark.test_stream
    rest = [n for experience in split.benchmark.train_stream for n in numbers_of(task_tensors(experience))]
    assert sorted(rest + numbers_of(task_tensors(test))) == [*range(8), *range(100, 106)]


def test_classes_that_a_task_may_answer_stay() -> None:
    scenario = Scenario.from_tensors([numbered([0, 0])], [numbered([0])], n_classes=2, classes_of_task=[[0]])
    assert hold_out(scenario, share=0.5, seed=0).classes_of_task == [[0]]


def test_a_task_that_cannot_be_split_is_refused() -> None:
    scenario = Scenario.from_tensors([numbered([0, 1])], [numbered([0])], n_classes=2)
    with pytest.raises(UserError, match=r"^val_fraction=0\.5: task 0, of 2 images, cannot be split by it$"):
        hold_out(scenario, share=0.5, seed=0)


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
    with pytest.raises(UserError, match=r"^max_tasks=3: has to be at most 2, the tasks of the scenario$"):
        first_tasks(Scenario.from_tensors(tasks(2), tasks(2), 2), 3)


PIXELS = [[[0.0, 1.0], [0.5, 0.0]]] * 3
GOOD = (PIXELS, [0, 1, 2])


@pytest.mark.parametrize("convert", [list, torch.tensor, np.array], ids=["lists", "tensors", "arrays"])
@pytest.mark.parametrize("integer", [np.int32, np.int64, np.uint8, np.int16])
def test_ones_own_data_are_taken_as_lists_arrays_or_tensors(convert: Any, integer: Any) -> None:
    labels = np.array([0, 1, 2], integer)
    task = (
        convert(PIXELS),
        labels.tolist() if convert is list else labels if convert is np.array else torch.tensor(labels),
    )
    scenario = Scenario.from_tensors([task, GOOD], [GOOD, task], n_classes=3)
    tensors = task_tensors(scenario.benchmark.train_stream[0])
    assert (scenario.input_shape, tensors.labels.dtype) == ((1, 2, 2), torch.int64)
    assert tensors.images.flatten(1).tolist() == [[0.0, 1.0, 0.5, 0.0]] * 3
    assert tensors.labels.tolist() == [0, 1, 2]


def test_a_list_of_image_tensors_is_stacked() -> None:
    images = [torch.rand(3, 2, 2) for _ in range(3)]
    scenario = Scenario.from_tensors([(images, [0, 1, 2])], [(images, (2, 1, 0))], n_classes=3)
    assert torch.equal(task_tensors(scenario.benchmark.test_stream[0]).images, torch.stack(images))


def pixels(value: float) -> Any:
    images = np.zeros((3, 2, 2), np.float32)
    images[1, 0, 1] = value
    return images


@pytest.mark.parametrize(
    ("train", "test", "text"),
    [
        ([(PIXELS, [1, 2, 3])], [GOOD], r"task 0 (train): expected labels from 0 to 2 (n_classes=3), got 3"),
        ([GOOD], [(PIXELS, [0, -1, 2])], r"task 0 (test): expected labels from 0 to 2 (n_classes=3), got -1"),
        ([GOOD, (PIXELS, [0, 1, 9])], [GOOD] * 2, r"task 1 (train): expected labels from 0 to 2 (n_classes=3), got 9"),
        ([(PIXELS, [0, -100, 2])], [GOOD], r"task 0 (train): expected labels from 0 to 2 (n_classes=3), got -100"),
        ([(PIXELS, [0.0, 1.0, 2.0])], [GOOD], r"task 0 (train): expected integer labels, got 0.0 (torch.float32)"),
        ([GOOD], [(PIXELS, [True, False, True])], r"task 0 (test): expected integer labels, got True (torch.bool)"),
        ([(PIXELS, np.eye(3))], [GOOD], r"task 0 (train): expected labels of shape (3,), got (3, 3)"),
        ([(PIXELS, [0, 1])], [GOOD], r"task 0 (train): expected labels of shape (3,), got (2,)"),
        ([(PIXELS, ["a", "b", "c"])], [GOOD], r"task 0 (train): expected labels of one shape, as numbers, got list"),
        (
            [([[[0.0]], [[0.0, 1.0]]], [0, 1])],
            [GOOD],
            r"task 0 (train): expected images of one shape, as numbers, got list",
        ),
        ([(0.5, [0])], [GOOD], r"task 0 (train): expected images of shape (N, C, H, W), (N, H, W) or (N, D), got ()"),
        ([3], [GOOD], r"task 0 (train): expected TaskTensors or images and labels, got int"),
        (
            [GOOD, (np.zeros((3, 4, 4)), [0, 1, 2])],
            [GOOD] * 2,
            r"task 1 (train): expected images of shape (1, 2, 2), as in task 0, got (1, 4, 4)",
        ),
        (
            [GOOD],
            [(np.zeros((3, 3, 2, 2)), [0, 1, 2])],
            r"task 0 (test): expected images of shape (1, 2, 2), as in task 0, got (3, 2, 2)",
        ),
        ([GOOD, (np.zeros((0, 2, 2)), [])], [GOOD] * 2, r"task 1 (train): expected at least 1 image, got none"),
        ([GOOD], [(np.zeros((0, 2, 2)), np.zeros(0, int))], r"task 0 (test): expected at least 1 image, got none"),
        ([], [], r"train: expected at least 1 task, got none"),
        ([GOOD] * 3, [GOOD] * 2, r"test: expected 3 tests, one per task, or a single one, got 2"),
        ([(pixels(np.nan), [0, 1, 2])], [GOOD], r"task 0 (train): expected finite pixels, got nan"),
        ([GOOD], [(pixels(np.inf), [0, 1, 2])], r"task 0 (test): expected finite pixels, got inf"),
        ([GOOD] * 2, [GOOD, (pixels(-np.inf), [0, 1, 2])], r"task 1 (test): expected finite pixels, got -inf"),
    ],
)
def test_data_that_do_not_fit_are_refused_with_task_set_and_value(train: Any, test: Any, text: str) -> None:
    with pytest.raises(UserError) as error:
        Scenario.from_tensors(train, test, n_classes=3)
    assert str(error.value) == text


@pytest.mark.parametrize(
    ("n_classes", "classes_of_task", "text"),
    [
        (0, None, "n_classes=0: expected an integer >= 1"),
        (2.0, None, "n_classes=2.0: expected an integer >= 1"),
        (2, None, "task 0 (train): expected labels from 0 to 1 (n_classes=2), got 2"),
        (3, [[0, 1]], "task 0 (train): expected labels of a class in classes_of_task, got 2"),
        (3, [], "classes_of_task: expected 1 lists of classes, got 0"),
        (4, [[3]], "task 0 (train): expected labels of a class in classes_of_task, got 0"),
    ],
)
def test_classes_that_do_not_fit_the_data_are_refused(n_classes: Any, classes_of_task: Any, text: str) -> None:
    with pytest.raises(UserError) as error:
        Scenario.from_tensors([GOOD], [GOOD], n_classes, classes_of_task)
    assert str(error.value) == text
