"""Validation data: a part of each task's training data that is tested on in place of the test data.

Whatever chooses by a score (a search, early pruning) looks at this one, so that the test data stay unseen.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from metaplast.data import TaskTensors, random_permutation
from metaplast.errors import UserError
from metaplast.scenarios.scenario import Scenario, task_tensors

_DRAW = 2**32 - 1
"""Tells this draw from the others that follow from a seed: there is no such task."""


def hold_out(scenario: Scenario, share: float, seed: int) -> Scenario:
    """The same tasks, tested on a part of their training data and trained on the rest; no test data are in it.

    Of each class of a task `share` of its images, in (0, 1), is held out, to the nearest number, but never none and
    never all of them (of a single image: none). Which ones is a pure function of `seed` ≥ 0 and the task's labels:
    tasks that show the same images in another order hold out the same ones, so that these are never trained on.
    Where one test stands for all tasks, so does one of all parts. Raises UserError where a task would have no image
    left to train on or to test on.
    """
    masks: dict[int, Tensor] = {}
    parts: dict[tuple[int, int, bool], Tensor] = {}

    def part(tensors: TaskTensors, held: bool) -> TaskTensors:
        """One of both parts; tensors that tasks share are cut once, and stay shared."""
        mask = masks[id(tensors.labels)]
        for tensor in (tensors.images, tensors.labels):
            key = (id(tensor), id(tensors.labels), held)
            if key not in parts:
                parts[key] = tensor[mask if held else ~mask]
        images, labels = (parts[id(t), id(tensors.labels), held] for t in (tensors.images, tensors.labels))
        return replace(tensors, images=images, labels=labels)

    tasks = [task_tensors(experience) for experience in scenario.benchmark.train_stream]
    for task, tensors in enumerate(tasks):
        if id(tensors.labels) not in masks:
            masks[id(tensors.labels)] = held_out(tensors.labels, share, seed)
        mask = masks[id(tensors.labels)]
        if not mask.any() or mask.all():
            raise UserError(f"validation_share={share}: task {task}, of {len(mask)} images, cannot be split by it")
    train, held = ([part(tensors, held) for tensors in tasks] for held in (False, True))
    if len(scenario.benchmark.test_stream) < len(tasks):
        held = [_together(held)]
    return Scenario.from_tensors(train, held, scenario.n_classes, scenario.classes_of_task)


def held_out(labels: Tensor, share: float, seed: int) -> Tensor:
    """Which of the images with `labels`, int64 (N,), are held out, as booleans (N,).

    >>> held_out(torch.tensor([0, 0, 0, 0, 1, 1]), share=0.25, seed=0).tolist()
    [False, True, False, False, False, True]
    """
    order = random_permutation(len(labels), seed, _DRAW)
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in set(labels.tolist()):
        members = order[labels[order] == label]
        held[members[: _size(len(members), share)]] = True
    return held


def _size(n: int, share: float) -> int:
    """How many of `n` images of a class are held out."""
    return min(max(math.floor(share * n + 0.5), 1), n - 1)


def _together(parts: Sequence[TaskTensors]) -> TaskTensors:
    """All parts as one; parts of one data set see its pixels alike."""
    return replace(parts[0], images=torch.cat([p.images for p in parts]), labels=torch.cat([p.labels for p in parts]))
