"""Batches of one epoch, in an order that is a pure function of seed, task and epoch: a resume sees the same."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from metaplast.data import TaskTensors, augmented, batch_slices, random_permutation

Batch = tuple[Tensor, Tensor]
"""Images (N, C, H, W) in [0, 1] and labels (N,)."""


def epoch_order(n: int, seed: int, task: int, epoch: int) -> Tensor:
    """The order (n,) in which the samples of an epoch are seen.

    >>> torch.equal(epoch_order(9, seed=0, task=1, epoch=2), epoch_order(9, seed=0, task=1, epoch=2))
    True
    """
    # torch's own generator keeps 32 bits of a seed, so it cannot tell all of these apart.
    return random_permutation(n, seed, task, epoch)


class EpochBatches:
    """Shuffled batches of one epoch over one task, or over several mixed, for Lightning's loop.

    Re-iterable and with a length; `state_dict` holds the number of batches already given out, from which a resumed
    epoch goes on. The last batch differs in size where `batch_size` does not divide the data.

    Args:
        tasks: the tasks whose data the epoch runs over, each image seen once.
        batch_size: images a batch.
        order: (total number of images,) indices into the tasks one after the other.
        draws: (total number of images, 5), what :func:`metaplast.data.epoch_draws` gave for each, by which tasks with
            an augmentation are changed; None leaves all images as they are.
    """

    def __init__(
        self, tasks: Sequence[TaskTensors], batch_size: int, order: Tensor, draws: Tensor | None = None
    ) -> None:
        self.tasks, self.order, self.draws = tasks, order, draws
        self.slices = batch_slices(len(order), batch_size)
        self.given = 0
        """Batches of the current pass that have been given out."""

    def __len__(self) -> int:
        return len(self.slices)

    def __iter__(self) -> Iterator[Batch]:
        first, self.given = self.given % len(self), 0  # a pass that was left behind its last batch is a whole one
        for i in range(first, len(self)):
            self.given = i + 1
            yield self._batch(self.order[self.slices[i]])
        self.given = 0

    def _batch(self, indices: Tensor) -> Batch:
        if len(self.tasks) == 1:
            return self._part(self.tasks[0], indices, 0)
        parts, start = [], 0
        for task in self.tasks:
            inside = (indices >= start) & (indices < start + len(task))
            parts.append(self._part(task, indices[inside], start))
            start += len(task)
        return torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts])

    def _part(self, task: TaskTensors, indices: Tensor, start: int) -> Batch:
        """The images at `indices` of a task whose first image has the index `start`."""
        images, labels = task.batch(indices - start)
        return (images if self.draws is None else augmented(images, task.augmentation, self.draws[indices])), labels

    def state_dict(self) -> dict[str, Any]:
        """How far the current pass has come."""
        return {"given": self.given}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass go on behind the batches that were given out."""
        self.given = state["given"] % len(self)


class TestBatches:
    """All images of one task in their order, in batches of `batch_size`."""

    __test__ = False  # not a test case, whatever pytest thinks of its name

    def __init__(self, task: TaskTensors, batch_size: int) -> None:
        self.task, self.slices = task, batch_slices(len(task), batch_size)

    def __len__(self) -> int:
        return len(self.slices)

    def __iter__(self) -> Iterator[Batch]:
        return (self.task.batch(part) for part in self.slices)
