"""Augmentation keeps shapes, copies pixels, and does to an image what seed, task, epoch and index say, and no more."""

from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from metaplast.data import Augmentation, augmentation_noise, augmented, rotate

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
    y = augmented(x, how, augmentation_noise(n, seed, 0, 0))
    assert y.shape == x.shape
    for before, after in zip(x.flatten(0, 1), y.flatten(0, 1), strict=True):
        assert set(after.flatten().tolist()) <= {0.0, *before.flatten().tolist()}
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, images(n, height, width))


@given(KINDS, st.permutations(range(6)))
def test_what_is_done_to_an_image_does_not_depend_on_its_batch(how: Augmentation, order: list[int]) -> None:
    x, draws = images(6, 8, 8), augmentation_noise(6, 0, 1, 2)
    assert torch.equal(augmented(x, how, draws)[order], augmented(x[order], how, draws[order]))


small = st.integers(0, 2)


@given(small, small, small, small, small, small)
def test_the_draws_of_an_epoch_are_decided_by_seed_task_and_epoch(
    s: int, t: int, e: int, s2: int, t2: int, e2: int
) -> None:
    same = torch.equal(augmentation_noise(20, s, t, e), augmentation_noise(20, s2, t2, e2))
    assert same == ((s, t, e) == (s2, t2, e2))


def test_draws_are_uniform() -> None:
    draws = augmentation_noise(20_000, 0, 0, 0)
    assert (draws.shape, draws.dtype) == ((20_000, 5), torch.float32)
    assert bool(((draws >= 0) & (draws < 1)).all())
    for column in draws.T:  # 2,000 ± 42 of each tenth
        assert bool((torch.histc(column, 10, 0, 1) - 2_000).abs().max() < 250)


@pytest.mark.parametrize("mirror", [0.2, 0.8])
def test_a_crop_is_cut_out_of_an_image_mirrored_or_not_whose_edge_is_repeated(mirror: float) -> None:
    x = images(1, 8, 9)
    mirrored = x.flip(3) if mirror < 0.5 else x
    padded = F.pad(mirrored, [4] * 4, mode="replicate")
    for i in range(9):
        for j in range(9):
            draws = torch.tensor([[mirror, 0.9, 0.3, (j + 0.5) / 9, (i + 0.5) / 9]])
            assert torch.equal(augmented(x, "flip", draws), mirrored)
            assert torch.equal(augmented(x, "flip_crop", draws), padded[:, :, i : i + 8, j : j + 9])


@pytest.mark.parametrize(("draw", "degrees"), [(0.0, -10.0), (0.5, 0.0), (0.9, 8.0)])
def test_a_turn_is_that_of_the_rotated_scenario_but_for_its_interpolation(draw: float, degrees: float) -> None:
    smooth = F.avg_pool2d(torch.rand(1, 1, 44, 44, generator=torch.Generator().manual_seed(0)), 17, 1)
    x = ((smooth - smooth.min()) / (smooth.max() - smooth.min()) * 255).byte()
    turned = augmented(x.float(), "flip_rotate", torch.tensor([[0.7, 0.0, draw, 0.0, 0.0]]))
    inside = (..., slice(6, -6), slice(6, -6))
    assert (turned - rotate(x, degrees))[inside].abs().mean() < 6  # half a pixel of a smooth picture, of 255
    assert degrees == 0 or (turned - rotate(x, -degrees))[inside].abs().mean() > 12
    assert bool(turned[0, 0, 0, 0] == 0) == (degrees != 0), "corners come in from outside"


def test_either_turned_or_cropped_each_half_of_the_time() -> None:
    x = images(400, 8, 8)
    draws = augmentation_noise(400, 0, 0, 0)
    both = augmented(x, "flip_rotate_or_crop", draws)
    turned, cropped = augmented(x, "flip_rotate", draws), augmented(x, "flip_crop", draws)
    for choice, one, rotated, cut in zip(draws[:, 1], both, turned, cropped, strict=True):
        assert torch.equal(one, rotated if choice < 0.5 else cut)


def test_no_augmentation_gives_the_images_themselves() -> None:
    x = images(2, 8, 8)
    assert augmented(x, "none", augmentation_noise(2, 0, 0, 0)) is x
