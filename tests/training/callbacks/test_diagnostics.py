"""What the diagnostics say is what a look at the network says, and looking changes nothing."""

import math
from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from metaplast.nn import KWTA, GateActivation, bnn, hidden_weights, mlp
from metaplast.optim import MetaplasticAdam, f_meta
from metaplast.runs.names import DIAGNOSTICS
from metaplast.runs.tables import read_matrix_csv, read_metrics
from metaplast.scenarios import permuted_digits
from metaplast.training.callbacks.after_task import OtherStatistics
from metaplast.training.callbacks.diagnostics import Diagnostics
from metaplast.training.datamodule import Schedule, StreamDataModule
from metaplast.training.learner import Learner

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*"),  # Lightning's, about torch
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval.*"),
]


class Look(pl.Callback):
    """Keeps what the diagnostics take means of, step by step."""

    def __init__(self) -> None:
        self.hidden: list[Tensor] = []
        self.activations: list[Tensor] = []
        self.logits: list[Tensor] = []
        self.squares: list[Tensor] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        network: nn.Sequential = pl_module.network  # type: ignore[assignment]
        self.weight = hidden_weights(network)["layer1"]
        self.hidden.append(self.weight.detach().clone())
        for name, seen in (("norm1", self.activations), ("norm2", self.logits)):
            network.get_submodule(name).register_forward_hook(
                lambda module, x, y, seen=seen: seen.append(y.detach().clone()) if module.training else None
            )

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        self.hidden.append(self.weight.detach().clone())
        self.squares.append(trainer.optimizers[0].state[self.weight]["exp_avg_sq"].clone())


