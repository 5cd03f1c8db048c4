"""An epoch's batches hold every image once, in an order that seed, task and epoch decide, and can be resumed.

The task follows from the epoch.
"""

from dataclasses import replace

import torch
from hypothesis import given
from hypothesis import strategies as st

from metaplast.data import TaskTensors, augment, augmentation_noise
from metaplast.training.datamodule import EpochBatches, Schedule, SequentialLoader, epoch_order

small = st.integers(0, 3)


def task(first: int, n: int) -> TaskTensors:
    """Images that bear their own number, as their label does."""
    numbers = torch.arange(first, first + n)
    return TaskTensors(numbers.to(torch.uint8).view(n, 1, 1, 1), numbers)


@given(small, small, small, small, small, small)
def test_the_order_is_decided_by_seed_task_and_epoch(s: int, t: int, e: int, s2: int, t2: int, e2: int) -> None:
    same = torch.equal(epoch_order(50, s, t, e), epoch_order(50, s2, t2, e2))
    assert same == ((s, t, e) == (s2, t2, e2))


@given(st.lists(st.integers(1, 20), min_size=1, max_size=3), st.integers(1, 9))
def test_every_image_of_every_task_is_seen_once_with_its_own_label(sizes: list[int], batch_size: int) -> None:
    tasks = [task(sum(sizes[:i]), n) for i, n in enumerate(sizes)]
    batches = EpochBatches(tasks, batch_size, epoch_order(sum(sizes), 0, 0, 0))
    seen = list(batches)
    assert len(seen) == len(batches)
    assert sorted(label for _, y in seen for label in y.tolist()) == list(range(sum(sizes)))
    assert all(torch.equal((x.flatten() * 255).round().long(), y) for x, y in seen)
    assert all(len(y) == batch_size for _, y in seen[:-1])
    assert batch_size == 1 or sum(sizes) == 1 or all(len(y) > 1 for _, y in seen)


@given(st.integers(1, 30), st.integers(1, 7), st.data())
def test_a_pass_that_was_cut_goes_on_with_the_next_batch(n: int, batch_size: int, data: st.DataObject) -> None:
    order = epoch_order(n, 0, 0, 0)
    whole = [y for _, y in EpochBatches([task(0, n)], batch_size, order)]
    cut = data.draw(st.integers(0, len(whole)))
    first = EpochBatches([task(0, n)], batch_size, order)
    before = [y for _, (_, y) in zip(range(cut), first, strict=False)]
    second = EpochBatches([task(0, n)], batch_size, order)
    second.load_state_dict(first.state_dict())
    rest = [y for _, y in second]
    goes_on = before + (rest if cut < len(whole) else [])
    assert [y.tolist() for y in goes_on] == [y.tolist() for y in whole]
    assert len(list(second)) == len(whole), "the pass behind it is a whole one"


@given(st.integers(1, 30), st.integers(1, 7))
def test_a_test_keeps_the_order_of_the_images(n: int, batch_size: int) -> None:
    batches = SequentialLoader(task(0, n), batch_size)
    seen = list(batches)
    assert len(seen) == len(batches)
    assert torch.cat([y for _, y in seen]).tolist() == list(range(n))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(1, 9), st.integers(1, 9))
def test_images_are_augmented_the_same_whatever_batch_they_come_in(sizes: list[int], first: int, second: int) -> None:
    n = sum(sizes)
    order, draws = epoch_order(n, 0, 0, 0), augmentation_noise(n, 0, 0, 0)
    pictures = torch.arange(n * 64.0).view(n, 1, 8, 8)
    tasks = [
        TaskTensors(images, labels, augmentation="flip_rotate_or_crop")
        for images, labels in zip(torch.split(pictures, sizes), torch.split(torch.arange(n), sizes), strict=True)
    ]
    expected = augment(pictures, "flip_rotate_or_crop", draws)
    for batch_size in (first, second):
        for images, labels in EpochBatches(tasks, batch_size, order, draws):
            assert torch.equal(images, expected[labels])


def test_a_test_is_never_augmented_nor_an_epoch_without_draws() -> None:
    plain = TaskTensors(torch.rand(5, 1, 8, 8), torch.arange(5))
    changed = replace(plain, augmentation="flip_crop")
    order = torch.arange(5)
    for batches in (SequentialLoader(changed, 5), EpochBatches([changed], 5, order)):
        ((images, _),) = batches
        assert torch.equal(images, plain.images)
    ((images, _),) = EpochBatches([plain], 5, order, augmentation_noise(5, 0, 0, 0))
    assert torch.equal(images, plain.images)


@given(st.integers(1, 20), st.integers(1, 20), st.booleans())
def test_every_task_starts_once_ends_once_and_lasts_its_epochs(n_tasks: int, epochs: int, joint: bool) -> None:
    schedule = Schedule(n_tasks, epochs, joint)
    tasks = [schedule.task(epoch) for epoch in range(schedule.total_epochs)]
    trained = [n_tasks - 1] if joint else list(range(n_tasks))
    assert tasks == [task for task in trained for _ in range(epochs)]
    assert [schedule.task(e) for e in range(schedule.total_epochs) if schedule.starts_task(e)] == trained
    assert [schedule.task(e) for e in range(schedule.total_epochs) if schedule.ends_task(e)] == trained
    assert all(schedule.epoch_in_task(e) == e % epochs for e in range(schedule.total_epochs))
