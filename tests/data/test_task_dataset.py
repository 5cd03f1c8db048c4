"""A batch of a task is what permuting every image, one pixel at a time, would give.

Dealing images out by class loses none, mixes none up and keeps their order.

Augmentation is decided by seed, task, epoch and image and copies pixels; rotation agrees with torchvision's.

A random order is a permutation, and a pure function of its seed and key, now and under later versions.
"""

import time
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from metaplast.data import (
    Augmentation,
    TaskTensors,
    augment,
    augmentation_noise,
    random_permutation,
    rotate,
    split_by_class,
)
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


KINDS = st.sampled_from(get_args(Augmentation))
SIDES = st.integers(8, 13)


def images(n: int, height: int, width: int) -> Tensor:
    """Images whose pixels are all different, and none 0."""
    return (torch.arange(n * 2 * height * width) + 1.0).view(n, 2, height, width)


@given(KINDS, st.integers(1, 5), SIDES, SIDES, st.integers(0, 3))
def test_shapes_stay_every_pixel_is_one_of_the_images_own_or_0_and_nothing_else_is_drawn(
    how: Augmentation, n: int, height: int, width: int, seed: int
) -> None:
    x, state = images(n, height, width), torch.get_rng_state()
    y = augment(x, how, augmentation_noise(n, seed, 0, 0))
    assert y.shape == x.shape
    for before, after in zip(x.flatten(0, 1), y.flatten(0, 1), strict=True):
        assert set(after.flatten().tolist()) <= {0.0, *before.flatten().tolist()}
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, images(n, height, width))


@given(KINDS, st.permutations(range(6)))
def test_what_is_done_to_an_image_does_not_depend_on_its_batch(how: Augmentation, order: list[int]) -> None:
    x, noise = images(6, 8, 8), augmentation_noise(6, 0, 1, 2)
    assert torch.equal(augment(x, how, noise)[order], augment(x[order], how, noise[order]))


small = st.integers(0, 2)


@given(small, small, small, small, small, small)
def test_the_draws_of_an_epoch_are_decided_by_seed_task_and_epoch(
    s: int, t: int, e: int, s2: int, t2: int, e2: int
) -> None:
    same = torch.equal(augmentation_noise(20, s, t, e), augmentation_noise(20, s2, t2, e2))
    assert same == ((s, t, e) == (s2, t2, e2))


def test_draws_are_uniform() -> None:
    noise = augmentation_noise(20_000, 0, 0, 0)
    assert (noise.shape, noise.dtype) == ((20_000, 5), torch.float32)
    assert bool(((noise >= 0) & (noise < 1)).all())
    for column in noise.T:  # 2,000 ± 42 of each tenth
        assert bool((torch.histc(column, 10, 0, 1) - 2_000).abs().max() < 250)


@pytest.mark.parametrize("mirror", [0.2, 0.8])
def test_a_crop_is_cut_out_of_an_image_mirrored_or_not_whose_edge_is_repeated(mirror: float) -> None:
    x = images(1, 8, 9)
    mirrored = x.flip(3) if mirror < 0.5 else x
    padded = F.pad(mirrored, [4] * 4, mode="replicate")
    for i in range(9):
        for j in range(9):
            noise = torch.tensor([[mirror, 0.9, 0.3, (j + 0.5) / 9, (i + 0.5) / 9]])
            assert torch.equal(augment(x, "flip", noise), mirrored)
            assert torch.equal(augment(x, "flip_crop", noise), padded[:, :, i : i + 8, j : j + 9])


@pytest.mark.parametrize(("draw", "degrees"), [(0.0, -10.0), (0.5, 0.0), (0.9, 8.0)])
def test_a_turn_is_that_of_the_rotated_scenario_but_for_its_interpolation(draw: float, degrees: float) -> None:
    smooth = F.avg_pool2d(torch.rand(1, 1, 44, 44, generator=torch.Generator().manual_seed(0)), 17, 1)
    x = ((smooth - smooth.min()) / (smooth.max() - smooth.min()) * 255).byte()
    turned = augment(x.float(), "flip_rotate", torch.tensor([[0.7, 0.0, draw, 0.0, 0.0]]))
    inside = (..., slice(6, -6), slice(6, -6))
    assert (turned - rotate(x, degrees))[inside].abs().mean() < 6  # half a pixel of a smooth picture, of 255
    assert degrees == 0 or (turned - rotate(x, -degrees))[inside].abs().mean() > 12
    assert bool(turned[0, 0, 0, 0] == 0) == (degrees != 0), "corners come in from outside"


