"""Replay puts samples of earlier tasks beside every batch, as many of each task."""

from typing import Any

import torch

from metaplast.strategies.plugins.replay import Replay
from metaplast.testing.avalanche_parity import BATCH_SIZE, small_digits, through_avalanche
from metaplast.testing.plugin_docs import plain


class Watching(Replay):
    """Keeps the labels that were trained on, by experience; those of the tasks are 0 to 2, 3 to 5 and 6 to 9."""

    def __init__(self, batch_size_mem: int | None) -> None:
        super().__init__(60, batch_size_mem)
        self.labels: list[list[torch.Tensor]] = [[], [], []]

    def before_forward(self, strategy: Any, **kwargs: Any) -> None:
        assert len(strategy.mb_x) == len(strategy.mb_y) == len(strategy.mb_task_id)
        self.labels[strategy.experience.current_experience].append(strategy.mb_y)


def test_every_batch_is_extended_by_samples_of_earlier_tasks() -> None:
    plugin = Watching(batch_size_mem=25)
    through_avalanche(plain, lambda *_: [plugin], small_digits())
    first, second, third = plugin.labels
    assert [len(labels) for labels in first] == [40, 40, 40, 40, 30] * 2
    assert [len(labels) for labels in second] == [65, 65, 65, 65, 55] * 2
    assert all((labels[:-25] // 3 == 1).all() and (labels[-25:] // 3 == 0).all() for labels in second)
    rehearsed = torch.cat([labels[-25:] for labels in third])
    assert set((rehearsed // 3).tolist()) == {0, 1}
    sizes = [len(group.buffer) for group in plugin.storage_policy.buffer_groups.values()]
    assert sizes == [20, 20, 20]


def test_as_many_samples_come_from_memory_as_from_the_task_unless_said_otherwise() -> None:
    plugin = Watching(batch_size_mem=None)
    through_avalanche(plain, lambda *_: [plugin], small_digits())
    assert len(plugin.labels[1][0]) == 2 * BATCH_SIZE
