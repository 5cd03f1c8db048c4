"""Validation data are a part of the training data: whole, by class, the same every time, and never the test data."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from metaplast.data import TaskTensors, random_permutation
from metaplast.errors import UserError
from metaplast.scenarios import Scenario, hold_out, task_tensors
from metaplast.scenarios.held_out import held_out

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
    with pytest.raises(UserError, match=r"^validation_share=0\.5: task 0, of 2 images, cannot be split by it$"):
        hold_out(scenario, share=0.5, seed=0)
