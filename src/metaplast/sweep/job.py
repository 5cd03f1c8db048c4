"""A job of a sweep, in whatever process its launcher runs it: it writes its journal entry, and runs or resumes."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from metaplast.config.overrides import TYPED_NOW, override_key
from metaplast.config.validate import check, warnings
from metaplast.errors import STOPPED_BY, JobError, UserError
from metaplast.runs.directory import has_checkpoint, lock_run_dir, saved_config
from metaplast.runs.journal import Job, Journal
from metaplast.runs.summary import RunStatus, read_summary
from metaplast.runs.untrusted import names_trusted, targets_in
from metaplast.training.signals import handle_signals, stopped_by

LOCK_TIMEOUT = 120.0
"""Seconds that a resumed job waits for its directory: a job of a killed launcher has 90 s to end by itself."""

log = logging.getLogger(__name__)


def run_in_sweep(task: Callable[[DictConfig, Path], Any], config: DictConfig, hydra: HydraConf) -> Any:
    """Run `task` as job `hydra.job.num` of the sweep in `hydra.sweep.dir`, and return its result.

    A completed job is not run again; one that left a checkpoint is resumed. Raises JobError for whatever fails in a
    job, `sys.exit` included; SystemExit where it is stopped from outside.
    """
    run_dir, journal = Path(hydra.runtime.output_dir), Journal(Path(hydra.sweep.dir))
    job = journal_entry(journal, _job_of(hydra, run_dir))
    if (result := completed_result(journal, job)) is not None:
        return result
    timeout = LOCK_TIMEOUT if job.attempt else 0
    try:
        with handle_signals(run_dir), lock_run_dir(run_dir, timeout):
            if (result := completed_result(journal, job)) is not None:  # by the process that had the directory
                return result
            with _recorded(journal, job):
                config = _with_resume(config, run_dir)
                check_again(config)
                return task(config, run_dir)
    except SystemExit as stop:
        if stop.code in STOPPED_BY:
            raise
        raise JobError(f"{job.words}: {in_one_line(stop)}") from stop
    except Exception as error:
        log.error("%s failed: %s", job.words, error, exc_info=None if isinstance(error, UserError) else error)
        raise JobError(f"{job.words}: {in_one_line(error)}") from error


def check_again(config: DictConfig) -> None:
    """Check a configuration in its run, since some sweepers make up values, and log the warnings about it."""
    check(config)
    for warning in warnings(config):
        log.warning(warning)


def completed_result(journal: Journal, job: Job) -> Any:
    """The result of a completed job, None for any other; a journal that missed the end of the job is corrected."""
    result = read_summary(journal.sweep_dir / job.directory)
    if result.get("status") in (RunStatus.COMPLETED, RunStatus.PRUNED):  # what a search pruned is not resumed
        if job.status is not RunStatus.COMPLETED:  # killed between the two
            journal.write(job.over(RunStatus.COMPLETED))
        return result
    return {} if job.status is RunStatus.COMPLETED else None


def in_one_line(error: BaseException) -> str:
    """The text of an error in one line, after its type unless it is a user error."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError | JobError) else f"{type(error).__name__}: {text}".rstrip(": ")


def journal_entry(journal: Journal, job: Job) -> Job:
    """The entry in the journal with the number of `job`; `job` itself where there is none.

    Raises JobError where the journal has that number with other overrides.
    """
    known = journal.job(job.number)
    if known is not None and _identity(known.overrides) != _identity(job.overrides):
        raise JobError(f"{known.words}: is already in this sweep, expected {' '.join(job.overrides)}")
    return known or job


def _identity(overrides: Sequence[str]) -> list[str]:
    """The overrides that define a job: not whether it is resumed, nor its share of the CPUs."""
    return [override for override in overrides if override_key(override) not in (*TYPED_NOW, "trainer.threads")]


def _job_of(hydra: HydraConf, run_dir: Path) -> Job:
    """The job that Hydra is running, as a new entry: the journal lacks those that another sweeper makes up."""
    overrides = [override for override in hydra.overrides.task if override_key(override) not in TYPED_NOW]
    return Job(hydra.job.num, overrides, os.path.relpath(run_dir, hydra.sweep.dir), " ".join(overrides))


@contextmanager
def _recorded(journal: Journal, job: Job) -> Iterator[None]:
    """Write the start and the end of the job into the journal."""
    begun = job.begun()
    journal.write(begun)
    try:
        yield
    except BaseException as error:
        by = stopped_by(error)
        status, why = (RunStatus.KILLED, f"stopped by {by}") if by else (RunStatus.FAILED, in_one_line(error))
        journal.write(begun.over(status, why))
        raise
    journal.write(begun.over(RunStatus.COMPLETED))


def _with_resume(config: DictConfig, run_dir: Path) -> DictConfig:
    """The configuration to run with: the saved one of an interrupted run with a checkpoint, else `config`."""
    if has_checkpoint(run_dir):
        trust = names_trusted(config.get("trust"))
        typed = targets_in(OmegaConf.to_container(config, resolve=False))  # by the command that resumes the sweep
        saved = saved_config(run_dir, str(run_dir), {*trust, *typed})
        saved["resume"], saved["trust"] = str(run_dir), config.get("trust")
        return saved
    with read_write(config), open_dict(config):
        config.resume = None
    return config
