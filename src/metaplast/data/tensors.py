"""A task's data as tensors: images that tasks may share, labels, and the order in which this task sees the pixels."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metaplast.data.augmentation import Augmentation


@dataclass(frozen=True, eq=False)
class TaskTensors:
    """Images and labels of one task; a batch is one index operation, and permuted tasks share their images.

    Pixel k of an image of the task, counted over its flattened (C, H, W), is pixel `permutation[k]` of the base image.
    Raises ValueError if the sizes do not fit each other.

    >>> images = torch.tensor([0, 51, 255, 102], dtype=torch.uint8).reshape(1, 1, 2, 2)
    >>> task = TaskTensors(images, torch.tensor([7]), permutation=torch.tensor([3, 2, 1, 0]))
    >>> task.batch(torch.tensor([0]))
    (tensor([[[[0.4000, 1.0000],
              [0.2000, 0.0000]]]]), tensor([7]))
    """

    images: Tensor
    """Base images (N, C, H, W): uint8 from 0 to 255, or another type, taken as it is. Never written to."""
    labels: Tensor
    """Classes, int64 (N,)."""
    permutation: Tensor | None = None
    """Indices of pixels, int64 (C·H·W,); None leaves the pixels in place."""
    augmentation: Augmentation = "none"
    """How the batches of an epoch are changed at random, which is the trainer's to do; :meth:`batch` never does it."""

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                "images of shape (N, C, H, W) and labels of shape (N,) are needed, "
                f"not {tuple(self.images.shape)} and {tuple(self.labels.shape)}"
            )
        pixels = self.images.shape[1:].numel()
        if self.permutation is not None and self.permutation.shape != (pixels,):
            raise ValueError(f"a permutation of {pixels} pixels is needed, not one of {self.permutation.numel()}")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of an image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def batch(self, indices: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Float32 images (B, C, H, W) and int64 labels (B,) at `indices`: int64 (B,) on the same device, or a slice.

        uint8 pixels are divided by 255 and so lie in [0, 1]. Nothing may be written into what is returned: where there
        is nothing to convert, a slice of the base images comes back as it is.
        """
        if isinstance(indices, slice):
            images, labels = self.images[indices], self.labels[indices]
        else:
            images, labels = self.images.index_select(0, indices), self.labels.index_select(0, indices)
        if self.permutation is not None:
            images = _permuted(images, self.permutation)
        return (torch.div(images, 255) if images.dtype == torch.uint8 else images.float()), labels

    def laid_out(self) -> "TaskTensors":
        """The same task with its pixels in place, so that no batch has to be permuted: a copy of its images, if any."""
        if self.permutation is None:
            return self
        return replace(self, images=_permuted(self.images, self.permutation), permutation=None)


def _permuted(images: Tensor, permutation: Tensor) -> Tensor:
    """Images with their pixels in place; bytes on a CPU by NumPy, which takes a third of torch's time."""
    rows = images.flatten(1)
    if rows.device.type == "cpu" and rows.dtype == torch.uint8:
        return torch.from_numpy(rows.numpy().take(permutation.numpy(), axis=1)).view_as(images)
    return rows.index_select(1, permutation).view_as(images)
