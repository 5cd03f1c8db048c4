"""The moment between composing and starting: everything that cannot work is refused, and a directory is taken.

Hydra calls its callbacks before it makes any directory, so that a refused run leaves nothing behind.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from metaplast.app.check import check
from metaplast.app.overrides import given, key_of
from metaplast.app.resume import take_up
from metaplast.app.run_directory import claim
from metaplast.app.status import FAILED, REFUSED, Carried
from metaplast.errors import UserError


class Guard(Callback):
    """Checks the configuration, of every job in a multirun, and takes the directory."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the run and take its directory, or take up the run that `resume` names."""
        with _carried():
            check(config)
            if config.resume is None:
                _claim(config, "hydra.run.dir")
            else:
                _put(config, "hydra.run.dir", take_up(config))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check all jobs before the first starts, and take the directory that is to hold theirs."""
        with _carried():
            for override in given(config):
                if key_of(override) == "resume":
                    raise UserError(f"{override}: goes on with one run, so it has to be given without -m")
            taken: set[str] = set()
            for job in _jobs(config):
                check(job)
                subdir = str(job.hydra.sweep.subdir)
                if subdir in taken:
                    raise UserError(f"hydra.sweep.subdir={subdir}: two jobs would share it")
                taken.add(subdir)
            sweep_dir = _claim(config, "hydra.sweep.dir")
            # Each job is composed anew from these.
            quoted = str(sweep_dir).replace("\\", "\\\\").replace("'", "\\'")
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir='{quoted}'")


@contextmanager
def _carried() -> Iterator[None]:
    try:
        yield
    except (UserError, HydraException, OmegaConfBaseException) as error:
        raise Carried(REFUSED) from error
    except Exception as error:
        raise Carried(FAILED) from error


def _claim(config: DictConfig, key: str) -> Path:
    named = key in map(key_of, given(config))
    directory = claim(Path(OmegaConf.select(config, key)), key, named)
    _put(config, key, directory)
    return directory


def _put(config: DictConfig, key: str, directory: Path) -> None:
    with read_write(config.hydra), open_dict(config.hydra):
        OmegaConf.update(config, key, str(directory))


def _jobs(config: DictConfig) -> Iterator[DictConfig]:
    """Compose every job of a multirun. What another sweeper than Hydra's own will try, only that sweeper knows."""
    if not str(OmegaConf.select(config, "hydra.sweeper._target_")).endswith(f".{BasicSweeper.__name__}"):
        yield config
        return
    loader = GlobalHydra.instance().config_loader()
    fixed = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    swept = [override for override in given(config) if not re.match("hydra[./]", key_of(override))]
    overrides = OverridesParser.create(loader).parse_overrides([*fixed, *swept])
    [jobs] = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    for number, job in enumerate(jobs):
        composed = loader.load_sweep_config(config, list(job))
        with open_dict(composed):
            composed.hydra.job.num = number
            composed.hydra.job.id = str(number)
        yield composed
