"""Checkpoints that are either whole or known to be damaged, and the previous generation of each.

`last.ckpt` is an ordinary `torch.save` archive whose zip comment holds `sha256:` and the digest of all bytes before it,
so plain torch can read it and one file carries its own checksum. (`torch.load` alone accepts flipped bits in a tensor.)
In order: the states of the random generators, which Lightning does not save; writing and reading; Lightning's plugin
that uses both; the callback that saves after every few epochs.
"""

import hashlib
import os
import pickle
import random
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import CheckpointIO

from metaplast.errors import UserError
from metaplast.io import (
    RefusedFileError,
    atomic_path,
    create_exclusively,
    leads_out,
    open_regular,
    remove_strays,
    temporary_path,
)
from metaplast.training.signals import defer_signals, exit_as_requested, stop_deferring, stop_requested


def random_state() -> dict[str, Any]:
    """States of Python's, NumPy's and torch's generators (every GPU's among them)."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Restore what :func:`random_state` returned; GPUs that this machine lacks are skipped."""
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    for device, cuda in zip(range(torch.cuda.device_count()), state["cuda"], strict=False):
        torch.cuda.set_rng_state(cuda.cpu(), device)


_PREFIX = b"sha256:"
_SEAL_LENGTH = len(_PREFIX) + 64
_CHUNK = 1 << 20
LARGEST = 8 << 30
"""Bytes of the largest checkpoint that is read."""
LARGEST_PICKLE = 3 << 20
"""Bytes of all in it but its tensors: 300,000 numbers; for the worst of this size the unpickler takes 4 s."""
LARGEST_DIRECTORY = 8 << 20
DEPTH = 64


def write_checkpoint(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Write `checkpoint` to `path`; what was there becomes `previous_generation(path)`.

    At every moment, whenever the process is killed or the disk is full, one of the two files is whole. A checkpoint at
    `path` that is damaged is replaced without becoming the previous generation.

    Args:
        checkpoint: tensors and plain Python values, as `torch.load(weights_only=True)` takes them.
        path: the file; its folder is made.

    Raises:
        WriteError: if it cannot be written; the files that were there are as they were.
        TypeError: if it holds something that could not be loaded back.
    """
    remove_strays(path.parent, f".{path.stem}")  # of a killed process, so that the disk does not fill up
    needed = sum(tensor.numel() * tensor.element_size() for _, tensor in tensors_in(checkpoint))
    with atomic_path(path, needed) as partial:  # its random name cannot be a link, laid there to be written through
        if leads_out(path.parent, path.parent.parent):
            raise RefusedFileError(f"{path.parent} is a symbolic link out of {path.parent.parent}")
        with create_exclusively(partial) as file:
            torch.save(checkpoint, file)
            _seal(file)
        _check_loadable(partial)
        if fault(path) is None:
            _keep_as_previous(path)


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """The checkpoint at `path` or, where that is not whole, the generation before it, with a warning that names both.

    Args:
        path: the file.
        map_location: as of `torch.load`.

    Raises:
        UserError: if neither is whole.
    """
    previous = previous_generation(path)
    path_fault = fault(path)
    if path_fault is None:
        return _load(path, map_location)
    previous_fault = fault(previous)
    if previous_fault is not None:
        raise UserError(f"checkpoint: nothing to resume from: {path} {path_fault}, and {previous} {previous_fault}")
    warnings.warn(f"CHECKPOINT {path} {path_fault}: resuming from the one before it, {previous}", stacklevel=2)
    return _load(previous, map_location)


def previous_generation(path: Path) -> Path:
    """Where the checkpoint before the one at `path` is kept.

    >>> previous_generation(Path("checkpoints/last.ckpt")).as_posix()
    'checkpoints/last.previous.ckpt'
    """
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def fault(path: Path) -> str | None:
    """What is wrong with the checkpoint file at `path`, as the end of a sentence; None if it is whole."""
    try:
        with open_regular(path, LARGEST, within=path.parent.parent) as file:
            length = os.fstat(file.fileno()).st_size - _SEAL_LENGTH
            digest = _sha256(file, max(0, length))
            seal = file.read()
    except FileNotFoundError:
        return "does not exist"
    except RefusedFileError as error:
        return str(error)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if length < 0 or not seal.startswith(_PREFIX):
        return "does not end in its SHA-256 (cut short, or not written by metaplast)"
    if seal != _PREFIX + digest.encode():
        return "is damaged (it does not match its SHA-256)"
    return None


def _seal(file: BinaryIO) -> None:
    """Append the digest as the comment of the zip archive in `file`, and flush it to the disk."""
    length = file.seek(-2, os.SEEK_END) + 2
    file.write(struct.pack("<H", _SEAL_LENGTH))  # an archive's last two bytes are the length of its comment, so far 0
    file.seek(0)
    digest = _sha256(file, length)
    file.seek(length)
    file.write(_PREFIX + digest.encode())
    file.flush()
    os.fsync(file.fileno())


def tensors_in(value: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor in nested dictionaries, lists and tuples, with its name.

    >>> [name for name, _ in tensors_in({"layer": {"weight": torch.ones(2)}, "steps": [torch.ones(1)]})]
    ['layer.weight', 'steps.0']
    """
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, Mapping | list | tuple):
        for key, part in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from tensors_in(part, f"{name}.{key}" if name else str(key))


