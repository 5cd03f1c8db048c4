"""diagnostics.csv: what happens inside the network while it learns, a row an epoch; asked for by `diagnostics=true`.

From these numbers the study of normalization explains its table: whether gradients get through, how far hidden weights
have grown, how large the answers are, how hard a new task pulls at first, and what metaplasticity lets through.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from metaplast.loggers.csv import MetricsFile
from metaplast.metrics import positive_signs
from metaplast.nn import SignActivation, hidden_weights
from metaplast.optim.consolidation import CONSOLIDATIONS
from metaplast.runs.paths import DIAGNOSTICS
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
    """After every epoch, append a row to `folder`/diagnostics.csv. It changes nothing in the training.

    Columns, `epoch`, `task` and `epoch_in_task` as in metrics.csv, ACT a sign activation, LAYER a binary layer:

    - `window/ACT`: share of the activations with |a| ≤ 1, which let a gradient through; mean over the epoch's steps.
    - `logits_std`: standard deviation of a batch's logits over samples and classes; mean over the epoch's steps.
    - `hidden_mean/LAYER`, `hidden_max/LAYER`: |W^h| at the end of the epoch.
    - `kept/LAYER`: mean of f_meta(m, W^h), or what the optimizer has in its place, at the end of the epoch: the
      share of a shrinking step that is kept.
    - `first_steps/LAYER`: mean |ΔW^h| of a step over the first 10 of the task; in its first epoch, else NaN.
    - `last_steps/LAYER`: the same over the last 100 of the task, or its last epoch; in its last epoch, else NaN.
    - `turned_quiet/LAYER`, `turned_loud/LAYER`: share of the binary weights whose sign, at the end of the epoch, is not
      that with which the task before ended: of the half whose gradients were the smaller ones then, by Adam's second
      moment, and of the other half. NaN in the first task and where the optimizer has no such moment.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: MetricsFile | None = None
        self._hooks: list[Any] = []
        self._hidden: dict[str, nn.Parameter] = {}
        self._before: dict[str, Tensor] = {}
        """Hidden weights before the step that is being taken, if its size is asked for."""
        self._means: dict[str, _Mean] = {}
        self._remembered: dict[str, tuple[Tensor, Tensor]] = {}
        """By layer, which weights had the smaller gradients when the task before ended, and which were +1 then."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on with the file of a resumed run, and listen to the network."""
        learner = cast(Learner, pl_module)
        network = learner.network
        self._file = MetricsFile(self.folder / DIAGNOSTICS, trainer.current_epoch)
        self._hidden = hidden_weights(network)
        activations = [name for name, module in network.named_modules() if isinstance(module, SignActivation)]
        columns = [f"window/{name}" for name in activations] + ["logits_std"]
        columns += [f"{steps}/{name}" for steps in ("first_steps", "last_steps") for name in self._hidden]
        self._means = {column: _Mean() for column in columns}
        self._hooks = [_measure(network, learner, _sd_of_logits, self._means["logits_std"])]
        for name in activations:
            self._hooks.append(_measure(network.get_submodule(name), learner, _inside, self._means[f"window/{name}"]))

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the hidden weights before a step whose size is asked for."""
        if self._asked_for(trainer, cast(Learner, pl_module), batch_idx):
            self._before = {name: hidden.detach().clone() for name, hidden in self._hidden.items()}

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure that step."""
        for steps in self._asked_for(trainer, cast(Learner, pl_module), batch_idx):
            for name, before in self._before.items():
                self._means[f"{steps}/{name}"].add((self._hidden[name].detach() - before).abs().mean())

    def _asked_for(self, trainer: pl.Trainer, learner: Learner, step: int) -> list[str]:
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
        m = learner.m if isinstance(learner.m, list) else [learner.m] * len(self._hidden)
        with torch.no_grad():
            for m_of_layer, (name, hidden) in zip(
                m, self._hidden.items(), strict=False
            ):  # an mlp has m, but none hidden
                size = hidden.abs()
                row[f"hidden_mean/{name}"], row[f"hidden_max/{name}"] = float(size.mean()), float(size.max())
                row[f"kept/{name}"] = float(share(m_of_layer, size).mean())
                row[f"turned_quiet/{name}"], row[f"turned_loud/{name}"] = self._turned(name)
        self._file.write(row)
        if learner.schedule.ends_task(epoch):
            self._remember(trainer.optimizers[0])

    def _turned(self, name: str) -> tuple[float, float]:
        """Shares of the quiet and of the loud half of a layer whose signs are not those that were remembered."""
        if name not in self._remembered:
            return float("nan"), float("nan")
        now = positive_signs(self._hidden[name])
        quiet, before = (then.to(now.device) for then in self._remembered[name])  # a checkpoint is read to the CPU
        turned = now != before
        return float(turned[quiet].float().mean()), float(turned[~quiet].float().mean())

    def _remember(self, optimizer: torch.optim.Optimizer) -> None:
        """Keep which weights have small gradients, and the signs of the binary ones."""
        self._remembered = {}
        for name, hidden in self._hidden.items():
            square = optimizer.state.get(hidden, {}).get("exp_avg_sq")
            if square is not None:
                self._remembered[name] = square <= square.median(), positive_signs(hidden)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run goes on from."""
        return {"remembered": self._remembered}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self._remembered = state_dict["remembered"]

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave the network as it was."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []


def _measure(
    module: nn.Module, learner: Learner, quantity: Callable[[Tensor, Tensor], Tensor], mean: _Mean
) -> RemovableHandle:
    """Take the mean of a quantity of the input and output of `module` over training steps.

    Plugins make passes of their own: outside of steps (over a memory, for a gradient), and within them with copies of
    the network, hooks and all.
    """

    def hook(called: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if called is module and learner.in_training_step:
            mean.add(quantity(inputs[0].detach(), output.detach()))

    return module.register_forward_hook(hook)


def _sd_of_logits(images: Tensor, logits: Tensor) -> Tensor:
    return logits.float().std()


def _inside(a: Tensor, signs: Tensor) -> Tensor:
    """Share of the activations whose gradient passes the window of the sign."""
    return (a.abs() <= 1).float().mean()
