"""diagnostics.csv, one row per epoch of what happens inside the network; enabled by `diagnostics=true`.

The normalization study explains its table by these numbers: whether gradients pass the sign, how large hidden weights
and logits become, how large the first steps of a task are, and how much metaplasticity lets through.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from metaplast.loggers.csv import MetricsFile
from metaplast.metrics import positive_signs
from metaplast.nn import hidden_weights
from metaplast.nn.activations import BinaryActivation
from metaplast.optim._base import effective_m
from metaplast.optim.functional import CONSOLIDATIONS
from metaplast.runs.names import DIAGNOSTICS
from metaplast.training.learner import Learner

FIRST_STEPS = 10
"""Steps of a task that count as its first."""
LAST_STEPS = 100
"""Steps of a task's last epoch that count as its last."""


class _Mean:
    """The mean of tensors of one element, kept as a sum, so that no step waits for a device."""

    def __init__(self) -> None:
        self._sum: Tensor | float = 0.0
        self._n = 0

    def add(self, value: Tensor) -> None:
        self._sum = self._sum + value
        self._n += 1

    def take(self) -> float:
        """Return the mean of what was added since the last call; NaN of nothing."""
        mean = float(self._sum) / self._n if self._n else float("nan")
        self._sum, self._n = 0.0, 0
        return mean


