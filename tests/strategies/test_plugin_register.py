"""Every plugin of ours and the laws that all keep; a new plugin is one line in `REGISTER`.

Laws: the same trajectory under Lightning as in Avalanche's loop; that of Avalanche's own plugin, where there is one; a
resume that ends in the same bits; a state that a file of plain tensors holds; one line for a wrong argument.
"""

import importlib
import inspect
import io
import pkgutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import pytorch_lightning as pl
import torch
from avalanche.training import plugins as their
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor, nn

import metaplast.strategies.plugins
from metaplast.config.constraints import shown
from metaplast.errors import UserError
from metaplast.nn import bnn
from metaplast.scenarios import Scenario
from metaplast.strategies.plugins.der import DER
from metaplast.strategies.plugins.ewc import EWC, AvalancheEWC
from metaplast.strategies.plugins.gem import AGEM, GEM
from metaplast.strategies.plugins.lwf import LwF
from metaplast.strategies.plugins.mas import MAS
from metaplast.strategies.plugins.replay import Replay
from metaplast.strategies.plugins.rwalk import RWalk
from metaplast.strategies.plugins.si import SI
from metaplast.testing import avalanche_parity
from metaplast.testing.avalanche_parity import Plugins, difference, small_digits, through_avalanche, through_bridge
from metaplast.testing.plugin_docs import plain
from metaplast.training.checkpoint import SafeCheckpointIO

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Avalanche's, about parts of itself and of NumPy
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*"),  # Lightning's, about torch
    pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint.*"),  # the one that stops is gone
]

COUNT, NOT_NEGATIVE, SHARE = "an integer >= 1", "a number >= 0", "a number from 0 to 1"
NAN = float("nan")


Bad = dict[str, tuple[list[Any], str]]
"""By argument: values that are refused, and what is needed."""


class Entry(NamedTuple):
    """A plugin with the arguments that its laws are tried with."""

    kind: Callable[..., Any]
    arguments: dict[str, Any]
    bad: Bad
    twin: Callable[[], Any] | None = None
    """Avalanche's own plugin, which trains the same on `plain`."""
    as_twin: Mapping[str, Any] = MappingProxyType({})
    """Further arguments, for networks whose tasks share γ and β, by which it holds what its twin holds."""

    def make(self, **changed: Any) -> Any:
        """A new plugin."""
        return self.kind(**self.arguments | changed)


PENALTY: Bad = {"ewc_lambda": ([-1, "much", float("inf")], NOT_NEGATIVE)}
MEMORY: Bad = {"mem_size": ([0, 2.5], COUNT), "batch_size_mem": ([0, -5], f"{COUNT} or null")}
PATTERNS: Bad = {"patterns_per_experience": ([0], COUNT)}
ALPHA_BETA: Bad = {"alpha": ([-1], NOT_NEGATIVE), "beta": ([NAN], NOT_NEGATIVE)}
BOTH = {"norm_parameters": True}

REGISTER = {
    "AGEM": Entry(AGEM, {"patterns_per_experience": 50, "sample_size": 30},
                  {**PATTERNS, "sample_size": ([-1, 0.5], COUNT)}),
    "AvalancheEWC": Entry(AvalancheEWC, {"ewc_lambda": 0.5}, {}, lambda: their.EWCPlugin(0.5)),
    "DER": Entry(DER, {"mem_size": 60, "batch_size_mem": 20}, {**MEMORY, **ALPHA_BETA}),
    "EWC": Entry(EWC, {"ewc_lambda": 0.5}, PENALTY),
    "EWC, online": Entry(EWC, {"ewc_lambda": 0.5, "mode": "online", "gamma": 0.7},
                         {"gamma": ([1.5, None], SHARE)}),
    "EWC, shuffled": Entry(EWC, {"ewc_lambda": 0.5, "shuffled": True}, PENALTY),
    "EWC, sampled": Entry(EWC, {"ewc_lambda": 0.5, "labels": "sampled", "weights": "hidden"},
                          {"n_samples": ([0, 1.5], COUNT)}),
    "GEM": Entry(GEM, {"patterns_per_experience": 50, "memory_strength": 0.5},
                 {**PATTERNS, "memory_strength": ([-0.5], NOT_NEGATIVE)}, lambda: their.GEMPlugin(50, 0.5)),
    "LwF": Entry(LwF, {"alpha": 2.0, "temperature": 3.0},
                 {"alpha": ([-1.0], NOT_NEGATIVE), "temperature": ([0], "a number > 0")},
                 lambda: their.LwFPlugin(2.0, 3.0)),
    "MAS": Entry(MAS, {"lambda_reg": 2.0, "alpha": 0.3},
                 {"lambda_reg": ([-1], NOT_NEGATIVE), "alpha": ([1.5, True], SHARE)},
                 lambda: their.MASPlugin(2.0, 0.3), BOTH),
    "RWalk": Entry(RWalk, {"ewc_lambda": 1.0, "ewc_alpha": 0.8, "delta_t": 5},
                   {**PENALTY, "ewc_alpha": ([-0.1], SHARE), "delta_t": ([0], COUNT)},
                   lambda: their.RWalkPlugin(1.0, 0.8, 5), BOTH),
    "Replay": Entry(Replay, {"mem_size": 60}, MEMORY),
    "SI": Entry(SI, {"si_lambda": 0.5}, {"si_lambda": ([-0.1, "1"], NOT_NEGATIVE), "xi": ([0, True], "a number > 0")}),
}  # fmt: skip
CHOICES = {
    "EWC": {"weights": "binary, hidden", "mode": "separate, online", "labels": "empirical, sampled, all, predicted"},
    "SI": {"weights": "binary, hidden", "path": "hidden, binary"},
}
"""Arguments that take one of a few words."""


