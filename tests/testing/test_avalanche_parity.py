"""Both loops start from the same state, and a difference between them shows."""

import math

import pytest
import torch
from torch import nn

from metaplast.scenarios import task_tensors
from metaplast.strategies.plugins.replay import Replay
from metaplast.testing.avalanche_parity import (
    N_TASKS,
    difference,
    small_digits,
    through_avalanche,
    through_bridge,
)
from metaplast.testing.plugin_docs import plain


def test_the_tasks_have_different_classes_and_a_smaller_last_batch() -> None:
    scenario = small_digits(n_train=50, n_test=20)
    classes = []
    for stream, n in ((scenario.benchmark.train_stream, 50), (scenario.benchmark.test_stream, 20)):
        tasks = [task_tensors(experience) for experience in stream]
        assert [len(task) for task in tasks] == [n] * N_TASKS
        classes.append([sorted(set(task.labels.tolist())) for task in tasks])
    assert classes == [[[0, 1, 2], [3, 4, 5], [6, 7, 8, 9]]] * 2


@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*")
def test_both_loops_train_alike_and_a_plugin_makes_a_difference() -> None:
    scenario = small_digits()
    lightning = through_bridge(plain, lambda *_: [], scenario)
    assert difference(lightning, through_avalanche(plain, lambda *_: [], scenario)) <= 1e-6
    assert difference(lightning, through_avalanche(plain, lambda *_: [Replay(60)], scenario)) > 1e-3


def test_the_difference_is_the_largest_one_and_infinite_where_a_state_is_not_finite() -> None:
    one = {"a": torch.tensor([1.0, 2.0]), "count": torch.tensor([], dtype=torch.int64)}
    assert difference(one, {**one, "a": torch.tensor([1.5, 1.0])}) == 1.0
    assert difference(one, {**one, "a": torch.tensor([1.0, math.nan])}) == math.inf
    assert difference(nn.Linear(2, 2).state_dict(), nn.Linear(2, 2).state_dict()) > 0
