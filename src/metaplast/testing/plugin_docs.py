"""Which of Avalanche's plugins run through the bridge: every class that it exports, tried, as a table."""

from collections.abc import Sequence
from inspect import isclass
from typing import Any, NamedTuple

import torch
from avalanche.core import BasePlugin
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.logging import BaseLogger
from avalanche.models import FeCAMClassifier, MlpVAE, NCMClassifier, TrainEvalModel
from avalanche.models.base_model import BaseModel
from avalanche.training import plugins as their
from avalanche.training.supervised.strategy_wrappers import VAETraining
from torch import Tensor, nn

from metaplast.errors import UserError
from metaplast.nn import mlp
from metaplast.scenarios import Scenario
from metaplast.strategies.plugins.der import DER
from metaplast.strategies.plugins.ewc import EWC, AvalancheEWC
from metaplast.strategies.plugins.gem import AGEM, GEM
from metaplast.strategies.plugins.lwf import LwF
from metaplast.strategies.plugins.mas import MAS
from metaplast.strategies.plugins.replay import Replay
from metaplast.strategies.plugins.rwalk import RWalk
from metaplast.strategies.plugins.si import SI
from metaplast.testing.avalanche_parity import (
    SIZES,
    Network,
    Plugins,
    difference,
    small_digits,
    through_avalanche,
    through_bridge,
)

TOLERANCE = 1e-6
"""Largest difference of two networks on the same trajectory."""


class Case(NamedTuple):
    """How a plugin is tried."""

    make: Plugins
    network: Network
    remark: str = ""
    """What a user has to know or to bring, beyond settings."""


class Outcome(NamedTuple):
    """A row of the table."""

    plugin: str
    verdict: str
    acts: str
    """Whether the network ends otherwise than without the plugin."""
    remark: str


def plain() -> nn.Module:
    """The network that most plugins are tried on."""
    return mlp((1, 8, 8), 10, hidden=[16], norm="layer", norm_per_task=False)


class Featured(nn.Module, BaseModel):  # type: ignore[misc]
    """A network that gives its features when asked."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU())
        self.classifier = nn.Linear(16, 10)

    def get_features(self, x: Tensor) -> Tensor:
        """Features (N, 16)."""
        features: Tensor = self.body(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10)."""
        logits: Tensor = self.classifier(self.get_features(x))
        return logits


class Remembering(Featured):
    """A network that keeps the features of its last batch."""

    features: Tensor | None = None

    def get_features(self, x: Tensor) -> Tensor:
        """Features (N, 16)."""
        self.features = super().get_features(x)
        return self.features


def prototypes(classifier: Network) -> Network:
    """A network that is tested by prototypes of the classes."""

    def make() -> nn.Module:
        body = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU())
        network: nn.Module = TrainEvalModel(body, nn.Linear(16, 10), classifier())
        return network

    return make


def _generative_replay(*after: Any) -> list[Any]:
    vae = MlpVAE((1, 8, 8), nhid=4)
    optimizer = torch.optim.SGD(vae.parameters(), lr=0.0001)
    generator = VAETraining(model=vae, optimizer=optimizer, **SIZES)
    return [their.GenerativeReplayPlugin(generator_strategy=generator), *after]


def _evaluation() -> Any:
    return their.EvaluationPlugin(accuracy_metrics(epoch=True, stream=True), loggers=[BaseLogger()])


def _scheduler(network: nn.Module, optimizer: torch.optim.Optimizer) -> list[Any]:
    return [their.LRSchedulerPlugin(torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5))]


def _case(kind: Any, *settings: Any, network: Network = plain, remark: str = "", **more: Any) -> Case:
    return Case(lambda *_: [kind(*settings, **more)], network, remark)


NCM = "needs a network with an `eval_classifier`, such as Avalanche's `TrainEvalModel`"
GENERATOR = "needs a generator, an Avalanche strategy of its own"