def not_finite(value: Any) -> Iterator[str]:
    """The names of the tensors in `value` that hold NaN or an infinity.

    >>> list(not_finite({"a": torch.tensor([3e38, 3e38]), "b": [torch.tensor([1.0, float("nan")])]}))
    ['b.0']
    """
    for name, tensor in tensors_in(value):
        # The sum takes one pass and no memory; it is infinite for large numbers, too.
        if tensor.is_floating_point() and not tensor.sum().isfinite() and not tensor.isfinite().all():
            yield name


def _sha256(file: BinaryIO, length: int) -> str:
    """Digest of the next `length` bytes, in hexadecimal."""
    digest = hashlib.sha256()
    while length > 0 and (chunk := file.read(min(length, _CHUNK))):
        digest.update(chunk)
        length -= len(chunk)
    return digest.hexdigest()


def _check_loadable(path: Path) -> None:
    """Detect at the first save what would otherwise fail at the resume. Memory-mapped, so no tensor is read."""
    with zipfile.ZipFile(path) as archive:
        others = sum(member.file_size for member in archive.infolist() if "/data/" not in member.filename)
    if others > LARGEST_PICKLE:
        warnings.warn(
            f"CHECKPOINT {path.parent} cannot be resumed from: {others:,} bytes beside its tensors, more than the "
            f"{LARGEST_PICKLE:,} that are read; plugins should keep long lists as tensors",
            stacklevel=2,
        )
    try:
        torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        reason = str(error).partition("WeightsUnpickler error: ")[2].partition(" by default")[0]
        raise TypeError(
            f"checkpoint: expected tensors and plain Python values (no NumPy, Path or OmegaConf): {reason}"
        ) from error


def _keep_as_previous(path: Path) -> None:
    previous = previous_generation(path)
    link = temporary_path(previous)
    try:
        os.link(path, link)  # so that `path` is never absent
        link.replace(previous)
    except OSError:  # no hard links on this file system
        path.replace(previous)


def _load(path: Path, map_location: Any) -> dict[str, Any]:
    """Load a file whose seal is right, though anybody may have sealed it; UserError for whatever is wrong with it."""
    try:
        with open_regular(path, LARGEST, within=path.parent.parent) as file:
            _check_archive(file)
            file.seek(0)
            with warnings.catch_warnings(action="ignore"):
                checkpoint: dict[str, Any] = torch.load(file, map_location=map_location, weights_only=True)
        _check_values(checkpoint)
    except Exception as error:  # torch raises some twenty kinds over what it cannot read
        raise UserError(f"checkpoint: {path} cannot be used: {_reason(error)}") from error
    return checkpoint


def _reason(error: Exception) -> str:
    """What torch says of a file that it cannot read, without its advice to load it unsafely."""
    if isinstance(error, pickle.UnpicklingError):
        text = str(error).partition("WeightsUnpickler error: ")[2] or "names code that is never run, or is no pickle"
        text = text.partition(" by default")[0].partition(". ")[0]
    else:
        text = str(error)
    return " ".join(text.split())[:300] or type(error).__name__


