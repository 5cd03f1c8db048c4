"""How a configuration says that it is a search.

What has to hold before a search starts, said while nothing is written yet.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from metaplast.config.overrides import given, key_of
from metaplast.config.schema import WIDTHS_OF
from metaplast.errors import UserError
from metaplast.runs.paths import LOCK, SWEEP, SWEEP_LOCK

AROUND = ("hparams_search", "hydra", "search")
"""Sections and groups that say how to search, not what to run."""
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


JOURNAL = "study.journal"
"""The file that makes a folder one of a study."""


MADE_BEFORE = {SWEEP, SWEEP_LOCK, LOCK}
"""What an earlier call may have left that never came to its first trial."""
CHOSEN = ("m", "only_tasks", "test_on")
"""What hparams=first_tasks sets itself."""


def check_search(config: DictConfig) -> Path:
    """Return the folder of the study that `config`, composed and checked, asks for.

    Raises UserError where Optuna is missing, where the search would look at test data, and for a folder that holds
    something else.
    """
    if find_spec("optuna") is None:
        raise UserError("hparams_search: needs Optuna, which is not installed; pip install 'metaplast[search]'")
    if config.test_on != "validation":
        raise UserError(
            f"test_on={config.test_on}: has to be validation in a search, which would choose by the test data"
        )
    from metaplast.search.space import plan

    plan(config.search.space, list(OmegaConf.to_container(config.hydra.overrides.task, resolve=False)))  # type: ignore[arg-type]
    folder = Path(config.hydra.sweep.dir)
    inside = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if inside - MADE_BEFORE and JOURNAL not in inside:
        raise UserError(f"hydra.sweep.dir={folder}: is not empty and holds no study; give another name")
    return folder


def check_first_tasks(config: DictConfig) -> None:
    """Raise UserError where there is no m to choose, or where what is to be chosen was given."""
    settings = config.first_tasks
    if not config.strategy.uses_m:
        raise UserError(f"hparams=first_tasks: chooses m, which strategy={config.strategy.name} does not use")
    if config.strategy.stream == "joint":
        raise UserError(f"hparams=first_tasks: strategy={config.strategy.name} has no first tasks")
    for override in given(config):
        if key_of(override) in CHOSEN:
            raise UserError(f"{override}: cannot be given with hparams=first_tasks, which sets {', '.join(CHOSEN)}")
    if not settings.candidates:
        raise UserError("first_tasks.candidates=[]: has to hold at least one m")
    if settings.per_layer and config.model["_target_"] not in WIDTHS_OF:
        raise UserError(f"first_tasks.per_layer=true: the layers of model={config.model.name} are not known; use false")
