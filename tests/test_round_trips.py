"""What people copy, pickle or save with torch comes back as it was; layers and optimizers have tests of their own."""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from metaplast.data import TaskTensors
from metaplast.export.folding import fold
from metaplast.metrics import AccuracyMatrix, SignFlips, paired_difference
from metaplast.nn import TaskCrossEntropy, bcnn, bnn, mlp, vgg
from metaplast.training.datamodule import Schedule


def saved(value: Any) -> Any:
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def flips() -> tuple[SignFlips, Callable[[SignFlips], Any]]:
    weights = torch.ones(3)
    counted = SignFlips({"layer": weights})
    weights[0] = -1
    return counted, lambda of: of.update()


def matrix() -> tuple[AccuracyMatrix, Callable[[AccuracyMatrix], Any]]:
    counted = AccuracyMatrix(2)
    counted.count(correct=3, total=4, after_task=0, on_task=1)
    return counted, lambda of: of.compute().nan_to_num(-1)


IMAGES = torch.arange(2 * 8 * 8).reshape(2, 1, 8, 8) / 255
TASK = TaskTensors(IMAGES, torch.tensor([1, 0]), permutation=torch.randperm(64))
OBJECTS: dict[str, Callable[[], tuple[Any, Callable[[Any], Any]]]] = {
    "sign flips": flips,
    "accuracy matrix": matrix,
    "paired difference": lambda: (paired_difference({0: 1.0, 1: 2.5}, 1.0), lambda of: of.interval()),
    "schedule": lambda: (Schedule(3, 2), lambda of: [of.task(epoch) for epoch in range(6)]),
    "tensors of a task": lambda: (TASK, lambda of: of.batch(slice(None))),
    "loss": lambda: (TaskCrossEntropy(3, [[0, 1], [2]]), lambda of: of(torch.eye(3), torch.tensor([0, 1, 2]))),
    "bnn": lambda: (bnn((1, 8, 8), 3, hidden=[4], norm="layer"), lambda of: of(IMAGES)),
    "bcnn": lambda: (bcnn((1, 8, 8), 3, channels=[2], norm="layer"), lambda of: of(IMAGES)),
    "mlp": lambda: (mlp((1, 8, 8), 3, hidden=[4], norm="none"), lambda of: of(IMAGES)),
    "vgg": lambda: (vgg((1, 8, 8), 3, channels=[2], hidden=[4], norm="layer", dropout=0.0), lambda of: of(IMAGES)),
    "network in integers": lambda: (fold(bnn((1, 8, 8), 3, hidden=[4], norm="none").eval()), lambda of: of(IMAGES)),
}
"""By name: an object, and what is asked of it before and after."""


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    return all(map(same, a, b)) if isinstance(a, tuple) else bool(a == b)


@pytest.mark.parametrize("trip", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value)), saved])
@pytest.mark.parametrize("name", OBJECTS)
def test_a_copy_answers_as_the_original(name: str, trip: Callable[[Any], Any]) -> None:
    original, ask = OBJECTS[name]()
    copied = trip(original)
    assert same(ask(copied), ask(original))
