"""Run every plugin that Avalanche exports through the bridge, and write the results as a table."""

from collections.abc import Sequence
from inspect import isclass
from typing import Any, NamedTuple

import torch
from avalanche.core import BasePlugin
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.logging import BaseLogger
from avalanche.models import FeCAMClassifier, MlpVAE, NCMClassifier, TrainEvalModel
from avalanche.models.base_model import BaseModel
from avalanche.training import plugins as avalanche_plugins
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
"""Largest difference between networks that counts as the same trajectory."""


class Case(NamedTuple):
    """How a plugin is tested."""

    make: Plugins
    network: Network
    remark: str = ""
    """What a user has to know or provide besides settings."""


class Outcome(NamedTuple):
    """A row of the table."""

    plugin: str
    verdict: str
    acts: str
    """Whether the plugin changes the trained network."""
    remark: str


def plain() -> nn.Module:
    """The network that most plugins are tested with."""
    return mlp((1, 8, 8), 10, hidden=[16], norm="layer", norm_per_task=False)


class Featured(nn.Module, BaseModel):  # type: ignore[misc]
    """A network with `get_features`."""

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
    """A network that stores the features of its last batch."""

    features: Tensor | None = None

    def get_features(self, x: Tensor) -> Tensor:
        """Features (N, 16)."""
        self.features = super().get_features(x)
        return self.features


def prototypes(classifier: Network) -> Network:
    """A network evaluated by class prototypes."""

    def make() -> nn.Module:
        body = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU())
        network: nn.Module = TrainEvalModel(body, nn.Linear(16, 10), classifier())
        return network

    return make


def _generative_replay(*after: Any) -> list[Any]:
    vae = MlpVAE((1, 8, 8), nhid=4)
    optimizer = torch.optim.SGD(vae.parameters(), lr=0.0001)
    generator = VAETraining(model=vae, optimizer=optimizer, **SIZES)
    return [avalanche_plugins.GenerativeReplayPlugin(generator_strategy=generator), *after]


def _evaluation() -> Any:
    return avalanche_plugins.EvaluationPlugin(accuracy_metrics(epoch=True, stream=True), loggers=[BaseLogger()])


def _scheduler(network: nn.Module, optimizer: torch.optim.Optimizer) -> list[Any]:
    return [avalanche_plugins.LRSchedulerPlugin(torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5))]


def _case(kind: Any, *settings: Any, network: Network = plain, remark: str = "", **more: Any) -> Case:
    return Case(lambda *_: [kind(*settings, **more)], network, remark)


NCM = "needs a network with an `eval_classifier`, such as Avalanche's `TrainEvalModel`"
GENERATOR = "needs a generator, an Avalanche strategy of its own"

