"""The state of a run is saved at the end of epochs, under one name: what a resume goes on from."""

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint


class LastCheckpoint(Checkpoint):
    """Save to `path` after every `every` epochs and after the last.

    Lightning calls checkpoint callbacks behind all others, so that what those keep of the epoch is saved with it.
    """

    def __init__(self, path: Path, every: int = 1) -> None:
        self.path, self.every = path, every

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, if it is time."""
        done = trainer.current_epoch + 1
        if done % self.every == 0 or done == trainer.max_epochs:
            trainer.save_checkpoint(self.path)
