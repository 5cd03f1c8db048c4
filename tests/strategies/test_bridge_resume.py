"""A run with plugins goes on from a checkpoint as if it had never stopped."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from avalanche.training.plugins import EWCPlugin
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor, nn

from metaplast.errors import UserError
from metaplast.nn import bnn
from metaplast.scenarios import Scenario
from metaplast.strategies.plugins.mas import MAS
from metaplast.strategies.plugins.rwalk import RWalk
from metaplast.testing import avalanche_parity
from metaplast.testing.avalanche_parity import Plugins, difference, small_digits
from metaplast.testing.plugin_docs import OURS
from metaplast.training.checkpoint import SafeCheckpointIO

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*"),  # Lightning's, about torch
    pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint.*"),  # the one that stops is gone
]

STOPS = {
    "within the first task": (0, 3),
    "at the end of a task": (1, 5),
    "within an epoch": (4, 2),
    "between epochs": (4, 5),
}
"""Epoch, counted from 0, and batch of it, counted from 1, behind which a checkpoint is taken; an epoch has five."""


class Saver(Checkpoint):
    """Saves at all stops."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx + 1 < 5:
            self.save(trainer, batch_idx + 1)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.save(trainer, 5)

    def save(self, trainer: pl.Trainer, batch: int) -> None:
        for name, stop in STOPS.items():
            if stop == (trainer.current_epoch, batch):
                trainer.save_checkpoint(self.folder / name)


def trained(
    make_plugins: Plugins, scenario: Scenario, callbacks: list[Any], checkpoint: Path | None = None
) -> tuple[dict[str, Tensor], Tensor]:
    """State of the network and accuracy matrix at the end of a run of its own."""
    avalanche_parity.seed()
    network: nn.Module = bnn((1, 8, 8), 10, n_tasks=3, hidden=[16])
    optimizer = torch.optim.SGD(network.parameters(), lr=avalanche_parity.LR, momentum=0.5)
    learner, data = avalanche_parity.lightning(network, optimizer, make_plugins(network, optimizer), scenario)
    settings = {"enable_checkpointing": True, "callbacks": callbacks, "plugins": [SafeCheckpointIO()]}
    if checkpoint is not None:
        settings["num_sanity_val_steps"] = 0
    trainer = avalanche_parity.trainer(learner.schedule, **settings)
    trainer.fit(learner, datamodule=data, ckpt_path=checkpoint)
    return dict(network.state_dict()), learner.matrix.compute()


AS_USED: dict[str, Plugins] = {"MAS": lambda *_: [MAS()], "RWalk": lambda *_: [RWalk(1.0)]}
"""Those that the table tries with γ and β, which this network keeps for each task."""


@pytest.mark.parametrize("name", OURS)
def test_a_resumed_run_ends_with_the_same_bits(name: str, tmp_path: Path) -> None:
    scenario, make = small_digits(), AS_USED.get(name, OURS[name].make)
    whole, whole_R = trained(make, scenario, [Saver(tmp_path)])
    for stop in STOPS:
        torch.manual_seed(99)
        resumed, R = trained(make, scenario, [Saver(tmp_path / "again")], tmp_path / stop)
        assert difference(resumed, whole) == 0, stop
        assert torch.equal(R, whole_R), stop


def test_a_run_with_a_plugin_without_a_state_cannot_be_resumed(tmp_path: Path) -> None:
    scenario = small_digits()
    make: Plugins = lambda *_: [EWCPlugin(0.5)]  # noqa: E731
    trained(make, scenario, [Saver(tmp_path)])
    sentence = "this run cannot be resumed: EWCPlugin of strategy.plugins has no load_state_dict"
    with pytest.raises(UserError, match=sentence):
        trained(make, scenario, [], tmp_path / "at the end of a task")