CASES = {
    "AGEMPlugin": _case(avalanche_plugins.AGEMPlugin, 50, 30),
    "BiCPlugin": _case(
        avalanche_plugins.BiCPlugin, 60, remark="writes `experience.dataset`, which Avalanche 0.6 made read-only"
    ),
    "CWRStarPlugin": Case(
        lambda network, _: [avalanche_plugins.CWRStarPlugin(network)], plain, "takes the network as an argument"
    ),
    "CoPEPlugin": _case(avalanche_plugins.CoPEPlugin, 60, p_size=10),
    "CurrentDataFeCAMUpdate": _case(
        avalanche_plugins.CurrentDataFeCAMUpdate, network=prototypes(FeCAMClassifier), remark=NCM
    ),
    "CurrentDataNCMUpdate": _case(
        avalanche_plugins.CurrentDataNCMUpdate, network=prototypes(NCMClassifier), remark=NCM
    ),
    "EWCPlugin": _case(avalanche_plugins.EWCPlugin, 0.5),
    "EarlyStoppingPlugin": Case(
        lambda *_: [_evaluation(), avalanche_plugins.EarlyStoppingPlugin(1, "test_stream")], plain
    ),
    "EvaluationPlugin": Case(lambda *_: [_evaluation()], plain),
    "FeCAMOracle": _case(avalanche_plugins.FeCAMOracle, network=prototypes(FeCAMClassifier), remark=NCM),
    "FeatureDistillationPlugin": _case(
        avalanche_plugins.FeatureDistillationPlugin,
        network=Remembering,
        remark="needs a network that keeps its `features`",
    ),
    "FromScratchTrainingPlugin": _case(
        avalanche_plugins.FromScratchTrainingPlugin,
        remark="needs `reset_optimizer=False` if the optimizer has several parameter groups",
    ),
    "GDumbPlugin": _case(avalanche_plugins.GDumbPlugin, 60),
    "GEMPlugin": _case(avalanche_plugins.GEMPlugin, 50, 0.5),
    "GSS_greedyPlugin": _case(
        avalanche_plugins.GSS_greedyPlugin,
        120,
        input_size=[1, 8, 8],
        remark="needs a memory larger than a batch including replayed samples",
    ),
    "GenerativeReplayPlugin": Case(lambda *_: _generative_replay(), plain, GENERATOR),
    "LFLPlugin": _case(
        avalanche_plugins.LFLPlugin,
        1.0,
        network=Featured,
        remark="needs a network with `get_features`, Avalanche's `BaseModel`",
    ),
    "LRSchedulerPlugin": Case(_scheduler, plain, "takes a scheduler of the optimizer as an argument"),
    "LwFPlugin": _case(avalanche_plugins.LwFPlugin, 2.0, 2.0),
    "MASPlugin": _case(
        avalanche_plugins.MASPlugin, remark="does not protect weights before a final batch normalization; ours does"
    ),
    "MIRPlugin": _case(
        avalanche_plugins.MIRPlugin,
        20,
        60,
        40,
        remark="replays only classes absent from the last batch of the previous task",
    ),
    "MemoryFeCAMUpdate": _case(
        avalanche_plugins.MemoryFeCAMUpdate, 60, network=prototypes(FeCAMClassifier), remark=NCM
    ),
    "MemoryNCMUpdate": _case(avalanche_plugins.MemoryNCMUpdate, 60, network=prototypes(NCMClassifier), remark=NCM),
    "NCMOracle": _case(avalanche_plugins.NCMOracle, network=prototypes(NCMClassifier), remark=NCM),
    "RARPlugin": _case(
        avalanche_plugins.RARPlugin, 20, 60, name_ext_layer="act1", remark="needs a network that torch.fx can trace"
    ),
    "RWalkPlugin": _case(
        avalanche_plugins.RWalkPlugin,
        1.0,
        remark="leaves the network in evaluation mode during training, and protects mostly γ; ours does neither",
    ),
    "ReplayPlugin": _case(avalanche_plugins.ReplayPlugin, 60),
    "SupervisedPlugin": _case(avalanche_plugins.SupervisedPlugin, remark="the base class"),
    "SynapticIntelligencePlugin": _case(
        avalanche_plugins.SynapticIntelligencePlugin, 1.0, remark="has no effect on a CPU; ours has"
    ),
    "TrainGeneratorAfterExpPlugin": Case(
        lambda *_: _generative_replay(avalanche_plugins.TrainGeneratorAfterExpPlugin()),
        plain,
        "used together with GenerativeReplayPlugin",
    ),
}
"""The test of each class that Avalanche exports; small, since trajectories are compared, not accuracies."""

OURS = {
    "AGEM": _case(AGEM, 50, 30),
    "AvalancheEWC": _case(AvalancheEWC, 0.5),
    "DER": _case(DER, 60, 20),
    "EWC": _case(EWC, 0.5),
    "GEM": _case(GEM, 50, 0.5),
    "LwF": _case(LwF, 2.0, 2.0),
    "MAS": _case(MAS, norm_parameters=True, remark="unlike Avalanche's, it does not protect γ and β by default"),
    "RWalk": _case(RWalk, 1.0, norm_parameters=True, remark="the same"),
    "Replay": _case(Replay, 60),
    "SI": _case(SI, 0.5),
}
"""The same for the plugins of `metaplast.strategies`."""


def exported_plugins() -> list[str]:
    """Names of the plugin classes that the installed Avalanche exports."""
    kinds = (BasePlugin, avalanche_plugins.EvaluationPlugin)  # EvaluationPlugin does not inherit from BasePlugin
    return sorted(name for name, kind in vars(avalanche_plugins).items() if isclass(kind) and issubclass(kind, kinds))


def outcome(name: str, case: Case, scenario: Scenario) -> Outcome:
    """Train through both loops with the plugins of a case, and without them."""
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
    verdict = "same trajectory" if distance <= TOLERANCE else f"different trajectory (difference {distance:.1g})"
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

Written by `python scripts/plugin_table.py`; a test checks that the page is up to date.

A network is trained with each plugin on three small tasks of permuted digits, through the bridge and through
Avalanche's own `Naive` loop, with the same network, seed, batches and plain SGD. *Same trajectory*: no parameter or
buffer of the network differs by more than {tolerance:g} at the end. *Changes the network*: whether the plugin changes
the trained network.

## Every plugin class that `avalanche.training.plugins` exports

{theirs}

## The plugins of `metaplast.strategies`

These save their state in the checkpoint, so that a run can be resumed. A run with a plugin without `state_dict()`, such
as Avalanche's own, completes but cannot be resumed.

{ours}
"""