class Diagnostics(pl.Callback):
    """After every epoch, append a row to `folder`/diagnostics.csv. Training is not changed by it.

    Columns: `epoch`, `task` and `epoch_in_task` as in metrics.csv, and, for a binary activation ACT and a binary layer
    LAYER:

    - `ste_pass_fraction/ACT`: fraction of activations through which the straight-through estimator passes a gradient;
      mean over the steps of the epoch.
    - `active_fraction/ACT`: fraction of its outputs that are not 0, likewise. A weight behind an output of 0 has no
      gradient.
    - `logits_std`: standard deviation of a batch's logits over samples and classes; mean over the steps of the epoch.
    - `hidden_mean/LAYER`, `hidden_max/LAYER`: of |W^h| at the end of the epoch.
    - `f_meta_mean/LAYER`: mean of f_meta(m, W^h), or of the consolidation function that the optimizer uses instead, at
      the end of the epoch: the fraction of a shrinking step that is kept.
    - `first_steps/LAYER`: mean |ΔW^h| over the first 10 steps of the task; NaN after its first epoch.
    - `last_steps/LAYER`: the same over the last 100 steps of the task, or its last epoch; NaN before its last epoch.
    - `flipped_low_grad/LAYER`, `flipped_high_grad/LAYER`: fraction of binary weights whose sign differs from that at
      the end of the previous task: in the half that had the smaller gradients then, by Adam's second moment, and in
      the other half. NaN in the first task and for optimizers without a second moment.

    Older files have these columns under other names (`metaplast.runs.tables.FORMER_COLUMNS`).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: MetricsFile | None = None
        self._resumed: MetricsFile | None = None
        """The file of a run that is resumed."""
        self._hooks: list[Any] = []
        self._hidden: dict[str, nn.Parameter] = {}
        self._before: dict[str, Tensor] = {}
        """Hidden weights before the current step, if its size is measured."""
        self._means: dict[str, _Mean] = {}
        self._remembered: dict[str, tuple[Tensor, Tensor]] = {}
        """By layer, which weights had the smaller gradients when the task before ended, and which were +1 then."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the file, that of a resumed run too, and register hooks in the network."""
        learner = cast(Learner, pl_module)
        network = learner.network
        self._file = self._resumed or MetricsFile(self.folder / DIAGNOSTICS, trainer.current_epoch)
        self._resumed = None
        self._hidden = hidden_weights(network)
        activations = [name for name, module in network.named_modules() if isinstance(module, BinaryActivation)]
        shares = {"ste_pass_fraction": _pass_fraction, "active_fraction": _active_fraction}
        columns = [f"{share}/{name}" for share in shares for name in activations] + ["logits_std"]
        columns += [f"{steps}/{name}" for steps in ("first_steps", "last_steps") for name in self._hidden]
        self._means = {column: _Mean() for column in columns}
        self._hooks = [_measure(network, learner, _sd_of_logits, self._means["logits_std"])]
        for name in activations:
            module = cast(BinaryActivation, network.get_submodule(name))
            for share, quantity in shares.items():
                self._hooks.append(_measure(module, learner, partial(quantity, module), self._means[f"{share}/{name}"]))

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the hidden weights before a step whose size is measured."""
        if self._measured_means(trainer, cast(Learner, pl_module), batch_idx):
            self._before = {name: hidden.detach().clone() for name, hidden in self._hidden.items()}

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure that step."""
        for steps in self._measured_means(trainer, cast(Learner, pl_module), batch_idx):
            for name, before in self._before.items():
                self._means[f"{steps}/{name}"].add((self._hidden[name].detach() - before).abs().mean())

    def _measured_means(self, trainer: pl.Trainer, learner: Learner, step: int) -> list[str]:
        """Which of the two means a step of the current epoch belongs to; in a short task it may be both."""
        schedule, epoch, n_steps = learner.schedule, trainer.current_epoch, int(trainer.num_training_batches)
        first = schedule.starts_task(epoch) and step < FIRST_STEPS
        last = schedule.ends_task(epoch) and step >= n_steps - LAST_STEPS
        return ["first_steps"] * first + ["last_steps"] * last

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the row."""
        assert self._file is not None, "a row is made while training"
        learner, epoch = cast(Learner, pl_module), trainer.current_epoch
        row: dict[str, float | int] = {
            "epoch": epoch + 1,
            "task": learner.task,
            "epoch_in_task": learner.schedule.epoch_in_task(epoch) + 1,
        }
        row |= {column: mean.take() for column, mean in self._means.items()}
        share = CONSOLIDATIONS[getattr(trainer.optimizers[0], "consolidation", "tanh")]
        groups = {parameter: group for group in trainer.optimizers[0].param_groups for parameter in group["params"]}
        with torch.no_grad():
            for name, hidden in self._hidden.items():
                size, m = hidden.abs(), effective_m(hidden, {"relative_m": 0.0, **groups[hidden]})
                row[f"hidden_mean/{name}"], row[f"hidden_max/{name}"] = float(size.mean()), float(size.max())
                row[f"f_meta_mean/{name}"] = float(share(m, size).mean())
                row[f"flipped_low_grad/{name}"], row[f"flipped_high_grad/{name}"] = self._flipped(name)
        self._file.write(row)
        if learner.schedule.ends_task(epoch):
            self._remember(trainer.optimizers[0])

    def _flipped(self, name: str) -> tuple[float, float]:
        """Fractions of flipped signs in the halves of a layer with small and with large gradients."""
        if name not in self._remembered:
            return float("nan"), float("nan")
        now = positive_signs(self._hidden[name])
        low, before = (then.to(now.device) for then in self._remembered[name])  # a checkpoint is read to the CPU
        flipped = now != before
        return float(flipped[low].float().mean()), float(flipped[~low].float().mean())

    def _remember(self, optimizer: torch.optim.Optimizer) -> None:
        """Keep which weights have small gradients, and the signs of the binary ones."""
        self._remembered = {}
        for name, hidden in self._hidden.items():
            square = optimizer.state.get(hidden, {}).get("exp_avg_sq")
            if square is not None:
                self._remembered[name] = square <= square.median(), positive_signs(hidden)

    def state_dict(self) -> dict[str, Any]:
        """The state that a resumed run continues from."""
        return {"remembered": self._remembered, "file": None if self._file is None else self._file.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self._remembered = state_dict["remembered"]
        if state_dict.get("file") is not None:  # of an older version it is not saved
            self._file = self._resumed = MetricsFile(self.folder / DIAGNOSTICS, saved=state_dict["file"])

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave the network as it was."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []


def _measure(
    module: nn.Module, learner: Learner, quantity: Callable[[Tensor, Tensor], Tensor], mean: _Mean
) -> RemovableHandle:
    """Take the mean of a quantity of the input and output of `module` over training steps.

    Forward passes of plugins do not count: those outside of steps, and those within a step through a copy of the
    network, which has the hooks too.
    """

    def hook(called: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if called is module and learner.in_training_step:
            mean.add(quantity(inputs[0].detach(), output.detach()))

    return module.register_forward_hook(hook)


def _sd_of_logits(images: Tensor, logits: Tensor) -> Tensor:
    return logits.float().std()


def _pass_fraction(activation: BinaryActivation, a: Tensor, outputs: Tensor) -> Tensor:
    """Fraction of activations that pass a gradient."""
    return activation.passes(a).float().mean()


def _active_fraction(activation: BinaryActivation, a: Tensor, outputs: Tensor) -> Tensor:
    """Fraction of outputs that are not 0."""
    return (outputs != 0).float().mean()
