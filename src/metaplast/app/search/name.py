"""How a configuration says that it is a search."""

from typing import Any

from hydra.types import RunMode
from omegaconf import OmegaConf

SEARCH = "hydra_plugins.metaplast.Search"
"""The sweeper's `_target_`; Hydra takes no other package for plugins."""


FIRST_TASKS = "hydra_plugins.metaplast.FirstTasks"


def is_search(config: Any) -> bool:
    """Whether `config`, Hydra's section included, is of a search or of a trial of one; as a single run it is none."""
    if OmegaConf.select(config, "hydra.mode") != RunMode.MULTIRUN:
        return False
    return bool(OmegaConf.select(config, "hydra.sweeper._target_") == SEARCH)


def is_first_tasks(config: Any) -> bool:
    """Whether `config`, Hydra's section included, is that of a whole multirun that chooses m on the first tasks."""
    return bool(OmegaConf.select(config, "hydra.sweeper._target_") == FIRST_TASKS)
