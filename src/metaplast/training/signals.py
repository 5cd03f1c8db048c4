"""Signals that stop a run: training saves a checkpoint at the end of the batch, and the command says how to resume.

Ctrl-C, SIGTERM (a scheduler), SIGHUP (a closed terminal) and SIGUSR1 (a cluster's warning that time runs out) set a
flag while a run is training with checkpoints; elsewhere they end the process at once.
"""

import os
import shlex
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

from metaplast.config.overrides import quote_path
from metaplast.errors import INTERRUPTED, PIPE_CLOSED, STOPPED_BY, WARNED
from metaplast.runs.directory import has_checkpoint
from metaplast.system import train_command

_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class _Request:
    """A signal that training has yet to answer."""

    is_deferred = False
    """Whether training will answer a signal at the end of a batch."""
    number: int | None = None


_request = _Request()


@contextmanager
def handle_signals(run_dir: Path, requeue: bool = False) -> Iterator[None]:
    """End a run that is stopped from outside by SystemExit with a status of `STOPPED_BY`, after one line on stderr.

    A closed standard output stops a run as well. With `requeue`, a run that SIGUSR1 stops under Slurm, with a
    checkpoint, asks Slurm to start its job again.
    """
    try:
        with exit_on_signals():
            yield
    except (KeyboardInterrupt, SystemExit, BrokenPipeError) as stop:
        status = _status(stop)
        if status is None:
            raise
        with suppress(OSError):  # the terminal is closed
            print(f"Stopped by {STOPPED_BY[status]}. {how_to_resume(run_dir)}", file=sys.stderr, flush=True)
        if requeue and status == WARNED and "SLURM_JOB_ID" in os.environ and has_checkpoint(run_dir):
            _requeue()  # last, since Slurm ends the job for that
        raise SystemExit(status) from stop


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Turn SIGTERM, SIGHUP and SIGUSR1 into SystemExit with 128 + the signal's number.

    Python delivers signals to the main thread; in any other this does nothing. A signal that the process ignores, as
    under `nohup`, stays ignored.
    """
    before = _install(_SIGNALS)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _request.is_deferred, _request.number = False, None


def defer_signals() -> None:
    """From now on only note a signal, Ctrl-C among them, until `stop_deferring`: `stop_requested` tells of it.

    A second Ctrl-C ends the process at once. Does nothing outside `exit_on_signals`.
    """
    if signal.getsignal(_SIGNALS[0]) is not signal.SIG_DFL and _install((*_SIGNALS, signal.SIGINT)):
        _request.is_deferred = True


def stop_deferring() -> None:
    """Let signals end the process at once again."""
    if _request.is_deferred:
        _request.is_deferred = False
        if signal.getsignal(signal.SIGINT) is _on_signal:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def stop_requested() -> bool:
    """Whether a signal was noted since `defer_signals`."""
    return _request.number is not None


def exit_as_requested() -> NoReturn:
    """End the process as the noted signal asks."""
    number, _request.number = _request.number, None
    stop_deferring()
    raise KeyboardInterrupt if number in (None, signal.SIGINT) else SystemExit(128 + number)


def stopped_by(error: BaseException) -> str | None:
    """What stopped a run that ended by `error`, such as "SIGTERM"; None where `error` is a failure of its own.

    Lightning answers Ctrl-C by a SystemExit of its own, whose context is the KeyboardInterrupt.
    """
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return STOPPED_BY[INTERRUPTED]
    return STOPPED_BY.get(error.code) if isinstance(error, SystemExit) and isinstance(error.code, int) else None


def _install(numbers: tuple[signal.Signals, ...]) -> dict[signal.Signals, signal.Handlers]:
    """Handle `numbers` here, but for those that the process ignores; return the handlers that were there."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    before = {number: signal.getsignal(number) for number in numbers}
    handled = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    for number in handled:
        signal.signal(number, _on_signal)
    return {number: handler or signal.SIG_DFL for number, handler in handled.items()}  # type: ignore[misc]


def _on_signal(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGHUP:
        _leave_terminal()
    if _request.is_deferred and _request.number is None:
        _request.number = number
    elif number == signal.SIGINT:
        raise KeyboardInterrupt
    elif not _request.is_deferred:  # service managers send SIGTERM and SIGHUP together
        raise SystemExit(128 + number)


def _leave_terminal() -> None:
    """Send what is still printed to a terminal, which is closed and would answer by errors, to nowhere."""
    for stream in (1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(stream).st_mode):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream)
                os.close(nowhere)


def _status(stop: BaseException) -> int | None:
    """The exit status for `stop`; None where nothing outside asked for it, such as a broken pipe of W&B's."""
    if isinstance(stop, BrokenPipeError):
        return PIPE_CLOSED if _is_closed(sys.stdout) else None
    name = stopped_by(stop)
    return next((status for status, stopper in STOPPED_BY.items() if stopper == name), None)


def _is_closed(stream: TextIO) -> bool:
    """Whether `stream` has no reader any more, found by writing to it."""
    try:
        print(file=stream, flush=True)
    except BrokenPipeError:
        return True
    return False


def _requeue() -> None:
    """Ask Slurm to run this job again; a task of an array is ARRAY_TASK."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK"))
    job = f"{array}_{task}" if array and task else os.environ["SLURM_JOB_ID"]
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"scontrol requeue {job} failed: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
    else:
        print(f"Slurm starts job {job} again.", file=sys.stderr, flush=True)


def how_to_resume(run_dir: Path) -> str:
    """The sentence that says how the run in `run_dir` goes on."""
    if not has_checkpoint(run_dir):
        return "There is no checkpoint to resume from yet."
    shown = run_dir.relative_to(Path.cwd()) if run_dir.is_relative_to(Path.cwd()) else run_dir
    return f"To resume: {train_command()} {shlex.quote(f'resume={quote_path(shown)}')}"
