"""Load a finished run: its configuration, its tasks and its trained network."""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig
from torch import nn

from metaplast.config.instantiate import build
from metaplast.errors import UserError
from metaplast.runs.paths import CONFIG, LAST_CHECKPOINT
from metaplast.runs.untrusted import load_saved_config
from metaplast.scenarios import Scenario
from metaplast.training.checkpoint import read_checkpoint
from metaplast.training.trainer import SCENARIO, build_network, select_tasks

_PREFIX = "network."
"""What the learner puts before the names of the network's tensors."""


class FinishedRun(NamedTuple):
    """A run read back from its directory."""

    config: DictConfig
    scenario: Scenario
    """The tasks trained on."""
    network: nn.Module
    """The network of the last checkpoint, with the normalization of the task that was trained last in place."""


def load_finished_run(run_dir: Path, data_dir: Path | None = None, trust: Collection[str] = ()) -> FinishedRun:
    """Read the run in `run_dir` back from config.yaml and checkpoints/last.ckpt.

    `data_dir` is where the data are, if not where they were; `trust` holds the targets of the user's own that
    config.yaml may name. Raises UserError where the directory holds no run, no whole checkpoint, a configuration that
    names anything else, or one that builds another network.
    """
    path = run_dir / CONFIG
    if not path.is_file():
        raise UserError(f"{run_dir}: is not the directory of a run, since it holds no config.yaml")
    try:
        config = load_saved_config(path, trust)
    except UserError as error:
        raise UserError(f"{run_dir}: {error}") from error
    if not {"model", "scenario", "strategy"} <= set(config):
        raise UserError(f"{path}: holds no model, scenario and strategy, as the configuration of a run does")
    state = read_checkpoint(run_dir / LAST_CHECKPOINT)["state_dict"]
    if not {"seed", "data_dir"} <= set(config):
        raise UserError(f"{path}: holds no seed and data_dir, as the configuration of a run does")
    whole = build(config.scenario, SCENARIO, seed=config.seed, data_dir=str(data_dir or config.data_dir))
    network = build_network(config, whole)
    tensors = {key.removeprefix(_PREFIX): value for key, value in state.items() if key.startswith(_PREFIX)}
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{run_dir}: its checkpoint does not fit the network of its config.yaml: {reason}") from error
    return FinishedRun(config, select_tasks(config, whole), network)
