"""AGEM keeps samples of every task and removes from the gradient what would undo them."""

from typing import Any

import torch

from metaplast.strategies.plugins.gem import AGEM
from metaplast.testing.avalanche_parity import small_digits, through_avalanche
from metaplast.testing.plugin_docs import plain


class Watching(AGEM):
    """Checks every projection, and keeps the labels that the reference gradients were taken on."""

    def __init__(self) -> None:
        super().__init__(patterns_per_experience=50, sample_size=31)
        self.projected = 0
        self.drawn: list[torch.Tensor] = []

    def sample_from_memory(self) -> list[torch.Tensor]:
        samples = super().sample_from_memory()
        self.drawn.append(samples[1])
        return samples

    def after_backward(self, strategy: Any, **kwargs: Any) -> None:
        def gradient() -> torch.Tensor:
            return torch.cat([parameter.grad.flatten() for parameter in strategy.model.parameters()])

        before = gradient()
        super().after_backward(strategy, **kwargs)
        if self.buffers:
            r, after = self.reference_gradients, gradient()
            opposed = bool(before @ r < 0)
            self.projected += opposed
            expected = before - (before @ r) / (r @ r) * r if opposed else before
            torch.testing.assert_close(after, expected)


def test_a_gradient_against_that_of_the_memory_loses_its_part_along_it() -> None:
    plugin = Watching()
    through_avalanche(plain, lambda *_: [plugin], small_digits())
    assert plugin.projected > 0


def test_the_memory_holds_and_gives_as_many_samples_of_each_task() -> None:
    plugin = Watching()
    through_avalanche(plain, lambda *_: [plugin], small_digits())
    assert [len(memory.columns[0]) for memory in plugin.buffers] == [50, 50, 50]
    labels = plugin.drawn[-1]
    assert [int((labels // 3 == task).sum()) for task in (0, 1)] == [15, 15]
