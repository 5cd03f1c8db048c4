"""Our Hydra launcher, `hydra/launcher=local`: the jobs of a sweep side by side on this machine, each in a process.

    command ── warm parent ─┬─ job 3     a job that is killed, or ends its process, is one job lost
               (imports)    └─ job 4

The warm parent (Python's `forkserver`) pays the imports once, before the first job; every job is a fork of it. It stays
for all calls of `launch`, since sweepers that search call it many times.
"""

import logging
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from metaplast.config.overrides import key_of
from metaplast.errors import JobError
from metaplast.runs.journal import Job, Journal, queued
from metaplast.runs.status import RunStatus
from metaplast.sweep.job import entry, in_a_line, result_of
from metaplast.system import gpus, jobs_at_once

if TYPE_CHECKING:  # a third of a second, which a refused command need not wait for
    from metaplast.sweep.process import Worker

GRACE = 60.0
"""Seconds that jobs have to write their last files, once they are asked to stop."""

BRIDGE = "metaplast.strategies.bridge"
"""What a run imports besides, where its strategy has plugins."""

log = logging.getLogger(__name__)


class LocalLauncher(Launcher):
    """Runs jobs side by side in processes of their own.

    Args:
        n_jobs: how many at once, >= 1; None: as many as there are cores.
        imports: modules that the warm parent imports; they may start neither threads nor CUDA.
    """

    config: DictConfig
    task_function: TaskFunction
    hydra_context: HydraContext

    def __init__(self, n_jobs: int | None = None, imports: Sequence[str] = ()) -> None:
        self.n_jobs, self.imports = jobs_at_once(n_jobs), list(imports)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands over, and let the warm parent begin its imports while the jobs are composed."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        from metaplast.sweep.process import warm_up

        with_plugins = OmegaConf.select(config, "strategy.plugins")
        warm_up([*self.imports, *([BRIDGE] if with_plugins and self.imports else [])])

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs `initial_job_idx` and on; those that the journal calls completed are answered from it.

        A job that failed or was killed comes back as FAILED with a JobError. What stops this process stops the jobs.
        """
        from metaplast.sweep.process import Worker, pickled, wait_for_any
        from metaplast.sweep.progress import SweepView

        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        journal = Journal(Path(str(self.config.hydra.sweep.dir)))
        common = pickled(self.hydra_context, self.config, self.task_function, Singleton.get_state())
        returns: dict[int, JobReturn] = {}
        waiting: deque[Job] = deque()
        for new in _entries(job_overrides, initial_job_idx):
            job = entry(journal, new)
            if job is new:
                journal.write(job)
            result = result_of(journal, job)
            if result is None:
                waiting.append(job)
            else:
                returns[job.number] = _answer(job, result)
        if returns:
            log.info("%d of %d jobs are completed already", len(returns), len(job_overrides))
        numbers = range(initial_job_idx, initial_job_idx + len(job_overrides))
        overrides_of = dict(zip(numbers, job_overrides, strict=True))
        devices = gpus()
        running: dict[int, Worker] = {}
        with SweepView(len(waiting), self.n_jobs) as view:
            try:
                while waiting or running:
                    while waiting and len(running) < self.n_jobs:
                        job = waiting.popleft()
                        slot = next(slot for slot in range(self.n_jobs) if slot not in running)
                        device = devices[slot % len(devices)] if devices else None
                        running[slot] = Worker(job, common, overrides_of[job.number], journal.log(job.number), device)
                        view.started()
                    for slot in wait_for_any(running):
                        worker = running.pop(slot)
                        returns[worker.job.number] = ended = _returned(journal, worker)
                        view.ended(journal.job(worker.job.number) or worker.job, ended, journal.log(worker.job.number))
                    view.refresh()
            finally:
                _stop(journal, list(running.values()))
        return [returns[number] for number in numbers]


def _entries(job_overrides: Sequence[Sequence[str]], first: int) -> list[Job]:
    """The entries of jobs that a sweeper makes up, with the directory that a job has by default."""
    settings = [[o for o in filter_overrides(overrides) if key_of(o) != "resume"] for overrides in job_overrides]
    return queued({str(number): overrides for number, overrides in enumerate(settings, first)}, first)


def _answer(job: Job, result: Any) -> JobReturn:
    return JobReturn(overrides=list(job.overrides), status=JobStatus.COMPLETED, _return_value=result)


def _returned(journal: Journal, worker: "Worker") -> JobReturn:
    """What came of a job whose process has ended; its journal is closed where it did not do that itself."""
    returned: JobReturn | None = worker.returned
    job = journal.job(worker.job.number) or worker.job
    if returned is not None:
        if returned.status == JobStatus.FAILED and job.attempt == worker.job.attempt:  # as below
            why = in_a_line(returned._return_value).removeprefix(f"{job.words}: ")
            journal.write(job.begun().over(RunStatus.FAILED, why))
        return returned
    if (result := result_of(journal, job)) is not None:
        return _answer(job, result)
    if job.attempt == worker.job.attempt:  # it did not come to write that it starts
        job = job.begun()
    if job.status is RunStatus.RUNNING:
        job = job.over(RunStatus.KILLED if worker.exit_status < 0 else RunStatus.FAILED, worker.how_it_ended)
        journal.write(job)
    error = JobError(f"{job.words}: {job.error}")
    return JobReturn(overrides=list(job.overrides), status=JobStatus.FAILED, _return_value=error)


def _stop(journal: Journal, workers: Sequence["Worker"]) -> None:
    """End jobs that still run: by asking, then by force."""
    for worker in workers:
        worker.ask_to_stop()
    for worker in workers:
        try:
            worker.wait(GRACE)
        finally:  # a second Ctrl-C does not wait
            worker.kill()
        _returned(journal, worker)
