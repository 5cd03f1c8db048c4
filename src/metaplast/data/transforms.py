"""Training images changed at random, whole batches at a time, each change a pure function of seed, task, epoch, image.

The random numbers of an epoch are drawn at once, a row for each image of the task, so that it does not matter in which
batch an image comes, and a resumed run sees the same images. A change is one map from the pixels of the result to those
they are taken from, nearest neighbour, so that a flip and a shift copy pixels and alter none.

Source: the published code of Laborieux et al. 2021 (arXiv 2101.07592), its stream of CIFAR-10.

Images turned about their centre.
"""

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Augmentation = Literal["none", "flip", "flip_crop", "flip_rotate", "flip_rotate_or_crop"]
"""Mirrored left to right with probability 1/2; then shifted, turned, or one of both with probability 1/2 each.

crop: cut anew out of the image with 4 pixels at each side, which repeat those of its edge; rotate: turned by up to 10
degrees either way, what comes in from outside is 0. `flip_rotate_or_crop` is the reference's.
"""

SHIFT = 4
"""Most pixels that a crop lies beside the middle."""
DEGREES = 10
"""Most degrees that an image is turned."""

_DRAWS = 5
"""Numbers an image: whether it is mirrored, whether it is turned or cropped, its angle, its shift in x and in y."""
_DRAW = 2**32 - 1
"""Tells these draws from the others that follow from a seed: no epoch of a task has a further number."""


def augmentation_noise(n: int, seed: int, task: int, epoch: int) -> Tensor:
    """The random numbers of the `n` images of a task in an epoch, float32 (n, 5), uniform in [0, 1)."""
    bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(task, epoch, _DRAW))).random_raw(n * _DRAWS)
    return torch.from_numpy((bits >> np.uint64(40)).astype(np.float32) / 2**24).reshape(n, _DRAWS)


def augmented(images: Tensor, how: Augmentation, draws: Tensor) -> Tensor:
    """The images (N, C, H, W), floats, changed as `how` says and the random numbers `draws` (N, 5) decide.

    >>> image = torch.arange(4.0).reshape(1, 1, 2, 2)
    >>> augmented(image, "flip", torch.tensor([[0.3, 0.0, 0.0, 0.0, 0.0]])).tolist()
    [[[[1.0, 0.0], [3.0, 2.0]]]]
    """
    if how == "none" or not len(images):
        return images
    mirror, either, angle, shift_x, shift_y = draws.unbind(1)
    turned = torch.full_like(mirror, how == "flip_rotate") if how != "flip_rotate_or_crop" else (either < 0.5).float()
    shifted = torch.zeros_like(mirror) if how in ("flip", "flip_rotate") else 1 - turned
    height, width = images.shape[2:]
    theta = turned * (2 * angle - 1) * math.radians(DEGREES)
    # whole pixels from -4 to 4, each as likely; grid_sample has the image reach from -1 to 1
    dx, dy = (shifted * ((2 * SHIFT + 1) * draw - SHIFT).floor() * 2 for draw in (shift_x, shift_y))
    side = 1 - 2 * (mirror < 0.5).float()
    sine, cosine = theta.sin(), theta.cos()
    # the mirror comes first, so that it is the last on the way back to the pixel in the original
    rows = (
        torch.stack([side * cosine, -side * sine * height / width, side * dx / width], dim=1),
        torch.stack([sine * width / height, cosine, dy / height], dim=1),
    )
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    taken = F.grid_sample(images, grid, mode="nearest", padding_mode="border", align_corners=False)
    outside = (grid.abs() > 1).any(dim=3) & turned.bool()[:, None, None]
    return taken.masked_fill_(outside[:, None], 0)


_CHUNK = 500
"""Images turned at a time: as floats they then stay in the cache, which is three times as fast as 10,000 at a time."""


def rotate(images: Tensor, degrees: float) -> Tensor:
    """Turn uint8 images (N, C, H, W) counter-clockwise by `degrees`; what comes in from outside is 0.

    Pixels are interpolated bilinearly and rounded to uint8, which changes none by more than half a grey level and needs
    a quarter of the memory of floats. A whole turn returns `images` as they are.

    >>> rotate(torch.tensor([[[[1, 2], [3, 4]]]], dtype=torch.uint8), 90).tolist()
    [[[[2, 4], [1, 3]]]]
    """
    if degrees % 360 == 0:
        return images
    n, channels, height, width = images.shape
    grid = _source_points(degrees, height, width)
    turned = torch.empty_like(images)
    for start in range(0, n, _CHUNK):
        chunk = images[start : start + _CHUNK]
        # one image with many channels: the grid, and each pixel's four weights, are then worked out once for all
        planes = F.grid_sample(chunk.reshape(1, -1, height, width).float(), grid, align_corners=False)
        turned[start : start + _CHUNK] = planes.round_().reshape(-1, channels, height, width)
    return turned


def _source_points(degrees: float, height: int, width: int) -> Tensor:
    """Where each pixel comes from, (1, H, W, 2), in grid_sample's units: -1 and 1 are the outer edges of the image."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # the y axis points down; units differ along the two axes where the image is not square
    turn = torch.tensor([[[cosine, -sine * height / width, 0.0], [sine * width / height, cosine, 0.0]]])
    return F.affine_grid(turn, [1, 1, height, width], align_corners=False)
