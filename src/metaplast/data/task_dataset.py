"""The data of a task as tensors: images that tasks may share, labels, and the pixel permutation of the task."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metaplast.data.transforms import Augmentation
from metaplast.errors import UserError


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
