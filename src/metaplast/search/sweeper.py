"""The Hydra sweeper of a search: asks Optuna's study for trials, launches them as jobs, and tells it the results.

    ask ask      launch       tell tell      ask ask …
                 job 7 ──┐
                 job 8 ──┴── each reports to the study after every task, and may be pruned

A job has the number of its trial. The same command given again continues the study.
"""

import logging
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf

from metaplast.errors import JobError, UserError
from metaplast.private_api import result_or_error, trial_numbered
from metaplast.runs.directory import lock_run_dir
from metaplast.runs.index import relevant_settings
from metaplast.runs.names import LOCK, SWEEP, SWEEP_LOCK
from metaplast.runs.summary import RunStatus, read_summary
from metaplast.system import jobs_at_once

if TYPE_CHECKING:
    from optuna.study import Study

    from metaplast.training.callbacks.after_task import IsHopeless

SEARCH = "hydra_plugins.metaplast.Search"
"""The sweeper's `_target_`; Hydra takes plugins from no other package."""
STUDY = "study.journal"
"""The file that holds a study in its folder."""
NOT_OF_A_RUN = ("hparams_search", "hydra", "search")
"""Sections and groups that say how to search, not what to run."""

log = logging.getLogger(__name__)


def is_search(config: Any) -> bool:
    """Whether `config`, with Hydra's section, is that of a search or of one of its trials."""
    if OmegaConf.select(config, "hydra.mode") != RunMode.MULTIRUN:
        return False
    return bool(OmegaConf.select(config, "hydra.sweeper._target_") == SEARCH)


def check_search(config: DictConfig) -> Path:
    """Return the folder of the study that `config`, composed and checked, asks for.

    Raises UserError where Optuna is missing, where the search would use test data, and for a folder that holds
    something else.
    """
    if find_spec("optuna") is None:
        raise UserError("hparams_search: needs Optuna, which is not installed; pip install -e '.[search]'")
    if config.eval_split != "validation":
        raise UserError(
            f"eval_split={config.eval_split}: expected validation, since a search would choose by the test data"
        )
    from metaplast.search.study import plan

    plan(config.search.space, list(OmegaConf.to_container(config.hydra.overrides.task, resolve=False)))  # type: ignore[arg-type]
    folder = Path(config.hydra.sweep.dir)
    files = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if files - {SWEEP, SWEEP_LOCK, LOCK} and STUDY not in files:  # those are of a call that made no trial
        raise UserError(f"hydra.sweep.dir={folder}: is not empty and holds no study; give another name")
    return folder


def search_trial(config: DictConfig) -> "IsHopeless | None":
    """The function that reports a run to its study and says whether to prune it; None where the run is no trial.

    Raises UserError where the search would use test data.
    """
    if not HydraConfig.initialized() or not is_search(HydraConfig.instance().cfg):
        return None
    if config.eval_split != "validation":
        raise UserError(f"eval_split={config.eval_split}: expected validation in a search")
    from optuna.exceptions import UpdateFinishedTrialError  # installed, since the search runs

    from metaplast.search.study import open_study

    hydra = HydraConfig.get()
    trial = trial_numbered(open_study(Path(hydra.sweep.dir), config.search), hydra.job.num)

    def is_hopeless(task: int, accuracy: float) -> bool:
        try:
            trial.report(accuracy, step=task)
        except UpdateFinishedTrialError:  # the search was killed and started again, without this run
            return True
        return trial.should_prune()

    return is_hopeless


class Search(Sweeper):
    """Runs trials until the study has `search.n_trials` with a result, completed or pruned."""

    config: DictConfig
    hydra_context: HydraContext
    launcher: Launcher

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra passes, and make the launcher."""
        from hydra.core.plugins import Plugins

        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        """Search, and report in the folder of the study.

        Raises UserError for what cannot be searched, JobError where a trial failed. A failed trial does not affect the
        others, but the search ends if none of the first ones has a result.
        """
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        with lock_run_dir(folder):
            return self._search(folder, arguments)

    def _search(self, folder: Path, arguments: list[str]) -> list[JobReturn]:
        from optuna.trial import TrialState

        from metaplast.search.results import report
        from metaplast.search.study import (
            ask,
            assignments,
            check_settings,
            finished,
            open_study,
            plan,
            repair_journal,
            tell,
        )

        settings: dict[str, Any] = OmegaConf.to_container(self.config.search, resolve=True)  # type: ignore[assignment]
        fixed, space = plan(settings["space"], arguments)
        repair_journal(folder)
        study = open_study(folder, settings)
        check_settings(study, self._shared_settings({key: str(value) for key, value in space.items()}), folder)
        for interrupted in study.get_trials(states=[TrialState.RUNNING]):
            _close_interrupted(study, interrupted.number, folder)

        n_done = finished(study)
        left = settings["n_trials"] - n_done
        if n_done:
            log.info("%d of %d trials of %s are done", n_done, settings["n_trials"], folder)
        returns: list[JobReturn] = []
        while left > 0:
            at_once = settings["n_jobs"] or launched_at_once(self.config.hydra.launcher)
            trials = [ask(study, settings, space, self.config.seed) for _ in range(min(left, at_once))]
            jobs = [[*fixed, *assignments(trial.params)] for trial in trials]
            batch = self.launcher.launch(jobs, initial_job_idx=trials[0].number)
            for trial, job in zip(trials, batch, strict=True):
                tell(study, trial.number, job.return_value if job.status == JobStatus.COMPLETED else None)
            returns += batch
            left -= len(trials)
            if not finished(study):
                break  # what fails for all of the first ones does not depend on the parameters
        report(study, folder, fixed, self.config, self.hydra_context.config_loader)
        _raise_first(returns)
        return returns

    def _shared_settings(self, space: dict[str, str]) -> dict[str, Any]:
        """The settings that the trials of a study have to share to be compared."""
        sections = [str(key) for key in self.config if key not in NOT_OF_A_RUN]
        config: Any = OmegaConf.to_container(OmegaConf.masked_copy(self.config, sections), resolve=True)
        return {**relevant_settings(config), **{f"search.space.{key}": words for key, words in space.items()}}


def _close_interrupted(study: "Study", number: int, folder: Path) -> None:
    """Close a trial that an earlier call left: by the result of its run if that ended, else to run it again."""
    from metaplast.search.study import run_again, tell

    summary = read_summary(folder / str(number))
    if summary.get("status") in (RunStatus.COMPLETED, RunStatus.PRUNED):
        tell(study, number, summary)
    else:
        run_again(study, number)


def launched_at_once(launcher: DictConfig) -> int:
    """The number of jobs that a launcher runs at once, by its settings; 1 where these do not say it."""
    return jobs_at_once(launcher.n_jobs) if "n_jobs" in launcher else 1


def _raise_first(returns: Sequence[JobReturn]) -> None:
    """Raise the error of the first failed job, if any."""
    for job in returns:
        if job.status == JobStatus.FAILED:
            error = result_or_error(job)
            raise error if isinstance(error, JobError) else JobError(f"at least one job failed, the first by: {error}")
