"""A sweep as a whole: opening its directory, finding it again for `resume=true`, its report and its exit status."""

import logging
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from metaplast.config.overrides import override_key
from metaplast.errors import PIPE_CLOSED, JobError, UserError
from metaplast.io import acquire_lock, lock_holder
from metaplast.runs.directory import lock_run_dir
from metaplast.runs.journal import Job, Journal, now
from metaplast.runs.names import METRICS, SWEEP, SWEEP_LOCK
from metaplast.runs.summary import RunStatus
from metaplast.system import flush_stdout
from metaplast.training.signals import exit_on_signals

if TYPE_CHECKING:
    from filelock import BaseFileLock

SWEEPS = Path("outputs") / "multirun"
"""Where sweeps are unless hydra.sweep.dir says otherwise (conf/train.yaml)."""

log = logging.getLogger(__name__)


@dataclass
class _ActiveSweep:
    journal: Journal
    lock: "BaseFileLock"
    """Held while the command that runs the sweep lives."""
    numbers: Sequence[int]
    """The jobs that are known from the start; none where a sweeper makes them up."""
    started: str
    """When this command started (ISO 8601, UTC)."""

    def includes(self, job: Job) -> bool:
        """Whether this command was to run `job`, not an earlier one in the same directory."""
        return job.number in self.numbers if self.numbers else (job.started or "") >= self.started


_active: list[_ActiveSweep] = []
"""The sweep of this process. Hydra makes its callbacks itself, so the command cannot pass one to them."""


def defining_overrides(overrides: Sequence[str]) -> list[str]:
    """The overrides that identify a sweep: not its launcher, its directory or `resume`.

    >>> defining_overrides(["m=0,1", "resume=true", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"])
    ['m=0,1']
    """
    changeable = r"resume$|trust$|hydra/launcher$|hydra\.launcher\.|hydra\.sweep\.dir$|hydra\.mode$"
    return [override for override in overrides if not re.match(changeable, override_key(override))]


def find_sweep(overrides: Sequence[str], sweep_dir: Path | None) -> Path:
    """Return the directory of the sweep to resume: `sweep_dir`, or else the newest one with these overrides.

    Raises UserError where there is none, or where the one in `sweep_dir` was started with other overrides.
    """
    wanted = defining_overrides(overrides)
    shown = " ".join(wanted) or "no settings"
    if sweep_dir is not None:
        about = Journal(sweep_dir).about()
        if "overrides" not in about:
            raise UserError(f"resume=true: there is no sweep in hydra.sweep.dir={sweep_dir} (it would hold {SWEEP})")
        if (had := defining_overrides(about["overrides"])) != wanted:
            raise UserError(f"resume=true: the sweep in {sweep_dir} is -m {' '.join(had)}, not {shown}")
        return sweep_dir.absolute()
    found = [
        (about.get("started", ""), path.parent)
        for path in SWEEPS.glob(f"*/*/{SWEEP}")
        if defining_overrides((about := Journal(path.parent).about()).get("overrides", [])) == wanted
    ]
    if not found:
        raise UserError(
            f"resume=true: no sweep in {SWEEPS} was started with {shown}; give the same settings, or hydra.sweep.dir="
        )
    return max(found)[1].absolute()


def open_sweep(sweep_dir: Path, overrides: Sequence[str], jobs: Sequence[Job], resumed: bool) -> None:
    """Lock the sweep in `sweep_dir` for this process, and write its journal, or check that of a resumed one.

    `jobs` are those known from the start: none where a sweeper makes them up. Raises UserError where another process
    has the sweep, or where the jobs differ from those in the journal.
    """
    try:
        lock, journal = acquire_lock(sweep_dir / SWEEP_LOCK), Journal(sweep_dir)
    except OSError as error:
        raise UserError(f"{sweep_dir}: cannot be locked: {error}") from error
    if lock is None:
        holder = lock_holder(sweep_dir / SWEEP_LOCK)
        raise UserError(f"{sweep_dir}: {holder} is running this sweep; wait for it, or end it first")
    known = {job.number: job for job in journal.jobs()} if resumed else {}
    for job in jobs:
        before = known.get(job.number)
        if before is not None and (before.overrides, before.directory) != (list(job.overrides), job.directory):
            raise UserError(f"resume=true: {before.words} of the sweep in {sweep_dir} is now {job.words}")
    if not resumed:
        journal.begin(overrides)
    for job in jobs:
        if job.number not in known:
            journal.write(job)
    _active.append(_ActiveSweep(journal, lock, [job.number for job in jobs], now()))


