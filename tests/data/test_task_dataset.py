"""A batch of a task is what permuting every image, one pixel at a time, would give.

Dealing images out by class loses none, mixes none up and keeps their order.
"""

import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metaplast.data import TaskTensors, split_by_class
from metaplast.errors import UserError
from metaplast.nn._deterministic import one_thread


def task(n: int, shape: tuple[int, int, int], seed: int, permuted: bool = True) -> TaskTensors:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (n,), generator=generator)
    permutation = torch.randperm(images[0].numel(), generator=generator) if permuted else None
    return TaskTensors(images, labels, permutation)


shapes = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6))


@given(shape=shapes, seed=st.integers(0, 1000), indices=st.lists(st.integers(0, 6), max_size=9))
def test_a_batch_is_each_pixel_fetched_from_where_the_permutation_says(
    shape: tuple[int, int, int], seed: int, indices: list[int]
) -> None:
    tensors = task(7, shape, seed)
    images, labels = tensors.batch(torch.tensor(indices, dtype=torch.int64))
    assert images.shape == (len(indices), *shape)
    assert labels.tolist() == [int(tensors.labels[i]) for i in indices]
    assert tensors.permutation is not None
    for image, i in zip(images, indices, strict=True):
        base = tensors.images[i].flatten().tolist()
        expected = torch.tensor([base[k] for k in tensors.permutation.tolist()], dtype=torch.float32) / 255
        assert torch.equal(image.flatten(), expected)


@given(shape=shapes, seed=st.integers(0, 1000))
def test_the_inverse_permutation_restores_the_images(shape: tuple[int, int, int], seed: int) -> None:
    tensors = task(5, shape, seed)
    assert tensors.permutation is not None
    images, _ = tensors.batch(slice(None))
    assert torch.equal(images.flatten(1)[:, tensors.permutation.argsort()].view_as(images), tensors.images / 255)


@pytest.mark.parametrize("permuted", [True, False])
def test_a_slice_gives_what_its_indices_give(permuted: bool) -> None:
    tensors = task(9, (1, 4, 4), seed=0, permuted=permuted)
    for whole, part in zip(tensors.batch(slice(2, 8)), tensors.batch(torch.arange(2, 8)), strict=True):
        assert torch.equal(whole, part)


def test_floats_are_taken_as_they_are_and_the_base_is_never_written_to() -> None:
    images = torch.randn(4, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before = images.clone()
    batch, _ = TaskTensors(images, torch.zeros(4, dtype=torch.int64)).batch(slice(0, 4))
    assert batch.dtype == torch.float32
    assert torch.equal(batch, before.float())
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    ("images", "labels", "permutation", "text"),
    [
        (torch.zeros(3, 4), torch.zeros(3), None, r"expected shapes \(N, C, H, W\) and \(N,\)"),
        (torch.zeros(3, 1, 2, 2), torch.zeros(2), None, r"got \(3, 1, 2, 2\) and \(2,\)"),
        (torch.zeros(3, 1, 2, 2), torch.zeros(3), torch.arange(5), "permutation: expected one of 4 pixels, got 5"),
    ],
)
def test_tensors_that_do_not_fit_each_other_are_refused(
    images: torch.Tensor, labels: torch.Tensor, permutation: torch.Tensor | None, text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        TaskTensors(images, labels, permutation)


def test_a_permuted_batch_of_a_hundred_takes_no_work_per_sample() -> None:
    tensors = task(60_000, (1, 28, 28), seed=0)
    order = torch.randperm(60_000, generator=torch.Generator().manual_seed(0)).view(-1, 100)
    with one_thread():
        best = min(_seconds(tensors, order) for _ in range(5)) / len(order)
    assert best < 1e-3  # 95 µs on an idle core; work per sample in Python would take milliseconds


def _seconds(tensors: TaskTensors, order: torch.Tensor) -> float:
    start = time.perf_counter()
    for indices in order:
        tensors.batch(indices)
    return time.perf_counter() - start


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
    with pytest.raises(UserError, match=rf"expected images of the classes \[{missing}\]"):
        split_by_class(numbered([0, 1, 3]), [[0], [missing]])
