"""The Hydra sweeper of a search: asks the study for as many trials as run at once, launches them, tells what came out.

    ask ask      launch       tell tell      ask ask …
                 job 7 ──┐
                 job 8 ──┴── each reports to the study after every task, and may be told to stop

A job has the number of its trial, and both go on where an earlier call of the same command stopped.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from metaplast.errors import JobError
from metaplast.runs.directory import lock_run_dir
from metaplast.runs.index import relevant_settings
from metaplast.runs.status import RunStatus
from metaplast.runs.summary import read_summary
from metaplast.search.checks import AROUND
from metaplast.system import jobs_at_once

if TYPE_CHECKING:
    from optuna.study import Study

log = logging.getLogger(__name__)


class Search(Sweeper):
    """Runs trials until the study has `search.n_trials` that came to a result, completed or pruned."""

    config: DictConfig
    hydra_context: HydraContext
    launcher: Launcher

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands over, and make the launcher."""
        from hydra.core.plugins import Plugins

        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        """Search, and report in the study's folder.

        Raises UserError for what cannot be searched, JobError where a trial failed; the others are run all the same,
        but if none of the first ones came to a result.
        """
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        with lock_run_dir(folder):
            return self._search(folder, arguments)

    def _search(self, folder: Path, arguments: list[str]) -> list[JobReturn]:
        from optuna.trial import TrialState

        from metaplast.search.results import report
        from metaplast.search.space import assignments, plan
        from metaplast.search.study import ask, hold_to, mend_journal, numbers, open_study, tell

        settings: dict[str, Any] = OmegaConf.to_container(self.config.search, resolve=True)  # type: ignore[assignment]
        fixed, space = plan(settings["space"], arguments)
        mend_journal(folder)
        study = open_study(folder, settings)
        hold_to(study, self._common({key: str(value) for key, value in space.items()}), folder)
        self._take_up(study, folder)

        done = numbers(study, TrialState.COMPLETE, TrialState.PRUNED)
        left = settings["n_trials"] - len(done)
        if done:
            log.info("%d of %d trials of %s are done", len(done), settings["n_trials"], folder)
        returns: list[JobReturn] = []
        while left > 0:
            trials = [
                ask(study, settings, space, self.config.seed)
                for _ in range(min(left, settings["n_jobs"] or at_once(self.config.hydra.launcher)))
            ]
            jobs = [[*fixed, *assignments(trial.params)] for trial in trials]
            came = self.launcher.launch(jobs, initial_job_idx=trials[0].number)
            for trial, job in zip(trials, came, strict=True):
                tell(study, trial.number, job.return_value if job.status == JobStatus.COMPLETED else None)
            returns += came
            left -= len(trials)
            if not numbers(study, TrialState.COMPLETE, TrialState.PRUNED):
                break  # what fails for all of the first ones is no matter of parameters
        report(study, folder, fixed, self.config, self.hydra_context.config_loader)
        _raise_first(returns)
        return returns

    def _common(self, space: dict[str, str]) -> dict[str, Any]:
        """What the trials of a study have to share to be compared."""
        config: Any = OmegaConf.to_container(OmegaConf.masked_copy(self.config, _sections(self.config)), resolve=True)
        return {**relevant_settings(config), **{f"search.space.{key}": words for key, words in space.items()}}

    def _take_up(self, study: "Study", folder: Path) -> None:
        """Close what an earlier call was killed over: by what a run left if it came to its end, else to do it again."""
        from optuna.trial import TrialState

        from metaplast.search.study import do_again, tell

        for trial in study.get_trials(states=[TrialState.RUNNING]):
            summary = read_summary(folder / str(trial.number))
            if summary.get("status") in (RunStatus.COMPLETED, RunStatus.PRUNED):
                tell(study, trial.number, summary)
            else:
                do_again(study, trial)


def at_once(launcher: DictConfig) -> int:
    """How many jobs a launcher runs at once, by its settings; one where these do not say it."""
    return jobs_at_once(launcher.n_jobs) if "n_jobs" in launcher else 1


def _sections(config: DictConfig) -> list[str]:
    return [str(key) for key in config if key not in AROUND]


def _raise_first(returns: Sequence[JobReturn]) -> None:
    """Raise the error of the first job that failed, if any did."""
    for job in returns:
        if job.status == JobStatus.FAILED:
            error = job._return_value
            raise error if isinstance(error, JobError) else JobError(f"at least one job failed, the first by: {error}")