def train(
    folder: Path,
    *callbacks: pl.Callback,
    statistics: str = "batch",
    precision: Any = "32-true",
    make: Callable[..., nn.Module] = bnn,
    m: float | list[float] = 1.5,
    **model: object,
) -> Learner:
    """Two tasks, two epochs each, of 15 steps."""
    torch.manual_seed(0)
    scenario, schedule = permuted_digits(seed=0, data_dir="data", n_tasks=2), Schedule(2, epochs_per_task=2)
    settings = {"n_tasks": 2, "hidden": [16], "gamma_init": "uniform", "test_statistics": statistics, **model}
    network = make(scenario.input_shape, 10, **settings)
    learner = Learner(network, lambda groups: MetaplasticAdam(groups, compiled=False), schedule, m=m)
    data = StreamDataModule(scenario, schedule, batch_size=100, eval_batch_size=500, seed=0)
    trainer = pl.Trainer(
        accelerator="cpu",
        precision=precision,
        max_epochs=schedule.total_epochs,
        num_sanity_val_steps=-1,
        callbacks=[*callbacks],
        reload_dataloaders_every_n_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(learner, datamodule=data)
    return learner


def test_gates_and_winners_are_measured_by_their_own_rules(tmp_path: Path) -> None:
    for name, rule in {"gate": GateActivation(1.0, (0.5, 1.5)), "kwta": KWTA()}.items():
        look, folder = Look(), tmp_path / name
        folder.mkdir()
        train(folder, look, Diagnostics(folder), activation=name)
        row = read_metrics(folder / DIAGNOSTICS)[0]
        inputs = look.activations[: len(look.activations) // 4]
        active = torch.stack([rule(a).mean() for a in inputs]).mean()
        # A gradient of 1 for each output is ±1 at the inputs that it reaches.
        passed = torch.stack([_gradient(rule, a).abs().mean() for a in inputs]).mean()
        assert row["active_fraction/act1"] == pytest.approx(active.item(), rel=1e-5)
        assert row["ste_pass_fraction/act1"] == pytest.approx(passed.item(), rel=1e-5)


def _gradient(activation: nn.Module, a: torch.Tensor) -> torch.Tensor:
    a = a.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(activation(a).sum(), a)
    return gradient


def test_the_row_of_an_epoch_holds_the_means_over_its_steps(tmp_path: Path) -> None:
    look = Look()
    learner = train(tmp_path, look, Diagnostics(tmp_path))
    rows = read_metrics(tmp_path / DIAGNOSTICS)
    assert [(row["epoch"], row["task"], row["epoch_in_task"]) for row in rows] == [
        (1, 0, 1), (2, 0, 2), (3, 1, 1), (4, 1, 2),
    ]  # fmt: skip
    n = len(look.logits) // 4
    for epoch, row in enumerate(rows):
        steps = slice(epoch * n, (epoch + 1) * n)
        inside = torch.stack([(a.abs() <= 1).float().mean() for a in look.activations[steps]]).mean()
        assert row["ste_pass_fraction/act1"] == pytest.approx(inside.item(), rel=1e-5)
        active = torch.stack([(a != 0).float().mean() for a in look.activations[steps]]).mean()
        assert row["active_fraction/act1"] == pytest.approx(active.item(), rel=1e-5)
        assert row["logits_std"] == pytest.approx(torch.stack([z.std() for z in look.logits[steps]]).mean().item())
        hidden = look.hidden[(epoch + 1) * n]
        assert row["hidden_mean/layer1"] == pytest.approx(hidden.abs().mean().item())
        assert row["hidden_max/layer1"] == pytest.approx(hidden.abs().max().item())
        assert row["f_meta_mean/layer1"] == pytest.approx(f_meta(1.5, hidden).mean().item())
    assert not learner.network._forward_hooks  # as it was

    moved = torch.stack([(b - a).abs().mean() for a, b in pairwise(look.hidden)])
    for task, (first, last) in enumerate([(rows[0], rows[1]), (rows[2], rows[3])]):
        start = task * 2 * n
        assert first["first_steps/layer1"] == pytest.approx(moved[start : start + 10].mean().item(), rel=1e-5)
        # An epoch here has fewer than 100 steps, all of which are then its last.
        assert last["last_steps/layer1"] == pytest.approx(moved[start + n : start + 2 * n].mean().item(), rel=1e-5)
        assert math.isnan(first["last_steps/layer1"])
        assert math.isnan(last["first_steps/layer1"])

    squares, positive = look.squares[2 * n - 1], look.hidden[2 * n] >= 0
    quiet = squares < squares.flatten().sort().values[(squares.numel() + 1) // 2]
    for epoch in (2, 3):
        turned = positive != (look.hidden[(epoch + 1) * n] >= 0)
        for half, column in ((quiet, "flipped_low_grad/layer1"), (~quiet, "flipped_high_grad/layer1")):
            assert rows[epoch][column] == pytest.approx(turned[half].float().mean().item())
    assert math.isnan(rows[0]["flipped_low_grad/layer1"])
    assert math.isnan(rows[1]["flipped_high_grad/layer1"])


@pytest.mark.parametrize(
    ("per_task", "precision"), [(True, "32-true"), (False, "32-true"), (True, "bf16-mixed"), (True, "64-true")]
)
def test_the_other_matrix_is_that_of_a_run_with_the_other_statistics_and_training_is_the_same(
    tmp_path: Path, per_task: bool, precision: str
) -> None:
    plain, looked = {}, {}
    for statistics in ("batch", "population"):
        plain[statistics] = train(tmp_path, statistics=statistics, norm_per_task=per_task, precision=precision)
        folder = tmp_path / statistics
        folder.mkdir()
        inside = OtherStatistics(folder), Diagnostics(folder)
        looked[statistics] = train(folder, *inside, statistics=statistics, norm_per_task=per_task, precision=precision)
    for own, other in (("batch", "population"), ("population", "batch")):
        assert torch.equal(looked[own].matrix.compute(), plain[own].matrix.compute())
        R = read_matrix_csv(tmp_path / own / f"accuracy_matrix_{other}.csv")
        assert torch.equal(torch.from_numpy(R), plain[other].matrix.compute())
        for (name, weight), expected in zip(
            looked[own].network.named_parameters(), plain[own].network.parameters(), strict=True
        ):
            assert torch.equal(weight, expected), name
    assert not torch.equal(plain["batch"].matrix.compute(), plain["population"].matrix.compute())


@pytest.mark.parametrize("model", [{"norm": "layer"}, {"statistics": "running"}])
def test_where_there_are_no_other_statistics_no_matrix_is_written(tmp_path: Path, model: dict[str, Any]) -> None:
    train(tmp_path, OtherStatistics(tmp_path), **model)
    assert not list(tmp_path.glob("*.csv"))


def test_a_network_without_binary_layers_has_the_scale_of_its_logits_and_m_by_layer(tmp_path: Path) -> None:
    train(tmp_path, Diagnostics(tmp_path), make=mlp, m=[1.0, 2.0])
    rows = read_metrics(tmp_path / DIAGNOSTICS)
    assert set(rows[0]) == {"epoch", "task", "epoch_in_task", "logits_std"}
    assert all(row["logits_std"] > 0 for row in rows)


def test_forward_passes_beside_the_training_step_do_not_count(tmp_path: Path) -> None:
    class Beside(pl.Callback):
        """Passes as plugins make them: outside of the step by the network, within it by a copy."""

        def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
            pl_module.network(torch.full((5, 1, 8, 8), 1e3))  # type: ignore[operator]

        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            pl_module.network.register_forward_pre_hook(self.copy)  # type: ignore[union-attr]

        def copy(self, network: nn.Module, inputs: object) -> None:
            if self.within:
                return
            self.within = True
            deepcopy(network)(torch.full((5, 1, 8, 8), 1e3))
            self.within = False

        within = False

    rows = []
    for name, more in (("without", []), ("with", [Beside()])):
        (tmp_path / name).mkdir()
        train(tmp_path / name, Diagnostics(tmp_path / name), *more, statistics="population", norm="layer")
        rows.append(read_metrics(tmp_path / name / DIAGNOSTICS))
    assert [row["logits_std"] for row in rows[0]] == [row["logits_std"] for row in rows[1]]
    assert [row["ste_pass_fraction/act1"] for row in rows[0]] == [row["ste_pass_fraction/act1"] for row in rows[1]]
