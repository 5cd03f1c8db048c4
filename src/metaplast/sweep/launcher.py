"""Our Hydra launcher, `hydra/launcher=local`: runs the jobs of a sweep side by side, each in its own process.

    command ── fork server ─┬─ job 3     a job that is killed, or ends its process, does not affect the others
               (imports)    └─ job 4

The fork server imports the libraries once, before the first job; every job is a fork of it. It stays for all calls of
`launch`, since sweepers that search call it many times. The progress is a bar on a terminal, elsewhere a line for each
finished job:

    ━━━━━━━━━━━ 2 running · 9/12 done · 1 failed · 0:00:41 left
"""

import logging
import sys
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from metaplast.config.overrides import TYPED_NOW, override_key
from metaplast.errors import JobError
from metaplast.private_api import result_or_error
from metaplast.runs.journal import Job, Journal, queued
from metaplast.runs.summary import RunStatus
from metaplast.sweep.job import completed_result, in_one_line, journal_entry
from metaplast.system import jobs_at_once, visible_gpus

if TYPE_CHECKING:  # a third of a second, for which an invalid command need not wait
    from metaplast.sweep.process import JobProcess

STOP_TIMEOUT = 60.0
"""Seconds that jobs have to save a checkpoint and write their last files, once they are asked to stop."""
BRIDGE = "metaplast.strategies.bridge"
"""What a run imports besides, where its strategy has plugins."""

log = logging.getLogger(__name__)


class LocalLauncher(Launcher):
    """Runs jobs side by side in their own processes.

    Args:
        n_jobs: the number of jobs at once, >= 1; None: the number of available CPUs.
        imports: modules that the fork server imports; they may start neither threads nor CUDA.
    """

    config: DictConfig
    task_function: TaskFunction
    hydra_context: HydraContext

    def __init__(self, n_jobs: int | None = None, imports: Sequence[str] = ()) -> None:
        self.n_jobs, self.imports = jobs_at_once(n_jobs), list(imports)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra passes, and let the fork server start its imports while the jobs are composed."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        from metaplast.sweep.process import preload

        with_plugins = OmegaConf.select(config, "strategy.plugins")
        preload([*self.imports, *([BRIDGE] if with_plugins and self.imports else [])])

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs, numbered from `initial_job_idx`; the results of completed ones are read from their files.

        A job that failed or was killed is returned as FAILED with a JobError. What stops this process stops the jobs.
        """
        from metaplast.sweep.process import JobProcess, pickled, wait_for_any

        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        journal = Journal(Path(str(self.config.hydra.sweep.dir)))
        common = pickled(self.hydra_context, self.config, self.task_function, Singleton.get_state())
        numbers = range(initial_job_idx, initial_job_idx + len(job_overrides))
        overrides_of = dict(zip(numbers, job_overrides, strict=True))
        waiting, returns = _remaining(journal, job_overrides, initial_job_idx)
        if returns:
            log.info("%d of %d jobs are completed already", len(returns), len(job_overrides))
        gpus = visible_gpus()
        running: dict[int, JobProcess] = {}
        with SweepProgress(len(waiting), self.n_jobs) as progress:
            try:
                while waiting or running:
                    while waiting and len(running) < self.n_jobs:
                        job = waiting.popleft()
                        slot = next(slot for slot in range(self.n_jobs) if slot not in running)
                        gpu = gpus[slot % len(gpus)] if gpus else None
                        running[slot] = JobProcess(job, common, overrides_of[job.number], journal.log(job.number), gpu)
                        progress.job_started()
                    for slot in wait_for_any(running):
                        process = running.pop(slot)
                        number = process.job.number
                        returns[number] = _collect(journal, process)
                        progress.job_ended(journal.job(number) or process.job, returns[number], journal.log(number))
                    progress.refresh()
            finally:
                _stop(journal, list(running.values()))
        return [returns[number] for number in numbers]


def _remaining(
    journal: Journal, job_overrides: Sequence[Sequence[str]], first: int
) -> tuple[deque[Job], dict[int, JobReturn]]:
    """The jobs to run, with an entry in the journal each, and the returns of completed jobs by number."""
    settings = [
        [o for o in filter_overrides(overrides) if override_key(o) not in TYPED_NOW] for overrides in job_overrides
    ]
    # Those of a sweeper that makes jobs up have the directory that a job has by default.
    entries = queued({str(number): overrides for number, overrides in enumerate(settings, first)}, first)
    waiting: deque[Job] = deque()
    returns: dict[int, JobReturn] = {}
    for entry in entries:
        job = journal_entry(journal, entry)
        if job is entry:
            journal.write(job)
        result = completed_result(journal, job)
        if result is None:
            waiting.append(job)
        else:
            returns[job.number] = _completed(job, result)
    return waiting, returns


def _completed(job: Job, result: Any) -> JobReturn:
    return JobReturn(overrides=list(job.overrides), status=JobStatus.COMPLETED, _return_value=result)


def _collect(journal: Journal, process: "JobProcess") -> JobReturn:
    """The return of a job whose process has ended; its entry is completed where the job could not do that itself."""
    returned: JobReturn | None = process.returned
    job = journal.job(process.job.number) or process.job
    never_began = job.attempt == process.job.attempt
    if returned is not None:
        if returned.status == JobStatus.FAILED and never_began:
            why = in_one_line(result_or_error(returned)).removeprefix(f"{job.words}: ")
            journal.write(job.begun().over(RunStatus.FAILED, why))
        return returned
    if (result := completed_result(journal, job)) is not None:
        return _completed(job, result)
    if never_began:
        job = job.begun()
    if job.status is RunStatus.RUNNING:
        job = job.over(RunStatus.KILLED if process.exit_status < 0 else RunStatus.FAILED, process.exit_reason)
        journal.write(job)
    error = JobError(f"{job.words}: {job.error}")
    return JobReturn(overrides=list(job.overrides), status=JobStatus.FAILED, _return_value=error)


def _stop(journal: Journal, processes: Sequence["JobProcess"]) -> None:
    """Ask running jobs to stop; kill those that do not within `STOP_TIMEOUT`."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(STOP_TIMEOUT)
        finally:  # a second Ctrl-C does not wait
            process.kill()
        _collect(journal, process)


