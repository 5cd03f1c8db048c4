"""A job of a sweep, in whatever process its launcher runs it: it keeps the journal, and does what is left to do."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from metaplast.config.overrides import TYPED_NOW, key_of
from metaplast.config.validate import check, warnings
from metaplast.errors import INTERRUPTED, PIPE_CLOSED, TERMINATED, JobError, UserError
from metaplast.runs.directory import has_checkpoint, lock_run_dir, saved_config
from metaplast.runs.journal import Job, Journal
from metaplast.runs.status import RunStatus
from metaplast.runs.summary import read_summary
from metaplast.runs.untrusted import names_trusted, targets_in
from metaplast.training.signals import stoppable

STOPPED = {INTERRUPTED: "Ctrl-C", TERMINATED: "SIGTERM", PIPE_CLOSED: "a closed pipe"}
PATIENCE = 60.0
"""Seconds that a job waits for its directory: a process that a killed launcher left there may still be ending."""

log = logging.getLogger(__name__)


def run_in_sweep(task: Callable[[DictConfig, Path], Any], config: DictConfig, hydra: HydraConf) -> Any:
    """Run `task` as job `hydra.job.num` of the sweep in `hydra.sweep.dir`, and return what it returns.

    A job that the journal calls completed is not run again; one that left a checkpoint goes on from it. Raises JobError
    for whatever a job dies of, `sys.exit` included; SystemExit where it is stopped from outside.
    """
    run_dir, journal = Path(hydra.runtime.output_dir), Journal(Path(hydra.sweep.dir))
    job = entry(journal, _of(hydra, run_dir))
    if (result := result_of(journal, job)) is not None:
        return result
    try:
        with stoppable(run_dir), lock_run_dir(run_dir, PATIENCE if job.attempt else 0), _recorded(journal, job):
            config = _continued(config, run_dir)
            check(config)  # once more, for the jobs of sweepers that make up their values
            for warning in warnings(config):
                log.warning(warning)
            return task(config, run_dir)
    except SystemExit as stop:
        if stop.code in STOPPED:
            raise
        raise JobError(f"{job.words}: {in_a_line(stop)}") from stop
    except Exception as error:
        log.error("%s failed: %s", job.words, error, exc_info=None if isinstance(error, UserError) else error)
        raise JobError(f"{job.words}: {in_a_line(error)}") from error


def result_of(journal: Journal, job: Job) -> Any:
    """What a completed job returned, None where it is not completed; the journal is mended if it did not hear of it."""
    result = read_summary(journal.sweep_dir / job.directory)
    if result.get("status") in (RunStatus.COMPLETED, RunStatus.PRUNED):  # what a search pruned is not resumed
        if job.status is not RunStatus.COMPLETED:  # killed between the two
            journal.write(job.over(RunStatus.COMPLETED))
        return result
    return {} if job.status is RunStatus.COMPLETED else None


def in_a_line(error: BaseException) -> str:
    """Say an error in a line, with its kind unless it is one of the user's."""
    said = " ".join(str(error).split())
    return said if isinstance(error, UserError | JobError) else f"{type(error).__name__}: {said}".rstrip(": ")


def told(overrides: Sequence[str]) -> list[str]:
    """The overrides that make a job what it is: not that it goes on, nor what share of the cores it has."""
    return [override for override in overrides if key_of(override) not in (*TYPED_NOW, "trainer.threads")]


def entry(journal: Journal, job: Job) -> Job:
    """The entry in the journal with the number of `job`; `job` itself where there is none.

    Raises JobError where that number is known with other overrides.
    """
    known = journal.job(job.number)
    if known is not None and told(known.overrides) != told(job.overrides):
        raise JobError(f"{known.words}: is already in this sweep, and was now to run with {' '.join(job.overrides)}")
    return known or job


def _of(hydra: HydraConf, run_dir: Path) -> Job:
    """The job that Hydra is running, as new: the journal does not know it where another sweeper made it up."""
    overrides = [override for override in hydra.overrides.task if key_of(override) not in TYPED_NOW]
    directory = os.path.relpath(run_dir, hydra.sweep.dir)
    return Job(hydra.job.num, overrides, directory, " ".join(overrides))


@contextmanager
def _recorded(journal: Journal, job: Job) -> Iterator[None]:
    """Write into the journal that the job starts, and how it ends."""
    begun = job.begun()
    journal.write(begun)
    try:
        yield
    except BaseException as error:
        by = _stopped_by(error)
        status, why = (RunStatus.KILLED, f"stopped by {by}") if by else (RunStatus.FAILED, in_a_line(error))
        journal.write(begun.over(status, why))
        raise
    journal.write(begun.over(RunStatus.COMPLETED))


def _stopped_by(error: BaseException) -> str | None:
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return STOPPED[INTERRUPTED]
    return STOPPED.get(error.code) if isinstance(error, SystemExit) and isinstance(error.code, int) else None


def _continued(config: DictConfig, run_dir: Path) -> DictConfig:
    """The configuration to run with: the one that the run in `run_dir` was cut with, if it left a checkpoint."""
    if has_checkpoint(run_dir):
        trust = names_trusted(config.get("trust"))
        typed = targets_in(OmegaConf.to_container(config, resolve=False))  # by the command that goes on with the sweep
        saved = saved_config(run_dir, str(run_dir), {*trust, *typed})
        saved["resume"], saved["trust"] = str(run_dir), config.get("trust")
        return saved
    with read_write(config), open_dict(config):
        config.resume = None
    return config
