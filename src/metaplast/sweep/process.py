"""One job in a process of its own, forked from the warm parent; both of its ends, the command's and the process's.

A fork is safe as long as the parent has started no OpenMP thread and no CUDA: it imports, and computes nothing.
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

from metaplast.runs.journal import Job

TICK = 0.5
"""Seconds between two looks at jobs that say nothing."""
LAUNCHER_DIED = 90.0
"""Seconds that a job has to end by itself after the command that started it is gone."""


def warm_up(imports: Sequence[str]) -> None:
    """Start the warm parent, unless it is there, without waiting for its `imports`."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(imports))
    before = os.environ.get("PYTHONPATH")
    # The parent finds modules as this process does; by itself it would not know the folder of the script.
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def in_warm_fork(function: Callable[..., None], *arguments: Any) -> int | None:
    """Call `function` in a fork of the warm parent, which has its imports; None where there is no such parent.

    Returns the exit status: 0 once it has returned. `function` and its arguments are pickled.
    """
    if getattr(forkserver._forkserver, "_forkserver_alive_fd", None) is None:
        return None
    process = _forked(function, *arguments, daemon=True)
    process.join()
    return process.exitcode


def pickled(*values: Any) -> bytes:
    """Pickle `values`, functions of the user's script included."""
    import cloudpickle

    pickle: bytes = cloudpickle.dumps(values)
    return pickle


class Worker:
    """A job's process, as the command sees it.

    Args:
        job: its entry in the journal, before it starts.
        common: the pickled context, configuration, function and Hydra's singletons, the same for all jobs.
        overrides: what Hydra composes the job from.
        output: the file that its standard output and standard error are added to.
        gpu: the GPU it sees, None for all of them.
    """

    def __init__(self, job: Job, common: bytes, overrides: Sequence[str], output: Path, gpu: str | None) -> None:
        self.job = job
        self.returned: Any = None
        """The JobReturn; None where the process ended without one."""
        self.receiver, sender = multiprocessing.Pipe(duplex=False)
        name = f"job-{job.number}"
        self._process = _forked(_work, sender, common, job.number, list(overrides), output, gpu, name=name)
        sender.close()

    @property
    def over(self) -> bool:
        """Whether the process has ended, whatever the warm parent, which may be dead, says of it."""
        if not self.receiver.closed and self.receiver.poll():
            try:
                import cloudpickle

                self.returned = cloudpickle.loads(self.receiver.recv_bytes())
                return False  # it is on its way out
            except EOFError:
                self.receiver.close()
        if self.receiver.closed:
            return True
        return self._process.exitcode is not None and not _lives(self._process.pid)

    @property
    def exit_status(self) -> int:
        """As Python has it: a negative signal, or the status."""
        self._process.join(timeout=10)
        return 255 if self._process.exitcode is None else self._process.exitcode

    @property
    def how_it_ended(self) -> str:
        """Why there is no result, in words."""
        status = self.exit_status
        if status < 0:
            return f"killed by {signal.Signals(-status).name}"
        return f"ended its process with status {status}"

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL, unless it is over."""
        if not self.over:
            self._signal(signal.SIGKILL)
            self.wait(10)

    def wait(self, seconds: float) -> None:
        """Wait until the process is over, at most so long."""
        end = time.monotonic() + seconds
        while not self.over and time.monotonic() < end:
            wait([self.receiver], timeout=TICK)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.pid is not None and not self.over:
            os.kill(self._process.pid, number)


def wait_for_any(running: Mapping[int, Worker]) -> list[int]:
    """Wait, for a tick at most, and return the keys of those that are over."""
    wait([worker.receiver for worker in running.values()], timeout=TICK)
    return [key for key, worker in running.items() if worker.over]


def _forked(function: Callable[..., None], *arguments: Any, **settings: Any) -> BaseProcess:
    """Start a fork of the warm parent that calls `function`; `settings` are those of a `multiprocessing.Process`."""
    process = multiprocessing.get_context("forkserver").Process(target=function, args=arguments, **settings)
    with _no_main():
        process.start()
    return process


@contextmanager
def _no_main() -> Iterator[None]:
    """Hide the script, which multiprocessing would run again in every child: the job's function is pickled by value."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _lives(pid: int | None) -> bool:
    try:
        os.kill(pid or 0, 0)
    except ProcessLookupError:
        return False
    return True


def _work(sender: Connection, common: bytes, number: int, overrides: list[str], output: Path, gpu: str | None) -> None:
    """Run a job in this process, and send its JobReturn."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the command passes it on
    _write_to(output)
    threading.Thread(target=_follow_the_command, daemon=True).start()
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


def _write_to(output: Path) -> None:
    """Add what this process says, and what libraries in it write past Python, to the end of a file."""
    output.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.close(file)


def _follow_the_command() -> None:
    """End this process, as SIGTERM would, once the command is gone: what nobody waits for is left for resume=true."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(LAUNCHER_DIED)
        os._exit(1)