def _check_archive(file: BinaryIO) -> None:
    """Raise ValueError where a zip archive is not as `torch.save` writes it, before anything is taken from it."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _SEAL_LENGTH - 22 - 20))
    locator, end = file.read(20), file.read(22)
    if not end.startswith(b"PK\5\6"):
        raise ValueError("expected a zip archive")
    directory = struct.unpack_from("<I", end, 12)[0]
    if locator.startswith(b"PK\6\7"):
        file.seek(struct.unpack_from("<Q", locator, 8)[0])
        directory = struct.unpack_from("<Q", file.read(56), 40)[0]
    if directory > LARGEST_DIRECTORY:
        raise ValueError(f"expected a list of contents of at most {LARGEST_DIRECTORY:,} bytes, got {directory:,}")
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
    names = {member.filename for member in members}
    tensors = [member for member in members if "/data/" in member.filename]
    others = sum(member.file_size for member in members) - sum(member.file_size for member in tensors)
    if len(names) < len(members) or any(name.endswith("constants.pkl") for name in names):
        raise ValueError("expected what torch.save writes")
    if any(
        member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size for member in members
    ):
        raise ValueError("expected nothing compressed")
    if others > LARGEST_PICKLE or sum(member.file_size for member in members) > size:
        raise ValueError(f"expected at most {LARGEST_PICKLE:,} bytes beside its tensors, got {others:,}")


def _check_values(checkpoint: Any) -> None:
    """Raise ValueError for what none of our checkpoints holds: other types, deep nesting, tensors without memory."""
    if not isinstance(checkpoint, dict):
        raise ValueError(f"expected a dictionary, got {type(checkpoint).__name__}")
    left: list[tuple[Any, int]] = [(checkpoint, 0)]
    while left:
        value, depth = left.pop()
        if depth > DEPTH:
            raise ValueError(f"expected at most {DEPTH} levels, got more")
        if isinstance(value, dict):
            left += [(part, depth + 1) for part in (*value.keys(), *value.values())]
        elif isinstance(value, list | tuple):
            left += [(part, depth + 1) for part in value]
        elif isinstance(value, torch.Tensor):
            if value.layout is not torch.strided or value.is_meta or value.is_quantized:
                raise ValueError("expected plain tensors, got one of another layout")
            if value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise ValueError(f"expected tensors with all their elements, got one of shape {tuple(value.shape)}")
        elif value is not None and not isinstance(value, str | int | float):
            raise ValueError(f"expected tensors and plain Python values, got {type(value).__name__}")


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


class LastCheckpoint(Checkpoint):
    """Save to `path` after every `every` epochs and after the last, and where a signal asks the run to stop.

    No checkpoint with a number that is not finite replaces one without. `about` says which run it is of, as the entry
    `run`.

    Lightning calls checkpoint callbacks after all others, so that the checkpoint has what those keep of the epoch.
    """

    takes_several_steps = True
    """A batch may hold those of several steps."""

    def __init__(self, path: Path, every: int = 1, about: Mapping[str, Any] | None = None) -> None:
        self.path, self.every, self.about = path, every, about
        self._not_finite: frozenset[str] = frozenset()
        """Tensors of the network that have such numbers from the start, as a mask of -inf may."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Answer signals at the end of a batch from now on; Lightning has installed handlers of its own before."""
        self._not_finite = frozenset(not_finite(pl_module.state_dict()))
        defer_signals()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what run it is of; refuse a state with a number that is not finite, in which no run can go on.

        Raises UserError with the tensor, the task, the epoch, the step and the checkpoint that is kept.
        """
        if self.about is not None:
            checkpoint["run"] = dict(self.about)
        plugins = [part["plugins"] for part in checkpoint["callbacks"].values() if "plugins" in part]
        parts = {"plugins": plugins, "optimizer": checkpoint["optimizer_states"], **checkpoint["state_dict"]}
        name = next((name for name in not_finite(parts) if name not in self._not_finite), None)
        if name is not None:
            task, kept = getattr(pl_module, "task", "unknown"), ""
            if self.path.exists():
                kept = f"; the checkpoint before is kept, {self.path}"
            raise UserError(
                f"training diverged: in epoch {trainer.current_epoch + 1} (task {task}), at step "
                f"{trainer.global_step}, {name} is not finite{kept}; a smaller strategy.optimizer.lr may help"
            )

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and stop, if a signal asks for it; behind the last batch of an epoch its tests come first."""
        if stop_requested() and not trainer.is_last_batch:
            trainer.save_checkpoint(self.path)
            exit_as_requested()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, if it is time or a signal asks for it; then stop, unless this was the last epoch."""
        done = trainer.current_epoch + 1
        if done % self.every == 0 or done == trainer.max_epochs or stop_requested():
            trainer.save_checkpoint(self.path)
        if stop_requested() and done != trainer.max_epochs:
            exit_as_requested()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let signals end the process at once again."""
        stop_deferring()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """The same."""
        stop_deferring()
