"""The images of a data set dealt out by their class."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from metaplast.data.tensors import TaskTensors
from metaplast.errors import UserError


def split_by_class(tensors: TaskTensors, classes: Sequence[Sequence[int]]) -> list[TaskTensors]:
    """Part i has the images whose label is in `classes[i]`, in the order that they had; labels keep their values.

    No class may be in two parts; images of classes in no part are left out. The images are copied once, and every part
    is a view of that copy. Raises UserError if there is no image for a part.

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
        raise UserError(f"the data have no image of the classes {list(classes[sizes.index(0)])}.")
    order = parts.argsort(stable=True)[: sum(sizes)]
    images, labels = torch.split(tensors.images[order], sizes), torch.split(tensors.labels[order], sizes)
    return [replace(tensors, images=of_part, labels=y) for of_part, y in zip(images, labels, strict=True)]
