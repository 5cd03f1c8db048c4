"""Our own plugins of Hydra, which Hydra has to know before a configuration may name them.

The moment between composing and starting: everything that cannot work is refused, and a directory is taken.

Hydra calls its callbacks before it makes any directory, so that a refused run leaves nothing behind.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from metaplast.cli import callback as plugins
from metaplast.cli.resume import take_up
from metaplast.config.overrides import TYPED_NOW, given, key_of, quoted
from metaplast.config.schema import Rule
from metaplast.config.validate import check, shown
from metaplast.errors import FAILED, REFUSED, Carried, UserError
from metaplast.runs.directory import create_run_dir
from metaplast.runs.journal import queued
from metaplast.runs.paths import SWEEP
from metaplast.search.checks import check_first_tasks, check_search, is_first_tasks, is_search
from metaplast.search.first_tasks import FirstTasks
from metaplast.search.sweeper import Search
from metaplast.sweep import session as sweep
from metaplast.sweep.launcher import LocalLauncher
from metaplast.system import threads_per_job, yield_cores


def register() -> None:
    """Make our plugins known.

    Hydra takes plugins from packages named `hydra_plugins` alone, and scans these at every start. A name of that form
    in its register, for a class that lives here, saves the scan and the package.
    """
    Plugins.instance().class_name_to_class |= {
        "hydra_plugins.metaplast.FirstTasks": FirstTasks,
        "hydra_plugins.metaplast.LocalLauncher": LocalLauncher,
        "hydra_plugins.metaplast.Search": Search,
    }


EXTRAS = {
    "hydra_plugins.hydra_joblib_launcher": "joblib",
    "hydra_plugins.hydra_ray_launcher": "ray",
    "hydra_plugins.hydra_submitit_launcher": "slurm",
}
"""Launchers that do not come with the package, and the extra that brings each."""
AT_ONCE = Rule(
    "null or -1 (as many as there are cores) or an integer >= 1",
    lambda jobs: jobs is None or (type(jobs) is int and (jobs == -1 or jobs >= 1)),
)
"""What `hydra.launcher.n_jobs` may be."""


class Guard(Callback):
    """Checks the configuration, of every job in a multirun, and takes the directory."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the run and take its directory, or take up the run that `resume` names."""
        with _carried():
            check(config)
            if config.resume is True:
                raise UserError("resume=true: goes on with a sweep, so it has to be given with -m")
            if config.resume is None:
                _claim(config, "hydra.run.dir")
            else:
                _put(config, "hydra.run.dir", take_up(config))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check all jobs before the first starts, and take the directory that is to hold theirs."""
        plugins.register()
        yield_cores()  # also where the mode is set in a file, so that the command line did not tell it
        with _carried():
            overrides, resumed = given(config), _goes_on(config)
            _check_launcher(config)
            _share_threads(config)
            subdirs: dict[str, list[str]] = {}
            for of_job, job in _jobs(config):
                check(job)
                subdir = str(job.hydra.sweep.subdir)
                if subdir in subdirs:
                    raise UserError(f"hydra.sweep.subdir={subdir}: two jobs would share it")
                subdirs[subdir] = [override for override in of_job if key_of(override) not in TYPED_NOW]
            if (is_search(config) or is_first_tasks(config)) and list(subdirs) != ["0"]:
                raise UserError(
                    f"hydra.sweep.subdir={subdir}: cannot be changed where the jobs are not known beforehand"
                )
            if not subdirs:
                asked = " ".join(config.hydra.overrides.task)
                raise UserError(f"-m {asked}: makes no job, since something in it is an empty range")
            if is_search(config):  # a study is gone on with where it is, and makes its jobs up
                sweep_dir = check_search(config).absolute()
                resumed = (sweep_dir / SWEEP).exists()
                subdirs.clear()
            else:
                if is_first_tasks(config):
                    check_first_tasks(config)
                    subdirs.clear()
                sweep_dir = _found(config, overrides) if resumed else _claim(config, "hydra.sweep.dir").absolute()
            # Each job is composed anew from these.
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(sweep_dir)}")
            sweep.begin(sweep_dir, overrides, queued(subdirs), resumed)


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
    directory = create_run_dir(Path(OmegaConf.select(config, key)), key, named)
    _put(config, key, directory)
    return directory


def _put(config: DictConfig, key: str, directory: Path) -> None:
    with read_write(config.hydra), open_dict(config.hydra):
        OmegaConf.update(config, key, str(directory))


def _goes_on(config: DictConfig) -> bool:
    """Whether `resume=true` was given; refuse what else `resume` could be."""
    for override in given(config):
        if key_of(override) == "resume":
            if config.resume is not True:
                raise UserError(
                    f"{override}: goes on with one run, so it has to be given without -m; a sweep has resume=true"
                )
            if is_search(config):
                raise UserError("resume=true: a search goes on by itself; give the same command without it")
            return True
    return False


def _found(config: DictConfig, overrides: Sequence[str]) -> Path:
    """The directory of the sweep that was started with `overrides`."""
    named = "hydra.sweep.dir" in map(key_of, overrides)
    sweep_dir = sweep.find(overrides, Path(config.hydra.sweep.dir) if named else None)
    _put(config, "hydra.sweep.dir", sweep_dir)
    return sweep_dir


def _share_threads(config: DictConfig) -> None:
    """Give each job its share of the cores, in its own configuration, so that going on with it has as many threads."""
    threads = threads_per_job(config.hydra.launcher)
    shared = "threads" in config.trainer and config.trainer.threads is None
    if threads is not None and shared and "trainer.threads" not in map(key_of, given(config)):
        config.hydra.overrides.hydra.append(f"trainer.threads={threads}")


def _check_launcher(config: DictConfig) -> None:
    """Refuse a launcher whose package is missing, and a number of jobs at once that cannot be."""
    jobs = config.hydra.launcher.get("n_jobs")
    if not AT_ONCE.accepts(jobs):
        raise UserError(f"hydra.launcher.n_jobs={shown(jobs)}: has to be {AT_ONCE.says}")
    target = str(OmegaConf.select(config, "hydra.launcher._target_"))
    for package, extra in EXTRAS.items():
        if target.startswith(package) and not _is_installed(package):
            name = OmegaConf.select(config, "hydra.runtime.choices").get("hydra/launcher")
            raise UserError(f"hydra/launcher={name}: is not installed; pip install 'metaplast[{extra}]'")


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # not even the namespace
        return False


def _jobs(config: DictConfig) -> Iterator[tuple[list[str], DictConfig]]:
    """Compose every job of a multirun, beside its overrides; those of another sweeper than Hydra's only it knows."""
    if not str(OmegaConf.select(config, "hydra.sweeper._target_")).endswith(f".{BasicSweeper.__name__}"):
        yield [], _numbered(config.copy(), 0)
        return
    loader = GlobalHydra.instance().config_loader()
    fixed = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    swept = [override for override in given(config) if not re.match("hydra[./]", key_of(override))]
    overrides = OverridesParser.create(loader).parse_overrides([*fixed, *swept])
    [jobs] = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    for number, job in enumerate(jobs):
        yield list(job), _numbered(loader.load_sweep_config(config, list(job)), number)


def _numbered(job: DictConfig, number: int) -> DictConfig:
    with open_dict(job):
        job.hydra.job.num = number
        job.hydra.job.id = str(number)
    return job