@contextmanager
def finalize_sweep() -> Iterator[None]:
    """Report on a sweep that is opened inside, however it ends. Raises JobError where a job did not complete."""
    try:
        with exit_on_signals():
            yield
    except BrokenPipeError:
        raise
    except Exception as error:
        if (failures := _finalize()) is None:
            raise
        if not isinstance(error, JobError):
            failures += f"; the launcher ended by {type(error).__name__}: {' '.join(str(error).split())}"
        raise JobError(failures) from None
    except (KeyboardInterrupt, SystemExit):
        if (failures := _finalize(stopped=True)) is not None:
            print(f"Stopped: {failures}", file=sys.stderr)
        raise
    else:
        if (failures := _finalize()) is not None:
            raise JobError(failures)
    finally:
        for sweep in _active:
            sweep.lock.release()
        _active.clear()


def _finalize(stopped: bool = False) -> str | None:
    """Complete the journal and report; return what failed, None where there is no sweep or all jobs completed."""
    if not _active:
        return None
    sweep = _active[-1]
    journal = sweep.journal
    jobs = [job for job in journal.jobs() if sweep.includes(job)]
    for index, job in enumerate(jobs):
        if job.status is RunStatus.RUNNING and not _is_running(journal.sweep_dir / job.directory):
            jobs[index] = job.over(RunStatus.KILLED, "killed, and could not say by what")
            journal.write(jobs[index])
    began = (journal.sweep_dir / job.directory for job in jobs if job.attempt)
    if any((run_dir / METRICS).exists() or not stopped for run_dir in began):
        _report(journal.sweep_dir)
    return describe_failures(jobs, "with resume=true the same command" if sweep.numbers else "the same command")


def describe_failures(jobs: Sequence[Job], remedy: str) -> str | None:
    """How many jobs did not complete, the first error, and what runs the rest; None where all completed.

    >>> describe_failures([Job(0, ["m=0"], "0", "m=0", RunStatus.COMPLETED),
    ...                    Job(1, ["m=1"], "1", "m=1", RunStatus.FAILED, "ValueError: no"),
    ...                    Job(2, ["m=2"], "2", "m=2")], "it")
    '1 of 3 jobs failed and 1 did not start; first job 1 (m=1): ValueError: no; it runs what is missing'
    """
    left = [job for job in jobs if job.status is not RunStatus.COMPLETED]
    if not left:
        return None
    tried = [job for job in left if job.status is not RunStatus.QUEUED]
    counts = [f"{len(tried)} of {len(jobs)} jobs failed"] if tried else []
    if len(left) > len(tried):
        counts.append(f"{len(left) - len(tried)}{'' if tried else f' of {len(jobs)} jobs'} did not start")
    first = f"; first {tried[0].words}: {tried[0].error or tried[0].status}" if tried else ""
    return f"{' and '.join(counts)}{first}; {remedy} runs what is missing"


def _is_running(run_dir: Path) -> bool:
    """Whether a process holds the directory of a job that did not write how it ended."""
    if not run_dir.is_dir():
        return False
    try:
        with lock_run_dir(run_dir):
            return False
    except UserError:
        return True


def _report(sweep_dir: Path) -> None:
    """Report on the sweep in a fork of its server, if it has one, where the imports, seconds of them, are done."""
    from metaplast.sweep.process import run_in_forkserver

    status = run_in_forkserver(_report_and_exit, sweep_dir)
    if status is None:
        _report_here(sweep_dir)
    elif status > 0:  # standard output is closed: Rich ends a process with 1 then, we with PIPE_CLOSED
        raise SystemExit(status)
    elif status < 0:
        log.error("The report of %s was killed by signal %d; scripts/report.py makes it again", sweep_dir, -status)


def _report_and_exit(sweep_dir: Path) -> None:
    """Report, and end this process with a status that says whether standard output was closed."""
    try:
        _report_here(sweep_dir)
        sys.stdout.flush()
    except BrokenPipeError:
        flush_stdout()
        raise SystemExit(PIPE_CLOSED) from None


def _report_here(sweep_dir: Path) -> None:
    from metaplast.report.report import report_sweep

    try:
        print(f"page: {report_sweep([sweep_dir])}", flush=True)
    except UserError as error:
        log.error("%s", error)
    except BrokenPipeError:
        raise
    except Exception:  # the runs are done; a figure that fails must not decide how the sweep ended
        log.exception("The report of %s failed; scripts/report.py makes it again", sweep_dir)
