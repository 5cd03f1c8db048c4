"""Whether a whole checkpoint is one of this run: the parts of its state, and the network and the optimizer it is of.

What only fails while Lightning restores it becomes an error that names the file, too.
"""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from metaplast.errors import UserError
from metaplast.runs.names import CONFIG, SUMMARY
from metaplast.runs.summary import file_digest

log = logging.getLogger(__name__)


def check_form(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Raise UserError where a checkpoint lacks a part of a run's state, which would silently start from nothing."""
    for key, kind in _PARTS.items():
        if not isinstance(checkpoint.get(key), kind):
            found = type(checkpoint[key]).__name__ if key in checkpoint else "nothing"
            raise UserError(f"checkpoint: {path}: {key}: expected {_name_of(kind)}, got {found}")
    if not isinstance(checkpoint["loops"].get("fit_loop"), dict):
        raise UserError(f"checkpoint: {path}: loops.fit_loop: expected a dict")
    optimizers = checkpoint["optimizer_states"]
    if len(optimizers) != 1 or not isinstance(optimizers[0], dict) or optimizers[0].keys() != {"state", "param_groups"}:
        raise UserError(f"checkpoint: {path}: optimizer_states: expected the state of one optimizer")


_PARTS: Mapping[str, Any] = {
    "epoch": int,
    "global_step": int,
    "state_dict": dict,
    "optimizer_states": list,
    "loops": dict,
    "callbacks": dict,
    "random_state": dict,
    "losses": (tuple, list),
}
"""What the checkpoint of a run holds at least."""


def check_run(checkpoint: Mapping[str, Any], run_dir: Path, summary: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of its run: `id`, `config`, `conditions` and `changes`; nothing, of an older version.

    Raises UserError where config.yaml or summary.json is of another run, or config.yaml is not what it was.
    """
    about = checkpoint.get("run")
    if about is None:
        log.warning("%s: its checkpoint is of an older version and does not say which run it is of", run_dir)
        return {}
    kinds = {"id": str, "config": str, "conditions": dict, "changes": list}
    if not isinstance(about, dict) or any(not isinstance(about.get(key), kind) for key, kind in kinds.items()):
        raise UserError(f"checkpoint: {run_dir}: run: expected the entries {', '.join(kinds)}")
    if about["config"] != file_digest(run_dir / CONFIG):
        raise UserError(
            f"{run_dir}: its {CONFIG} is not the one that its checkpoint was saved with: it is damaged or edited, or "
            "one of the two is of another run"
        )
    if summary.get("run_id", about["id"]) != about["id"]:
        raise UserError(f"{run_dir}: its checkpoint and its {SUMMARY} are of different runs")
    return about


def what_changed(before: Mapping[str, Any], now: Mapping[str, Any], where: str) -> list[str]:
    """The conditions of a run that are others from the point `where` on, a line each.

    >>> what_changed({"threads": 2, "torch": "2.1"}, {"threads": 1, "torch": "2.1"}, "after step 3")
    ['after step 3: threads=1, before 2']
    """
    return [
        f"{where}: {key}={now.get(key)}, before {before.get(key)}"
        for key in {**before, **now}
        if before.get(key) != now.get(key)
    ]


def _name_of(kind: Any) -> str:
    return " or ".join(part.__name__ for part in (kind if isinstance(kind, tuple) else (kind,)))


def check_fits(checkpoint: Mapping[str, Any], state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """Raise UserError where a checkpoint is of another network or optimizer than a run that is resumed has.

    Args:
        checkpoint: of the form that :func:`check_form` asks for.
        state: the tensors of the learner as it starts.
        optimizer: a new one, of the same parameters and settings.
    """
    saved = checkpoint["state_dict"]
    if saved.keys() != state.keys():
        odd = sorted(map(str, saved.keys() ^ state.keys()))
        raise UserError(f"checkpoint: state_dict: expected the tensors of this network, got or lacks {odd[0]}")
    for name, tensor in state.items():
        if isinstance(tensor, torch.Tensor) and _shape(saved[name]) != tensor.shape:
            raise UserError(f"checkpoint: {name}: expected shape {tuple(tensor.shape)}, got {_shape(saved[name])}")
    of_saved = checkpoint["optimizer_states"][0]
    new = optimizer.state_dict()
    ours = type(optimizer).__module__.startswith("metaplast.")  # others may keep numbers of their own in a group
    groups = of_saved["param_groups"]
    if not isinstance(groups, list) or len(groups) != len(new["param_groups"]):
        raise UserError(f"checkpoint: optimizer: expected {len(new['param_groups'])} groups of parameters")
    for i, (group, expected) in enumerate(zip(groups, new["param_groups"], strict=True)):
        if not isinstance(group, dict) or group.keys() != expected.keys() or group["params"] != expected["params"]:
            raise UserError(f"checkpoint: optimizer: group {i} is not one of {type(optimizer).__name__}")
        for key, value in expected.items():
            if ours and group[key] != value:
                raise UserError(
                    f"checkpoint: optimizer: {key}: expected {value}, as configured, got {group[key]!r:.80}"
                )
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if not isinstance(of_saved["state"], dict):
        raise UserError("checkpoint: optimizer: expected a state for each parameter")
    for index, kept in of_saved["state"].items():
        if type(index) is not int or not 0 <= index < len(parameters) or not isinstance(kept, dict):
            raise UserError("checkpoint: optimizer: has a state of no parameter")
        for key, value in kept.items():
            fits = not isinstance(value, torch.Tensor) or value.dim() == 0 or value.shape == parameters[index].shape
            if ours and not fits:
                raise UserError(f"checkpoint: optimizer: {key} of parameter {index} is of another shape")


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else ()


@contextlib.contextmanager
def resuming(trainer: pl.Trainer, checkpoint: Path | None) -> Iterator[None]:
    """Turn what a checkpoint makes fail, before `trainer` trains again, into a UserError that names the file."""
    started = _Started()
    trainer.callbacks.append(started)  # type: ignore[attr-defined]
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        if checkpoint is None or started.training:
            raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
        raise UserError(f"checkpoint: {checkpoint} does not fit the run: {reason}") from error


class _Started(pl.Callback):
    """Knows whether training has begun, and with it the end of all loading."""

    training = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.training = True