def test_either_turned_or_cropped_each_half_of_the_time() -> None:
    x = images(400, 8, 8)
    noise = augmentation_noise(400, 0, 0, 0)
    both = augment(x, "flip_rotate_or_crop", noise)
    turned, cropped = augment(x, "flip_rotate", noise), augment(x, "flip_crop", noise)
    for choice, one, rotated, cut in zip(noise[:, 1], both, turned, cropped, strict=True):
        assert torch.equal(one, rotated if choice < 0.5 else cut)


def test_no_augmentation_gives_the_images_themselves() -> None:
    x = images(2, 8, 8)
    assert augment(x, "none", augmentation_noise(2, 0, 0, 0)) is x


def random_bytes(n: int, shape: tuple[int, int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=generator)


@given(quarters=st.integers(-5, 5), side=st.integers(1, 9), channels=st.integers(1, 3))
def test_rotations_by_quarter_turns_are_exact(quarters: int, side: int, channels: int) -> None:
    base = random_bytes(3, (channels, side, side))
    assert torch.equal(rotate(base, 90 * quarters), torch.rot90(base, quarters, (2, 3)))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 12, 7)])
@pytest.mark.parametrize("degrees", [-200, 10, 36.5, 90.25, 144])
def test_any_rotation_is_torchvisions_to_a_gray_level(shape: tuple[int, int, int], degrees: float) -> None:
    base = random_bytes(5, shape)
    expected = transforms.rotate(base, degrees, InterpolationMode.BILINEAR)
    # both round, one of them may see 3.5 where the other sees 3.4999
    assert (rotate(base, degrees).int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize("degrees", [0, 360, -720])
def test_whole_turns_share_the_random_bytes(degrees: int) -> None:
    base = random_bytes(2, (1, 4, 4))
    assert rotate(base, degrees) is base


def test_images_are_rotated_independently_of_each_other() -> None:
    base = random_bytes(1203, (1, 4, 4))
    rotated = rotate(base, 30)
    assert all(torch.equal(rotated[i : i + 1], rotate(base[i : i + 1], 30)) for i in (0, 499, 500, 1202))


seeds = st.integers(0, 2**63)
keys = st.lists(st.integers(0, 1000), max_size=3)


@given(n=st.integers(0, 1000), seed=seeds, key=keys)
def test_everything_comes_once_and_in_the_same_order_each_time(n: int, seed: int, key: list[int]) -> None:
    order = random_permutation(n, seed, *key)
    assert order.dtype == torch.int64
    assert torch.equal(order.sort().values, torch.arange(n))
    torch.rand(1)  # other draws have no say in it
    assert torch.equal(order, random_permutation(n, seed, *key))


@given(one=st.tuples(seeds, keys), other=st.tuples(seeds, keys))
def test_another_seed_or_key_gives_another_order(one: tuple[int, list[int]], other: tuple[int, list[int]]) -> None:
    orders = [random_permutation(784, seed, *key) for seed, key in (one, other)]
    assert torch.equal(*orders) == (one == other)


def test_no_seed_stands_for_another_seed_and_key() -> None:
    """Seeds are cut into words of 32 bits: they must not run over into the key, nor a key's zeros be lost."""
    cases = [(5, ()), (5, (0,)), (5, (0, 0)), (5, (7,)), (5 + 7 * 2**32, ()), (5 + 7 * 2**32, (0,)), (0, (5, 7))]
    assert len({tuple(random_permutation(784, seed, *key).tolist()) for seed, key in cases}) == len(cases)


def test_orders_do_not_change_between_versions() -> None:
    assert random_permutation(12, 0, 0).tolist() == [6, 11, 3, 8, 1, 4, 5, 9, 2, 7, 10, 0]
    assert random_permutation(12, 3, 1).tolist() == [9, 0, 6, 7, 10, 5, 8, 2, 1, 4, 3, 11]
