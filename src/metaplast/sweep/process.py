"""The process of a job, forked from a fork server that has the imports: the command's end of it and the job's.

A fork is safe as long as the server has started no OpenMP thread and no CUDA: it imports, and computes nothing.
"""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Any

from metaplast.private_api import has_forkserver
from metaplast.runs.journal import Job

POLL_SECONDS = 0.5
"""Between two looks at jobs that send nothing."""
ORPHAN_TIMEOUT = 90.0
"""Seconds that a job has to end by itself after the command that started it is gone."""


def preload(imports: Sequence[str]) -> None:
    """Start the fork server, unless it runs, without waiting for its `imports`."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(imports))
    before = os.environ.get("PYTHONPATH")
    # The server finds modules as this process does; by itself it would not know the folder of the script.
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def run_in_forkserver(function: Callable[..., None], *arguments: Any) -> int | None:
    """Call `function` in a fork of the server, which has its imports; None where no server runs.

    Returns the exit status: 0 once it has returned. `function` and its arguments are pickled.
    """
    if not has_forkserver():
        return None
    process = _fork(function, *arguments, daemon=True)
    process.join()
    return process.exitcode


def pickled(*values: Any) -> bytes:
    """Pickle `values`, functions of the user's script included."""
    import cloudpickle

    pickle: bytes = cloudpickle.dumps(values)
    return pickle


class JobProcess:
    """The process of a job, as the command sees it.

    Args:
        job: its journal entry, before it starts.
        common: the pickled context, configuration, function and Hydra's singletons, the same for all jobs.
        overrides: what Hydra composes the job from.
        output: the file that its standard output and standard error are appended to.
        gpu: the GPU that it sees; None: all of them.
    """

    def __init__(self, job: Job, common: bytes, overrides: Sequence[str], output: Path, gpu: str | None) -> None:
        self.job = job
        self.returned: Any = None
        """The JobReturn; None where the process ended without one."""
        self.receiver, sender = multiprocessing.Pipe(duplex=False)
        name = f"job-{job.number}"
        self._process = _fork(_run_job, sender, common, job.number, list(overrides), output, gpu, name=name)
        sender.close()

    @property
    def is_done(self) -> bool:
        """Whether the process has ended; its exit code alone does not tell, since the fork server may be dead."""
        if not self.receiver.closed and self.receiver.poll():
            try:
                import cloudpickle

                self.returned = cloudpickle.loads(self.receiver.recv_bytes())
                return False  # it is about to end
            except EOFError:
                self.receiver.close()
        if self.receiver.closed:
            return True
        return self._process.exitcode is not None and not _is_alive(self._process.pid)

    @property
    def exit_status(self) -> int:
        """The negative number of a signal, or the exit status; 255 where it is unknown."""
        self._process.join(timeout=10)
        return 255 if self._process.exitcode is None else self._process.exitcode

    @property
    def exit_reason(self) -> str:
        """Why there is no result."""
        status = self.exit_status
        if status < 0:
            return f"killed by {signal.Signals(-status).name}"
        return f"ended its process with status {status}"

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL, unless the process has ended."""
        if not self.is_done:
            self._signal(signal.SIGKILL)
            self.wait(10)

    def wait(self, seconds: float) -> None:
        """Wait until the process has ended, at most `seconds`."""
        end = time.monotonic() + seconds
        while not self.is_done and time.monotonic() < end:
            wait([self.receiver], timeout=POLL_SECONDS)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.pid is not None and not self.is_done:
            os.kill(self._process.pid, number)


def wait_for_any(running: Mapping[int, JobProcess]) -> list[int]:
    """Wait, at most `POLL_SECONDS`, and return the keys of the processes that have ended."""
    wait([process.receiver for process in running.values()], timeout=POLL_SECONDS)
    return [key for key, process in running.items() if process.is_done]


def _fork(function: Callable[..., None], *arguments: Any, **settings: Any) -> BaseProcess:
    """Start a fork of the server that calls `function`; `settings` are those of `multiprocessing.Process`."""
    process = multiprocessing.get_context("forkserver").Process(target=function, args=arguments, **settings)
    with _without_main():
        process.start()
    return process


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide the script, which multiprocessing would run again in every child; the job's function is pickled by value."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _is_alive(pid: int | None) -> bool:
    try:
        os.kill(pid or 0, 0)
    except ProcessLookupError:
        return False
    return True


def _run_job(
    sender: Connection, common: bytes, number: int, overrides: list[str], output: Path, gpu: str | None
) -> None:
    """Run a job in this process, and send its JobReturn to the command."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # a terminal sends Ctrl-C to all its processes; the command passes it on
    _redirect_output(output)
    threading.Thread(target=_end_with_command, daemon=True).start()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    import cloudpickle
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.singleton import Singleton
    from hydra.core.utils import run_job, setup_globals
    from omegaconf import open_dict

    setup_globals()
    hydra_context, config, task_function, singletons = cloudpickle.loads(common)
    Singleton.set_state(singletons)
    job_config = hydra_context.config_loader.load_sweep_config(config, overrides)
    with open_dict(job_config):
        job_config.hydra.job.num, job_config.hydra.job.id = number, str(number)
    HydraConfig.instance().set_config(job_config)
    returned = run_job(
        hydra_context=hydra_context,
        task_function=task_function,
        config=job_config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
    sender.send_bytes(cloudpickle.dumps(returned))
    logging.shutdown()


def _redirect_output(output: Path) -> None:
    """Append what this process prints, and what libraries in it write without Python, to a file."""
    output.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.close(file)


def _end_with_command() -> None:
    """End this process by SIGTERM once the command is gone: it saves a checkpoint, for resume=true."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(ORPHAN_TIMEOUT)
        os._exit(1)
