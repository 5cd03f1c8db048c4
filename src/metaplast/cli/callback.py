"""The Hydra callback: validates the configuration of every run and reserves its directory.

Hydra calls its callbacks before it makes any directory, so an invalid command leaves nothing behind.
"""

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from metaplast.cli.resume import apply_resume, resolve_auto
from metaplast.config.constraints import Constraint, problem
from metaplast.config.overrides import TYPED_NOW, cli_overrides, override_key, quote_path
from metaplast.config.validate import check
from metaplast.errors import FAILED, REFUSED, HydraAbort, UserError
from metaplast.private_api import sweep_jobs
from metaplast.runs.directory import create_run_dir
from metaplast.runs.journal import queued
from metaplast.runs.names import JOBS, LOCK, SWEEP
from metaplast.search.first_tasks import FirstTasks, check_first_tasks, is_first_tasks
from metaplast.search.sweeper import Search, check_search, is_search
from metaplast.sweep.launcher import LocalLauncher
from metaplast.sweep.session import find_sweep, open_sweep
from metaplast.system import threads_per_job, train_command, yield_cores

EXTRAS = {
    "hydra_plugins.hydra_joblib_launcher": "joblib",
    "hydra_plugins.hydra_ray_launcher": "ray",
    "hydra_plugins.hydra_submitit_launcher": "slurm",
}
"""Launchers that do not come with the package, and the extra that installs each."""
N_JOBS = Constraint(
    "null or -1 (as many as there are cores) or an integer >= 1",
    lambda jobs: jobs is None or (type(jobs) is int and (jobs == -1 or jobs >= 1)),
    {"type": ["integer", "null"]},
)
"""The values of `hydra.launcher.n_jobs`."""
SWEEPING_GROUPS = ("experiment", "hparams", "hparams_search")
"""Groups whose choices may be sweeps."""
LONGEST_NAME, LONGEST_PATH = 255, 4096 - 64
"""Bytes of a file name and of a run's path; the files of a run need the other 64."""


def register_plugins() -> None:
    """Add our sweepers and our launcher to Hydra's register.

    Hydra finds plugins in packages named `hydra_plugins` only, which it scans at every start. Names of that form for
    classes that live here need neither the package nor the scan.
    """
    Plugins.instance().class_name_to_class |= {
        "hydra_plugins.metaplast.FirstTasks": FirstTasks,
        "hydra_plugins.metaplast.LocalLauncher": LocalLauncher,
        "hydra_plugins.metaplast.Search": Search,
    }


