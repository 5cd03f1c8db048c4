"""The command line that says a job's configuration again, without the search around it."""

import shlex
from collections.abc import Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from metaplast.app.check import shown
from metaplast.app.overrides import key_of
from metaplast.app.settings import GROUPS
from metaplast.report.runs import flatten

AROUND = ("hparams_search", "hydra", "search")
"""Sections and groups that say how to search, not what to run."""


def reproducing(job: DictConfig, overrides: Sequence[str], loader: ConfigLoader) -> list[str]:
    """The overrides with which a single run has the configuration of `job`, composed (Hydra's section included) from
    `overrides`.

    They are those of `overrides` that are not about the search, preceded by the choices and followed by the settings
    that the search brought with it.
    """
    line = [override for override in overrides if key_of(override).partition(".")[0].partition("/")[0] not in AROUND]
    choices = job.hydra.runtime.choices
    chosen = [override for override in line if key_of(override) in choices]  # settings may hang on what is not yet
    as_chosen = _compose(job, chosen, loader).hydra.runtime.choices
    line = [*(f"{group}={choices[group]}" for group in GROUPS if choices[group] != as_chosen[group]), *line]
    wanted, have = _leaves(job), _leaves(_compose(job, line, loader))
    for key, value in wanted.items():
        if key not in have or have[key] != value:
            line.append(f"{'' if key in have else '+'}{key}={shown(value)}")
    return line


def command_line(overrides: Sequence[str]) -> str:
    """The command, quoted for a shell.

    >>> command_line(["m=[0.5,1.0]", "seed=1"])
    "python src/train.py 'm=[0.5,1.0]' seed=1"
    """
    return f"python src/train.py {shlex.join(overrides)}"


def _compose(job: DictConfig, line: list[str], loader: ConfigLoader) -> DictConfig:
    return loader.load_configuration(job.hydra.job.config_name, line, run_mode=RunMode.RUN)


def _leaves(config: DictConfig) -> dict[str, Any]:
    sections: Any = OmegaConf.to_container(config, resolve=False)
    return flatten({key: value for key, value in sections.items() if key not in AROUND})
