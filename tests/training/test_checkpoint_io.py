"""Lightning saves to and resumes from checkpoint files that prove themselves whole."""

from pathlib import Path

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from metaplast.errors import UserError
from metaplast.training.checkpoint_file import fault, previous_generation
from metaplast.training.checkpoint_io import SafeCheckpointIO


class Line(LightningModule):
    """One weight, learned on four numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: Tensor) -> Tensor:
        return ((self.weight - batch) ** 2).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(epochs: int) -> Trainer:
    return Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        plugins=[SafeCheckpointIO()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def numbers() -> "DataLoader[Tensor]":
    return DataLoader(torch.arange(4.0))  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
def test_a_run_goes_on_from_the_generation_before_a_damaged_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    run = trainer(epochs=1)
    run.fit(Line(), numbers())
    run.save_checkpoint(path)
    run.save_checkpoint(path)
    assert fault(path) is None
    path.write_bytes(path.read_bytes()[:-1])
    resumed, line = trainer(epochs=2), Line()
    with pytest.warns(UserWarning, match=r"last\.previous\.ckpt"):
        resumed.fit(line, numbers(), ckpt_path=path)
    assert (resumed.current_epoch, resumed.global_step) == (2, 8)


def test_a_folder_that_cannot_be_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run = trainer(epochs=1)
    run.strategy.connect(Line())
    with pytest.raises(UserError, match="cannot be written"):
        run.save_checkpoint(tmp_path / "file" / "last.ckpt")


def test_removing_a_checkpoint_removes_both_generations(tmp_path: Path) -> None:
    io, path = SafeCheckpointIO(), tmp_path / "last.ckpt"
    io.save_checkpoint({"n": 1}, path)
    io.save_checkpoint({"n": 2}, path)
    assert previous_generation(path).exists()
    io.remove_checkpoint(path)
    io.remove_checkpoint(path)
    assert list(tmp_path.iterdir()) == []


def test_loading_code_from_a_checkpoint_is_refused(tmp_path: Path) -> None:
    io, path = SafeCheckpointIO(), tmp_path / "last.ckpt"
    io.save_checkpoint({"n": 1}, path)
    assert io.load_checkpoint(path, weights_only=True) == {"n": 1}
    with pytest.raises(ValueError, match="weights_only: expected True or None, got False"):
        io.load_checkpoint(path, weights_only=False)