class ValidateAndReserve(Callback):
    """Validates the configuration of a run, or of every job of a multirun, and reserves the output directory."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Validate the run and reserve its directory, or load the run that `resume` names."""
        with _abort_hydra():
            own = resolve_auto(config)
            check(config)
            if config.resume is True:
                raise UserError("resume=true: resumes a sweep, which needs -m; a run is resumed by resume=DIRECTORY")
            run_dir = None if config.resume is None else apply_resume(config, own)
            check_data_dir(str(config.data_dir))
            if run_dir is None and own and (Path(config.hydra.run.dir) / LOCK).exists():
                run_dir = Path(config.hydra.run.dir)  # of a run that ended before its first checkpoint
            if run_dir is None:
                _reserve(config, "hydra.run.dir")
            else:
                _set(config, "hydra.run.dir", run_dir)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Validate all jobs before the first one starts, and reserve the directory of the sweep."""
        register_plugins()
        yield_cores()  # the mode may be set in a file, of which the command line tells nothing
        with _abort_hydra():
            overrides, resumed = cli_overrides(config), _is_resuming(config)
            _check_launcher(config)
            _set_threads(config)
            jobs = _check_jobs(config)
            if is_search(config):  # the study makes up the jobs, and always continues where it is
                sweep_dir, jobs = check_search(config).absolute(), {}
                resumed = (sweep_dir / SWEEP).exists()
            else:
                if is_first_tasks(config):
                    check_first_tasks(config)
                    jobs = {}
                sweep_dir = _find(config, overrides) if resumed else _reserve(config, "hydra.sweep.dir").absolute()
            # Hydra composes each job again, from these overrides.
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quote_path(sweep_dir)}")
            open_sweep(sweep_dir, overrides, queued(jobs), resumed)
            print(f"{f'{len(jobs)} jobs' if jobs else 'search'}: writing to {sweep_dir}", flush=True)


@contextmanager
def _abort_hydra() -> Iterator[None]:
    try:
        yield
    except (UserError, HydraException, OmegaConfBaseException) as error:
        raise HydraAbort(REFUSED) from error
    except Exception as error:
        raise HydraAbort(FAILED) from error


def check_data_dir(data_dir: str) -> None:
    """Raise UserError unless `data_dir` is a directory, or can be made; nothing of the try is left.

    The nearest directory that exists is written to: of /proc, and to root, the permissions alone say too much.
    """
    path = Path(data_dir).expanduser()
    try:
        if path.is_dir():
            return
        above = next(parent for parent in path.absolute().parents if parent.exists())
        if not path.exists() and above.is_dir():
            with tempfile.TemporaryDirectory(prefix=".metaplast-", dir=above):
                return
        reason = f"{path if path.exists() else above} is no directory"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    raise UserError(f"data_dir={data_dir}: expected a directory that exists or can be made ({reason})")


def _reserve(config: DictConfig, key: str) -> Path:
    directory = create_run_dir(
        Path(OmegaConf.select(config, key)), key, named=key in map(override_key, cli_overrides(config))
    )
    _set(config, key, directory)
    return directory


def _set(config: DictConfig, key: str, directory: Path) -> None:
    with read_write(config.hydra), open_dict(config.hydra):
        OmegaConf.update(config, key, str(directory))


def _is_resuming(config: DictConfig) -> bool:
    """Whether `resume=true` was given. Raises UserError for other values of `resume`, and in a search."""
    for override in cli_overrides(config):
        if override_key(override) == "resume":
            if config.resume is not True:
                raise UserError(f"{override}: resumes one run, without -m; a sweep is resumed by resume=true")
            if is_search(config):
                raise UserError("resume=true: the same command without it resumes a search")
            return True
    return False


def _find(config: DictConfig, overrides: Sequence[str]) -> Path:
    """The directory of the sweep that was started with `overrides`."""
    named = "hydra.sweep.dir" in map(override_key, overrides)
    sweep_dir = find_sweep(overrides, Path(config.hydra.sweep.dir) if named else None)
    _set(config, "hydra.sweep.dir", sweep_dir)
    return sweep_dir


def _set_threads(config: DictConfig) -> None:
    """Divide the CPUs among the jobs, in their configuration, so that a resumed job has as many threads."""
    threads = threads_per_job(config.hydra.launcher)
    open_choice = "threads" in config.trainer and config.trainer.threads is None
    if threads is not None and open_choice and "trainer.threads" not in map(override_key, cli_overrides(config)):
        config.hydra.overrides.hydra.append(f"trainer.threads={threads}")


def _check_launcher(config: DictConfig) -> None:
    """Raise UserError for a launcher that is not installed, and for an impossible number of jobs."""
    n_jobs = config.hydra.launcher.get("n_jobs")
    if not N_JOBS.is_valid(n_jobs):
        raise UserError(problem("hydra.launcher.n_jobs", n_jobs, N_JOBS))
    target = str(OmegaConf.select(config, "hydra.launcher._target_"))
    for package, extra in EXTRAS.items():
        if target.startswith(package) and not is_installed(package):
            name = OmegaConf.select(config, "hydra.runtime.choices").get("hydra/launcher")
            raise UserError(f"hydra/launcher={name}: is not installed; pip install -e '.[{extra}]'")


def is_installed(package: str) -> bool:
    """Whether `package`, a dotted name, could be imported."""
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # nor the package around it
        return False


def _check_jobs(config: DictConfig) -> dict[str, list[str]]:
    """Validate every job of a multirun, and return their overrides by the directory inside the sweep's."""
    jobs: dict[str, list[str]] = {}
    data_dirs = set()
    typed = {*map(override_key, cli_overrides(config))}
    for overrides, job in _compose_jobs(config):
        _check_no_sweep_inside(config, [line for line in overrides if override_key(line) in typed], job)
        check(job)
        data_dirs.add(str(job.data_dir))
        subdir = str(job.hydra.sweep.subdir)
        if subdir in jobs:
            raise UserError(f"hydra.sweep.subdir={subdir}: two jobs would share it")
        if Path(subdir).is_absolute() or ".." in Path(subdir).parts or Path(subdir).parts[:1] in ((), (JOBS,)):
            raise UserError(f"hydra.sweep.subdir={subdir}: expected a path inside the sweep, other than {JOBS}")
        jobs[subdir] = [override for override in overrides if override_key(override) not in TYPED_NOW]
    if (is_search(config) or is_first_tasks(config)) and list(jobs) != ["0"]:
        raise UserError(
            f"hydra.sweep.subdir={subdir}: not supported together with hparams_search or hparams=first_tasks"
        )
    if not jobs:
        asked = " ".join(config.hydra.overrides.task)
        raise UserError(f"-m {asked}: makes no job, since one of its ranges is empty")
    for data_dir in sorted(data_dirs):
        check_data_dir(data_dir)
    for subdir in jobs:
        _check_length(Path(config.hydra.sweep.dir).absolute(), subdir)
    return jobs


