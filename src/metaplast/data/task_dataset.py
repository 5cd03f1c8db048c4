"""The data of a task as tensors: images that tasks may share, labels, the pixel permutation, and random augmentation.

Each image's augmentation is a pure function of seed, task, epoch and image: the random numbers of an epoch are drawn at
once, a row per image, so that batches do not matter and a resumed run sees the same images. An augmentation is one
nearest-neighbor map from output to input pixels, so flips and shifts copy pixels exactly. torchvision's transforms do
neither: they draw from torch's global generator, and their rotation differs from :func:`rotate` by up to one gray
level. Random orders and seeds are the same under every version of every library.

Source: the published code of Laborieux et al. 2021 (arXiv 2101.07592), its stream of CIFAR-10.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from metaplast.errors import UserError

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


@dataclass(frozen=True, eq=False)
class TaskTensors:
    """Images and labels of one task. A batch is one index operation, and permuted tasks share their images.

    Pixel k of an image of the task, counted over its flattened (C, H, W), is pixel `permutation[k]` of the base image.
    Raises ValueError if the sizes do not fit each other.

    >>> images = torch.tensor([0, 51, 255, 102], dtype=torch.uint8).reshape(1, 1, 2, 2)
    >>> task = TaskTensors(images, torch.tensor([7]), permutation=torch.tensor([3, 2, 1, 0]))
    >>> task.batch(torch.tensor([0]))
    (tensor([[[[0.4000, 1.0000],
              [0.2000, 0.0000]]]]), tensor([7]))
    """

    images: Tensor
    """Base images (N, C, H, W): uint8 from 0 to 255, or another type, used unchanged. Never written to."""
    labels: Tensor
    """Classes, int64 (N,)."""
    permutation: Tensor | None = None
    """Indices of pixels, int64 (C·H·W,); None leaves the pixels in place."""
    augmentation: Augmentation = "none"
    """Random augmentation that the data module applies to training batches; :meth:`batch` does not."""

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                "images, labels: expected shapes (N, C, H, W) and (N,), "
                f"got {tuple(self.images.shape)} and {tuple(self.labels.shape)}"
            )
        pixels = self.images.shape[1:].numel()
        if self.permutation is not None and self.permutation.shape != (pixels,):
            raise ValueError(f"permutation: expected one of {pixels} pixels, got {self.permutation.numel()}")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of an image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def batch(self, indices: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Float32 images (B, C, H, W) and int64 labels (B,) at `indices`: int64 (B,) on the same device, or a slice.

        uint8 pixels are divided by 255, so they lie in [0, 1]. Do not write to the result: where nothing has to be
        converted, it is a view of the base images.
        """
        if isinstance(indices, slice):
            images, labels = self.images[indices], self.labels[indices]
        else:
            images, labels = self.images.index_select(0, indices), self.labels.index_select(0, indices)
        if self.permutation is not None:
            images = _permuted(images, self.permutation)
        return (torch.div(images, 255) if images.dtype == torch.uint8 else images.float()), labels

    def materialize(self) -> "TaskTensors":
        """The same task with a permuted copy of its images, so that batches need not be permuted one by one."""
        if self.permutation is None:
            return self
        return replace(self, images=_permuted(self.images, self.permutation), permutation=None)


def _permuted(images: Tensor, permutation: Tensor) -> Tensor:
    """Permuted images; uint8 on a CPU by NumPy, which takes a third of torch's time."""
    rows = images.flatten(1)
    if rows.device.type == "cpu" and rows.dtype == torch.uint8:
        return torch.from_numpy(rows.numpy().take(permutation.numpy(), axis=1)).view_as(images)
    return rows.index_select(1, permutation).view_as(images)


def split_by_class(tensors: TaskTensors, classes: Sequence[Sequence[int]]) -> list[TaskTensors]:
    """Split by class: part i has the images whose label is in `classes[i]`, in their order; labels are unchanged.

    No class may be in two parts; images of classes in no part are dropped. The images are copied once, and every part
    is a view of that copy. Raises UserError if a part has no image.

    >>> tensors = TaskTensors(torch.zeros(5, 1, 1, 1), torch.tensor([2, 0, 1, 2, 3]))
    >>> [part.labels.tolist() for part in split_by_class(tensors, [[1, 2], [3]])]
    [[2, 1, 2], [3]]
    """
    outside = len(classes)
    n_labels = 1 + max(int(tensors.labels.max()), *(label for part in classes for label in part))
    part_of = torch.full((n_labels,), outside)
    for i, part in enumerate(classes):
        part_of[list(part)] = i
    parts = part_of[tensors.labels]
    sizes = parts.bincount(minlength=outside + 1)[:outside].tolist()
    if 0 in sizes:
        raise UserError(f"data: expected images of the classes {list(classes[sizes.index(0)])}, got none")
    order = parts.argsort(stable=True)[: sum(sizes)]
    images, labels = torch.split(tensors.images[order], sizes), torch.split(tensors.labels[order], sizes)
    return [replace(tensors, images=of_part, labels=y) for of_part, y in zip(images, labels, strict=True)]


def batch_slices(n: int, batch_size: int) -> list[slice]:
    """Slices of n images into batches; a single last image is added to the batch before it.

    One image has no variance, so batch normalization cannot train on it.

    >>> [(part.start, part.stop) for part in batch_slices(7, batch_size=3)]
    [(0, 3), (3, 7)]
    """
    starts = list(range(0, n, batch_size))
    if len(starts) > 1 and n - starts[-1] == 1 < batch_size:
        starts.pop()
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], n], strict=True)]


def seed_of(seed: int, *key: int) -> int:
    """Return 32 bits, all that torch's generator on a CPU keeps, as a pure function of `seed` ≥ 0 and `key` ≥ 0.

    >>> seed_of(0, 1), seed_of(2**16, 1)
    (673228719, 1349317456)
    """
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1)[0])


def random_permutation(n: int, seed: int, *key: int) -> Tensor:
    """Return a random order of n things, int64 (n,), as a pure function of `seed` ≥ 0 and of the numbers of `key` ≥ 0.

    It is the order of n random 64-bit numbers. NumPy guarantees that the bit streams of its generators never change;
    it does not for `permutation`, nor does torch for `randperm`. All bits of the seed count, whereas torch's generator
    on a CPU keeps 32.

    >>> random_permutation(8, 0, 1)
    tensor([1, 3, 6, 2, 0, 7, 5, 4])
    """
    bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)).random_raw(n)
    return torch.from_numpy(np.argsort(bits, kind="stable"))