CASES = {
    "AGEMPlugin": _case(their.AGEMPlugin, 50, 30),
    "BiCPlugin": _case(their.BiCPlugin, 60, remark="writes `experience.dataset`, which Avalanche 0.6 made read-only"),
    "CWRStarPlugin": Case(lambda network, _: [their.CWRStarPlugin(network)], plain, "is made with the network"),
    "CoPEPlugin": _case(their.CoPEPlugin, 60, p_size=10),
    "CurrentDataFeCAMUpdate": _case(their.CurrentDataFeCAMUpdate, network=prototypes(FeCAMClassifier), remark=NCM),
    "CurrentDataNCMUpdate": _case(their.CurrentDataNCMUpdate, network=prototypes(NCMClassifier), remark=NCM),
    "EWCPlugin": _case(their.EWCPlugin, 0.5),
    "EarlyStoppingPlugin": Case(lambda *_: [_evaluation(), their.EarlyStoppingPlugin(1, "test_stream")], plain),
    "EvaluationPlugin": Case(lambda *_: [_evaluation()], plain),
    "FeCAMOracle": _case(their.FeCAMOracle, network=prototypes(FeCAMClassifier), remark=NCM),
    "FeatureDistillationPlugin": _case(
        their.FeatureDistillationPlugin, network=Remembering, remark="needs a network that keeps its `features`"
    ),
    "FromScratchTrainingPlugin": _case(
        their.FromScratchTrainingPlugin,
        remark="needs `reset_optimizer=False` where the optimizer has several parameter groups",
    ),
    "GDumbPlugin": _case(their.GDumbPlugin, 60),
    "GEMPlugin": _case(their.GEMPlugin, 50, 0.5),
    "GSS_greedyPlugin": _case(
        their.GSS_greedyPlugin,
        120,
        input_size=[1, 8, 8],
        remark="needs a memory larger than a batch, rehearsed samples included",
    ),
    "GenerativeReplayPlugin": Case(lambda *_: _generative_replay(), plain, GENERATOR),
    "LFLPlugin": _case(
        their.LFLPlugin, 1.0, network=Featured, remark="needs a network with `get_features`, Avalanche's `BaseModel`"
    ),
    "LRSchedulerPlugin": Case(_scheduler, plain, "is made with a scheduler of the optimizer"),
    "LwFPlugin": _case(their.LwFPlugin, 2.0, 2.0),
    "MASPlugin": _case(
        their.MASPlugin, remark="holds no weight of a network that ends in batch normalization; ours does"
    ),
    "MIRPlugin": _case(
        their.MIRPlugin, 20, 60, 40, remark="rehearses only classes that the last batch of the task before was without"
    ),
    "MemoryFeCAMUpdate": _case(their.MemoryFeCAMUpdate, 60, network=prototypes(FeCAMClassifier), remark=NCM),
    "MemoryNCMUpdate": _case(their.MemoryNCMUpdate, 60, network=prototypes(NCMClassifier), remark=NCM),
    "NCMOracle": _case(their.NCMOracle, network=prototypes(NCMClassifier), remark=NCM),
    "RARPlugin": _case(
        their.RARPlugin, 20, 60, name_ext_layer="act1", remark="needs a network that torch.fx can trace"
    ),
    "RWalkPlugin": _case(
        their.RWalkPlugin,
        1.0,
        remark="leaves the network in evaluation mode while it trains, and holds γ above all; ours does neither",
    ),
    "ReplayPlugin": _case(their.ReplayPlugin, 60),
    "SupervisedPlugin": _case(their.SupervisedPlugin, remark="the base class"),
    "SynapticIntelligencePlugin": _case(
        their.SynapticIntelligencePlugin, 1.0, remark="does nothing on a CPU; ours does"
    ),
    "TrainGeneratorAfterExpPlugin": Case(
        lambda *_: _generative_replay(their.TrainGeneratorAfterExpPlugin()), plain, "goes with GenerativeReplayPlugin"
    ),
}
"""How each class that Avalanche exports is tried; sizes are small, since trajectories are compared, not accuracies."""

OURS = {
    "AGEM": _case(AGEM, 50, 30),
    "AvalancheEWC": _case(AvalancheEWC, 0.5),
    "DER": _case(DER, 60, 20),
    "EWC": _case(EWC, 0.5),
    "GEM": _case(GEM, 50, 0.5),
    "LwF": _case(LwF, 2.0, 2.0),
    "MAS": _case(MAS, norm_parameters=True, remark="by default it leaves γ and β out, which Avalanche's holds"),
    "RWalk": _case(RWalk, 1.0, norm_parameters=True, remark="the same"),
    "Replay": _case(Replay, 60),
    "SI": _case(SI, 0.5),
}
"""The same for the plugins of `metaplast.strategies`."""


def exported_plugins() -> list[str]:
    """Names of the plugin classes that the installed Avalanche exports."""
    kinds = (BasePlugin, their.EvaluationPlugin)  # the second has the events without the base
    return sorted(name for name, kind in vars(their).items() if isclass(kind) and issubclass(kind, kinds))


def outcome(name: str, case: Case, scenario: Scenario) -> Outcome:
    """Train with the plugins of a case through both loops, and without them."""
    try:
        expected = through_avalanche(case.network, case.make, scenario)
    except Exception as error:
        verdict = f"not supported: fails in Avalanche's own loop too ({type(error).__name__})"
        return Outcome(name, verdict, "", case.remark)
    try:
        ours = through_bridge(case.network, case.make, scenario)
    except UserError as error:
        return Outcome(name, f"not supported: {str(error).removeprefix('strategy.plugins: ')}", "", case.remark)
    distance = difference(ours, expected)
    verdict = "same trajectory" if distance <= TOLERANCE else f"another trajectory (difference {distance:.1g})"
    without = through_avalanche(case.network, lambda *_: [], scenario)
    return Outcome(name, verdict, "yes" if difference(expected, without) > TOLERANCE else "no", case.remark)


def page() -> str:
    """The page with both tables, as Markdown."""
    scenario = small_digits()
    theirs = [outcome(name, CASES[name], scenario) for name in exported_plugins()]
    ours = [outcome(name, case, scenario) for name, case in OURS.items()]
    return PAGE.format(tolerance=TOLERANCE, theirs=_table(theirs), ours=_table(ours))


def _table(rows: Sequence[Outcome]) -> str:
    header = ("| plugin | through the bridge | changes the network | remarks |", "|---|---|---|---|")
    return "\n".join([*header, *(f"| `{row.plugin}` | {row.verdict} | {row.acts} | {row.remark} |" for row in rows)])


PAGE = """# Avalanche's plugins under Lightning

Made by `python scripts/plugin_table.py`; a test compares this page with what the code gives.

Each plugin was trained with twice on three small tasks of permuted digits, through the bridge and through Avalanche's
own `Naive` loop, with the same network, seed, batches and plain SGD. *Same trajectory*: no parameter or buffer of the
network differs by more than {tolerance:g} at the end. *Changes the network*: it ends otherwise than without the plugin.

## Every plugin class that `avalanche.training.plugins` exports

{theirs}

## The plugins of `metaplast.strategies`

These save and restore their state with the checkpoint, so that a run with them can be resumed. A run with a plugin that
has no `state_dict()`, as Avalanche's have none, goes through but cannot be resumed.

{ours}
"""