def small_bnn() -> nn.Module:
    return bnn((1, 8, 8), 10, hidden=[16], norm="batch", norm_per_task=False, test_statistics="running")


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return small_digits()


def test_every_plugin_of_ours_is_registered() -> None:
    modules = [
        importlib.import_module(f"{metaplast.strategies.plugins.__name__}.{module.name}")
        for module in pkgutil.iter_modules(metaplast.strategies.plugins.__path__)
    ]
    kinds = {
        kind
        for module in modules
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__ == module.__name__ and hasattr(kind, "load_state_dict")
    }
    assert {type(entry.make()) for entry in REGISTER.values()} == kinds


@pytest.mark.parametrize("network", [plain, small_bnn])
@pytest.mark.parametrize("name", REGISTER)
def test_it_has_the_same_trajectory_in_both_loops(
    name: str, network: Callable[[], nn.Module], scenario: Scenario
) -> None:
    entry = REGISTER[name]
    make: Plugins = lambda *_: [entry.make(**entry.as_twin)]  # noqa: E731
    expected = through_avalanche(network, make, scenario)
    assert difference(through_bridge(network, make, scenario), expected) <= 1e-6
    assert difference(expected, through_avalanche(network, lambda *_: [], scenario)) > 1e-3


@pytest.mark.parametrize("name", [name for name, entry in REGISTER.items() if entry.twin is not None])
def test_it_trains_as_avalanches_own(name: str, scenario: Scenario) -> None:
    entry = REGISTER[name]
    twin = entry.twin
    assert twin is not None
    ours = through_avalanche(plain, lambda *_: [entry.make(**entry.as_twin)], scenario)
    assert difference(ours, through_avalanche(plain, lambda *_: [twin()], scenario)) == 0


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


@pytest.mark.parametrize("name", REGISTER)
def test_a_resumed_run_ends_with_the_same_bits(name: str, tmp_path: Path, scenario: Scenario) -> None:
    make: Plugins = lambda *_: [REGISTER[name].make()]  # noqa: E731
    whole, whole_R = trained(make, scenario, [Saver(tmp_path)])
    for stop in STOPS:
        torch.manual_seed(99)
        resumed, R = trained(make, scenario, [Saver(tmp_path / "again")], tmp_path / stop)
        assert difference(resumed, whole) == 0, stop
        assert torch.equal(R, whole_R), stop


def test_a_run_with_a_plugin_without_a_state_cannot_be_resumed(tmp_path: Path, scenario: Scenario) -> None:
    make: Plugins = lambda *_: [their.EWCPlugin(0.5)]  # noqa: E731
    trained(make, scenario, [Saver(tmp_path)])
    sentence = "this run cannot be resumed: EWCPlugin of strategy.plugins has no load_state_dict"
    with pytest.raises(UserError, match=sentence):
        trained(make, scenario, [], tmp_path / "at the end of a task")


@pytest.mark.parametrize("name", REGISTER)
def test_its_state_is_plain_tensors_and_loads_into_a_new_one(name: str, scenario: Scenario) -> None:
    plugin, other = REGISTER[name].make(), REGISTER[name].make()
    through_avalanche(plain, lambda *_: [plugin], scenario)
    file = io.BytesIO()
    torch.save(plugin.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))  # refuses pickled objects
    loaded, saved = other.state_dict(), plugin.state_dict()
    for state in (loaded, saved):
        state.pop("order", None)  # of the draws from a memory, which is loaded again once the task has made one
    torch.testing.assert_close(loaded, saved, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "argument", "value", "needed"),
    [
        (name, argument, value, needed)
        for name, entry in REGISTER.items()
        for argument, (values, needed) in entry.bad.items()
        for value in values
    ],
)
def test_an_argument_out_of_its_range_is_refused_in_a_line(name: str, argument: str, value: Any, needed: str) -> None:
    with pytest.raises(UserError) as error:
        REGISTER[name].make(**{argument: value})
    assert str(error.value).startswith(f"{argument}={shown(value)}: expected {needed}")


@pytest.mark.parametrize(
    ("name", "argument", "words"), [(name, key, words) for name, of in CHOICES.items() for key, words in of.items()]
)
def test_an_unknown_word_is_refused_with_those_there_are(name: str, argument: str, words: str) -> None:
    with pytest.raises(UserError) as error:
        REGISTER[name].make(**{argument: "other"})
    assert str(error.value) == f"{argument}=other: expected one of {words}, got the text 'other'"
