"""A run that is over, read back to be looked at: its network as it was trained, and the tasks it was trained on."""

from pathlib import Path
from typing import NamedTuple

import yaml  # type: ignore[import-untyped]
from omegaconf import DictConfig, OmegaConf
from torch import nn

from metaplast.config.instantiate import build
from metaplast.errors import UserError
from metaplast.runs.old_keys import translate_old_keys
from metaplast.scenarios import Scenario
from metaplast.training.checkpoint import read_checkpoint
from metaplast.training.trainer import network_for, tasks_of

_PREFIX = "network."
"""What the learner puts before the names of the network's tensors."""


class FinishedRun(NamedTuple):
    """A run read back from its directory."""

    config: DictConfig
    scenario: Scenario
    """The tasks trained on."""
    network: nn.Module
    """The network of the last checkpoint, with the normalization of the task that was trained last in place."""


def load_finished_run(run_dir: Path, data_dir: Path | None = None) -> FinishedRun:
    """Read the run in `run_dir` back from config.yaml and checkpoints/last.ckpt.

    `data_dir` is where the data are, if not where they were. Raises UserError where the directory holds no run, no
    whole checkpoint, or a configuration that builds another network.
    """
    path = run_dir / "config.yaml"
    if not path.is_file():
        raise UserError(f"{run_dir}: is not the directory of a run, since it holds no config.yaml")
    try:
        config = OmegaConf.load(path)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(config, DictConfig) or not {"model", "scenario", "strategy"} <= set(config):
        raise UserError(f"{path}: holds no model, scenario and strategy, as the configuration of a run does")
    translate_old_keys(config)
    state = read_checkpoint(run_dir / "checkpoints" / "last.ckpt")["state_dict"]
    whole = build(config.scenario, seed=config.seed, data_dir=str(data_dir or config.data_dir))
    network = network_for(config, whole)
    tensors = {key.removeprefix(_PREFIX): value for key, value in state.items() if key.startswith(_PREFIX)}
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{run_dir}: its checkpoint does not fit the network of its config.yaml: {reason}") from error
    return FinishedRun(config, tasks_of(config, whole), network)
