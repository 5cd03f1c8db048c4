"""Turning images: exact where it can be, and within a grey level of torchvision elsewhere."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from metaplast.data import rotate


def images(n: int, shape: tuple[int, int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=generator)


@given(quarters=st.integers(-5, 5), side=st.integers(1, 9), channels=st.integers(1, 3))
def test_quarter_turns_of_a_square_move_every_pixel_unchanged(quarters: int, side: int, channels: int) -> None:
    base = images(3, (channels, side, side))
    assert torch.equal(rotate(base, 90 * quarters), torch.rot90(base, quarters, (2, 3)))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 12, 7)])
@pytest.mark.parametrize("degrees", [-200, 10, 36.5, 90.25, 144])
def test_any_turn_is_torchvisions_to_a_grey_level(shape: tuple[int, int, int], degrees: float) -> None:
    base = images(5, shape)
    expected = transforms.rotate(base, degrees, InterpolationMode.BILINEAR)
    # both round, one of them may see 3.5 where the other sees 3.4999
    assert (rotate(base, degrees).int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize("degrees", [0, 360, -720])
def test_whole_turns_share_the_images(degrees: int) -> None:
    base = images(2, (1, 4, 4))
    assert rotate(base, degrees) is base


def test_many_images_are_turned_as_one_is() -> None:
    base = images(1203, (1, 4, 4))
    turned = rotate(base, 30)
    assert all(torch.equal(turned[i : i + 1], rotate(base[i : i + 1], 30)) for i in (0, 499, 500, 1202))
