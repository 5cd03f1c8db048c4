"""How Lightning saves and loads: through checkpoint files that prove themselves whole, and the generation before."""

from pathlib import Path
from typing import Any

from pytorch_lightning.plugins.io import CheckpointIO

from metaplast.training.checkpoint_file import previous_generation, read_checkpoint, write_checkpoint


class SafeCheckpointIO(CheckpointIO):
    """`write_checkpoint` and `read_checkpoint` as a plugin: `Trainer(plugins=[SafeCheckpointIO()])`.

    Lightning's own writes to the system's temporary folder and moves the file, which across file systems is a copy that
    a kill or a full disk cuts short, and says nothing when a folder cannot be written. Local files only.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write `checkpoint` to `path`, keeping the one that was there as the previous generation.

        Raises:
            UserError: if it cannot be written; the files that were there are as they were.
            TypeError: if it holds more than tensors and plain values, or storage options are given.
        """
        if storage_options is not None:
            raise TypeError(f"storage_options: expected None, got {storage_options!r}")
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Load the checkpoint at `path` or, with a warning, the generation before it.

        Raises:
            UserError: if neither is whole.
            ValueError: if `weights_only` is False: no checkpoint of ours needs it, and it would run code from the file.
        """
        if weights_only is False:
            raise ValueError("weights_only: expected True or None, got False")
        return read_checkpoint(Path(path), map_location)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove the checkpoint at `path` and the generation before it, as far as they exist."""
        for file in (Path(path), previous_generation(Path(path))):
            file.unlink(missing_ok=True)