class SweepProgress:
    """Shows how many jobs run, are completed and failed, and the time left.

    Args:
        total: the number of jobs to run.
        n_jobs: the number of jobs at once.
    """

    def __init__(self, total: int, n_jobs: int) -> None:
        self.total, self.n_jobs = total, n_jobs
        self.running = self.done = self.failed = 0
        self._console = Console(highlight=False, markup=False, soft_wrap=True)
        self._dot = "·" if not self._console.options.ascii_only else "|"
        self._first_start: float | None = None
        self._bar: Progress | None = None

    def __enter__(self) -> "SweepProgress":
        if self.total and self._console.is_terminal and not self._console.is_dumb_terminal:
            columns = (
                BarColumn(bar_width=None, complete_style="cyan", finished_style="green"),
                TextColumn("{task.description}", markup=False),
            )
            self._bar = Progress(*columns, console=self._console, auto_refresh=False, expand=True)
            self._bar.add_task("imports, once for all jobs", total=self.total)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self.refresh()
            self._bar.stop()

    def job_started(self) -> None:
        """Count a started job."""
        self.running += 1
        self._first_start = self._first_start or monotonic()

    def job_ended(self, job: Job, returned: JobReturn, log: Path) -> None:
        """Count an ended job and print a line about it; above a bar, only about a failed one."""
        self.running -= 1
        completed = returned.status == JobStatus.COMPLETED
        self.done += completed
        self.failed += not completed
        if completed and self._bar is not None:
            return
        outcome = _score(result_or_error(returned)) if completed else f"{job.error} (see {log})"
        self._console.print(
            self._joined([f"{job.words} {job.status}", outcome, *([] if self._bar else self._counts())])
        )
        sys.stdout.flush()

    def refresh(self) -> None:
        """Redraw the bar."""
        if self._bar is not None:
            self._bar.update(
                self._bar.task_ids[0], completed=self.done + self.failed, description=self._joined(self._counts())
            )
            self._bar.refresh()

    def _counts(self) -> list[str]:
        counts = [f"{self.running} running", f"{self.done}/{self.total} done"]
        return [*counts, *([f"{self.failed} failed"] if self.failed else []), *self._time_left()]

    def _time_left(self) -> list[str]:
        ended = self.done + self.failed
        if not ended or self._first_start is None or ended == self.total:
            return []
        left = (monotonic() - self._first_start) / ended * (self.total - ended)
        return [f"{timedelta(seconds=round(left))} left"]

    def _joined(self, parts: list[str]) -> str:
        return f" {self._dot} ".join(part for part in parts if part)


def _score(result: Any) -> str:
    score = result.get("average_accuracy") if isinstance(result, dict) else None
    return f"average accuracy {100 * score:.1f} %" if isinstance(score, float) else ""
