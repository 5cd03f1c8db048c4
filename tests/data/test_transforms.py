"""Augmentation is decided by seed, task, epoch and image and copies pixels; rotation agrees with torchvision's."""

from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from metaplast.data import Augmentation, augment, augmentation_noise, rotate

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
