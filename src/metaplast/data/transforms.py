"""Random augmentation of training images, and rotation by a fixed angle.

Each image's augmentation is a pure function of seed, task, epoch and image: the random numbers of an epoch are drawn at
once, a row per image, so that batches do not matter and a resumed run sees the same images. An augmentation is one
nearest-neighbor map from output to input pixels, so flips and shifts copy pixels exactly. torchvision's transforms do
neither: they draw from torch's global generator, and their rotation differs from :func:`rotate` by up to one gray
level.

Source: the published code of Laborieux et al. 2021 (arXiv 2101.07592), its stream of CIFAR-10.
"""

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Augmentation = Literal["none", "flip", "flip_crop", "flip_rotate", "flip_rotate_or_crop"]
"""flip: mirror left to right with probability 1/2; crop: crop at random after padding by 4 edge pixels on each side;
rotate: rotate by up to 10 degrees either way, padded with 0. `flip_rotate_or_crop` flips and then rotates or crops with
probability 1/2 each, as in the reference.
"""

SHIFT = 4
"""Largest shift of a crop, in pixels."""
DEGREES = 10
"""Largest rotation, in degrees."""

_DRAWS = 5
"""Random numbers per image: flip, rotate or crop, angle, shift in x, shift in y."""
_DRAW = 2**32 - 1
"""Distinguishes this stream of random numbers from the others derived from a seed."""


def augmentation_noise(n: int, seed: int, task: int, epoch: int) -> Tensor:
    """The random numbers of the `n` images of a task in an epoch, float32 (n, 5), uniform in [0, 1)."""
    bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(task, epoch, _DRAW))).random_raw(n * _DRAWS)
    return torch.from_numpy((bits >> np.uint64(40)).astype(np.float32) / 2**24).reshape(n, _DRAWS)


def augment(images: Tensor, how: Augmentation, noise: Tensor) -> Tensor:
    """Augment float images (N, C, H, W) as `how` says, by the random numbers `noise` (N, 5).

    >>> image = torch.arange(4.0).reshape(1, 1, 2, 2)
    >>> augment(image, "flip", torch.tensor([[0.3, 0.0, 0.0, 0.0, 0.0]])).tolist()
    [[[[1.0, 0.0], [3.0, 2.0]]]]
    """
    if how == "none" or not len(images):
        return images
    mirror, either, angle, shift_x, shift_y = noise.unbind(1)
    rotated = torch.full_like(mirror, how == "flip_rotate") if how != "flip_rotate_or_crop" else (either < 0.5).float()
    shifted = torch.zeros_like(mirror) if how in ("flip", "flip_rotate") else 1 - rotated
    height, width = images.shape[2:]
    theta = rotated * (2 * angle - 1) * math.radians(DEGREES)
    # whole pixels from -4 to 4 with equal probability, in grid_sample's units (the image spans -1 to 1)
    dx, dy = (shifted * ((2 * SHIFT + 1) * draw - SHIFT).floor() * 2 for draw in (shift_x, shift_y))
    side = 1 - 2 * (mirror < 0.5).float()
    sine, cosine = theta.sin(), theta.cos()
    # the map runs backward, from output to input, so the flip, which comes first, is applied last
    rows = (
        torch.stack([side * cosine, -side * sine * height / width, side * dx / width], dim=1),
        torch.stack([sine * width / height, cosine, dy / height], dim=1),
    )
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    taken = F.grid_sample(images, grid, mode="nearest", padding_mode="border", align_corners=False)
    outside = (grid.abs() > 1).any(dim=3) & rotated.bool()[:, None, None]
    return taken.masked_fill_(outside[:, None], 0)


_CHUNK = 500
"""Images rotated at a time: they fit in the cache as floats, which is three times as fast as 10,000 at a time."""


def rotate(images: Tensor, degrees: float) -> Tensor:
    """Rotate uint8 images (N, C, H, W) counterclockwise by `degrees` about their center, padded with 0.

    Pixels are interpolated bilinearly and rounded to uint8, an error of at most half a gray level for a quarter of the
    memory of floats. Multiples of 360 degrees return `images` itself.

    >>> rotate(torch.tensor([[[[1, 2], [3, 4]]]], dtype=torch.uint8), 90).tolist()
    [[[[2, 4], [1, 3]]]]
    """
    if degrees % 360 == 0:
        return images
    n, channels, height, width = images.shape
    grid = _source_points(degrees, height, width)
    rotated = torch.empty_like(images)
    for start in range(0, n, _CHUNK):
        chunk = images[start : start + _CHUNK]
        # as one image with many channels, so that the four weights of each pixel are computed once
        planes = F.grid_sample(chunk.reshape(1, -1, height, width).float(), grid, align_corners=False)
        rotated[start : start + _CHUNK] = planes.round_().reshape(-1, channels, height, width)
    return rotated


def _source_points(degrees: float, height: int, width: int) -> Tensor:
    """Input position of each output pixel, (1, H, W, 2), in grid_sample's units: -1 and 1 are the outer edges."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # the y axis points down; units differ along the two axes where the image is not square
    turn = torch.tensor([[[cosine, -sine * height / width, 0.0], [sine * width / height, cosine, 0.0]]])
    return F.affine_grid(turn, [1, 1, height, width], align_corners=False)