def _check_no_sweep_inside(config: DictConfig, overrides: Sequence[str], job: DictConfig) -> None:
    """Refuse a job that is a sweep itself, such as one of `experiment=fig2,width`, of which one job would run."""
    asked, inside = ((node.hydra.sweeper.get("params") or {}, node.hydra.sweeper._target_) for node in (config, job))
    if asked != inside and "hydra.sweeper._target_" not in map(override_key, overrides):
        sweep = next((line for line in overrides if override_key(line) in SWEEPING_GROUPS), " ".join(overrides))
        typed = {override_key(override) for override in config.hydra.overrides.task}  # without our share of threads
        command = f"{train_command()} {' '.join(line for line in overrides if override_key(line) in typed)}"
        raise UserError(f"{sweep}: is a sweep itself, which -m cannot repeat; run each by its own command: {command}")


def _check_length(sweep_dir: Path, subdir: str) -> None:
    """Raise UserError where the system could not make the directory of a job."""
    name = max(Path(subdir).parts, key=lambda part: len(part.encode()))
    if (length := len(name.encode())) > LONGEST_NAME:
        raise UserError(
            f"hydra.sweep.subdir={name[:40]}…: expected names of at most {LONGEST_NAME} bytes, got {length}; "
            "give shorter settings, or a subdir made of some of them"
        )
    if (length := len(str(sweep_dir / subdir).encode())) > LONGEST_PATH:
        raise UserError(
            f"hydra.sweep.subdir={subdir[:40]}…: expected a path of at most {LONGEST_PATH} bytes, got {length}"
        )


def _compose_jobs(config: DictConfig) -> Iterator[tuple[list[str], DictConfig]]:
    """Each job of a multirun, its overrides first; one without any where another sweeper than Hydra's makes them up."""
    if not str(OmegaConf.select(config, "hydra.sweeper._target_")).endswith(".BasicSweeper"):
        yield [], _with_number(config.copy(), 0)
        return
    loader = GlobalHydra.instance().config_loader()
    fixed = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    swept = [override for override in cli_overrides(config) if not re.match("hydra[./]", override_key(override))]
    overrides = OverridesParser.create(loader).parse_overrides([*fixed, *swept])
    for number, job in enumerate(sweep_jobs(overrides)):
        yield job, _with_number(loader.load_sweep_config(config, job), number)


def _with_number(job: DictConfig, number: int) -> DictConfig:
    with open_dict(job):
        job.hydra.job.num = number
        job.hydra.job.id = str(number)
    return job
