"""DER as a plugin is Avalanche's strategy of that name."""

from types import SimpleNamespace

import pytest
import torch
from avalanche.training import supervised
from torch import nn
from torch.nn import functional as F

from metaplast.nn import TaskCrossEntropy
from metaplast.strategies.plugins.der import DER
from metaplast.testing import avalanche_parity
from metaplast.testing.avalanche_parity import LR, SIZES, OurBatches, difference, small_digits, through_avalanche
from metaplast.testing.plugin_docs import plain


class TheirDER(OurBatches, supervised.DER):  # type: ignore[misc]
    """Avalanche's strategy on our batches."""


@pytest.mark.parametrize("settings", [(60, 20, 0.3, 0.7), (60, None, 0.1, 0.0), (30, 45, 1.0, 1.0)])
def test_it_has_the_trajectory_of_avalanches_strategy(settings: tuple[int, int | None, float, float]) -> None:
    scenario = small_digits()
    avalanche_parity.seed()
    network = plain()
    strategy = TheirDER(
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=LR),
        criterion=nn.CrossEntropyLoss(),
        **dict(zip(("mem_size", "batch_size_mem", "alpha", "beta"), settings, strict=True)),
        **SIZES,
    )
    avalanche_parity.seed()
    avalanche_parity.run(strategy, scenario)
    ours = through_avalanche(plain, lambda *_: [DER(*settings)], scenario)
    assert difference(ours, dict(network.state_dict())) == 0
    rehearses = settings[1] != 45  # more than the memory holds
    assert (difference(ours, through_avalanche(plain, lambda *_: [], scenario)) > 1e-3) is rehearses


def test_in_task_incremental_learning_each_sample_is_masked_by_its_own_task() -> None:
    z, labels = torch.randn(4, 4), torch.tensor([0, 1, 3, 2])
    strategy = SimpleNamespace(mb_output=z, mb_y=labels, _criterion=TaskCrossEntropy(4, [[0, 1], [2, 3]]), loss=None)
    plugin = DER(alpha=0.5, beta=2.0)
    plugin._logits = torch.zeros(2, 4)  # the first two are from memory
    plugin.before_backward(strategy)
    old, new = F.cross_entropy(z[:2, :2], labels[:2]), F.cross_entropy(z[2:, 2:], labels[2:] - 2)
    torch.testing.assert_close(strategy.loss, new + 0.5 * z[:2].square().mean() + 2.0 * old)
