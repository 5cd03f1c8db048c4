"""Dealing images out by class loses none, mixes none up and keeps their order."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metaplast.data import TaskTensors, split_by_class
from metaplast.errors import UserError


def numbered(labels: list[int]) -> TaskTensors:
    """Images whose only pixel is their number."""
    return TaskTensors(torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1), torch.tensor(labels))


@given(labels=st.lists(st.integers(0, 5), max_size=40), classes=st.sampled_from([[[0, 1]], [[5], [0, 3]], [[2], [1]]]))
def test_each_part_has_its_classes_images_in_their_order(labels: list[int], classes: list[list[int]]) -> None:
    labels = [*range(6), *labels]
    for part, wanted in zip(split_by_class(numbered(labels), classes), classes, strict=True):
        expected = [i for i, label in enumerate(labels) if label in wanted]
        assert part.images.flatten().tolist() == expected
        assert part.labels.tolist() == [labels[i] for i in expected]


def test_parts_are_views_of_one_copy_and_keep_permutation_and_augmentation() -> None:
    images = torch.zeros(6, 1, 2, 2, dtype=torch.uint8)
    tensors = TaskTensors(images, torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([3, 2, 1, 0]), "flip")
    parts = split_by_class(tensors, [[0], [1, 2]])
    assert len({part.images.untyped_storage().data_ptr() for part in parts}) == 1
    assert {part.augmentation for part in parts} == {"flip"}
    assert all(part.permutation is tensors.permutation for part in parts)


@pytest.mark.parametrize("missing", [2, 7])
def test_a_part_without_images_is_refused(missing: int) -> None:
    with pytest.raises(UserError, match=rf"no image of the classes \[{missing}\]"):
        split_by_class(numbered([0, 1, 3]), [[0], [missing]])
