"""A run that is stopped from outside says how to go on, and ends with the status that shells expect."""

import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TextIO

from metaplast.config.overrides import quote_path
from metaplast.errors import INTERRUPTED, PIPE_CLOSED, TERMINATED
from metaplast.runs.directory import has_checkpoint


@contextmanager
def stoppable(run_dir: Path) -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM and a closed standard output into SystemExit with 130, 143 or 141, after one line on stderr.

    Lightning answers Ctrl-C by a SystemExit of its own, whose context is the KeyboardInterrupt.
    """
    try:
        with terminable():
            yield
    except (KeyboardInterrupt, SystemExit, BrokenPipeError) as stop:
        status = _status(stop)
        if status is None:
            raise
        print(f"Stopped. {_way_on(run_dir)}", file=sys.stderr)
        raise SystemExit(status) from stop


@contextmanager
def terminable() -> Iterator[None]:
    """Turn SIGTERM into SystemExit with 143, as far as this is the thread that signals reach."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _terminate) if in_main_thread else None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise SystemExit(TERMINATED)


def _status(stop: BaseException) -> int | None:
    """Return the exit status for `stop`, None where nobody outside asked for it, such as a pipe of W&B's that broke."""
    if isinstance(stop, BrokenPipeError):
        return PIPE_CLOSED if _is_closed(sys.stdout) else None
    if isinstance(stop, KeyboardInterrupt) or isinstance(stop.__context__, KeyboardInterrupt):
        return INTERRUPTED
    return TERMINATED if isinstance(stop, SystemExit) and stop.code == TERMINATED else None


def _is_closed(stream: TextIO) -> bool:
    """Tell whether nobody reads `stream`, by writing to it once more."""
    try:
        print(file=stream, flush=True)
    except BrokenPipeError:
        return True
    return False


def _way_on(run_dir: Path) -> str:
    if not has_checkpoint(run_dir):
        return "There is no checkpoint yet, so there is nothing to go on from."
    shown = run_dir.relative_to(Path.cwd()) if run_dir.is_relative_to(Path.cwd()) else run_dir
    return f"To go on: python src/train.py {shlex.quote(f'resume={quote_path(shown)}')}"
