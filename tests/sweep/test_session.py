"""Sweeps with their own launcher: jobs that die, a command that is killed, and what `resume=true` makes of it."""

import csv
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, Timeout

from metaplast.errors import UserError
from metaplast.runs.directory import lock_run_dir
from metaplast.runs.journal import Journal
from metaplast.runs.names import SWEEP_LOCK
from metaplast.sweep import job as job_module
from metaplast.sweep.session import SWEEPS, find_sweep

Start = Callable[..., subprocess.Popen[str]]
Answers = Callable[..., Any]

PROGRAM = """
import json, os, signal, sys, time
from pathlib import Path
from omegaconf import OmegaConf
from metaplast.cli.main import command

def task(config, run_dir):
    if config.resume is None:
        (run_dir / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
    if config.seed == 1: raise ValueError("of seed 1")
    if not Path("repaired").exists() and config.seed > 0:
        if config.seed == 2: os.kill(os.getpid(), signal.SIGKILL)
        if config.seed == 3: sys.exit(3)
        if config.seed == 4: os._exit(4)
        {hang}
    summary = {{"status": "completed", "average_accuracy": 0.5, "accuracy_matrix": [[0.5]], "seed": config.seed}}
    (run_dir / "summary.json").write_text(json.dumps(summary))
    print("seed", config.seed, "pid", os.getpid(), "resume", config.resume)
    return summary

sys.exit(command(task, Path({conf!r})))
"""
LIGHT = ("hydra.launcher.imports=[metaplast.cli.callback]", "hydra.launcher.n_jobs=2", "scenario=pdigits")


def attempts(sweep_dir: Path) -> list[tuple[str, int]]:
    return [(job.status, job.attempt) for job in Journal(sweep_dir).jobs()]


def wait_for(found: Callable[[], Any], seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return value


def test_jobs_that_die_cost_no_other_and_a_killed_command_is_gone_on_with(
    start: Start, conf: Path, workplace: Path
) -> None:
    program = PROGRAM.format(
        hang='(run_dir / "checkpoints").mkdir(); (run_dir / "checkpoints" / "last.ckpt").touch(); time.sleep(60)',
        conf=str(conf),
    )
    arguments = ("-m", *LIGHT, "seed=range(0,8)")
    process = start(*arguments, program=program)
    sweep_dir = wait_for(lambda: next(workplace.glob("outputs/multirun/*/*"), None))
    wait_for(lambda: len(list(sweep_dir.glob("*/checkpoints/last.ckpt"))) == 2)  # one of two jobs each
    process.send_signal(signal.SIGKILL)
    out, _ = process.communicate()
    job = {job.number: job for job in Journal(sweep_dir).jobs()}
    assert [(job[n].status, job[n].attempt) for n in range(5)] == [
        (status, 1) for status in ("completed", "failed", "killed", "failed", "failed")
    ]
    assert [job[n].error for n in range(5)] == [
        None, "ValueError: of seed 1", "killed by SIGKILL", "SystemExit: 3", "ended its process with status 4",
    ]  # fmt: skip
    assert re.search(r"job 2 \(seed=2\) killed · killed by SIGKILL \(see .*2.log\)", out)
    assert "Traceback" in Journal(sweep_dir).log(1).read_text("utf-8")

    (workplace / "repaired").touch()
    again = start(*arguments, "resume=true", program=program)
    _, err = again.communicate()
    assert again.returncode == 1
    assert err.splitlines()[-1] == (
        "1 of 8 jobs failed; first job 1 (seed=1): ValueError: of seed 1; "
        "with resume=true the same command runs what is missing"
    )
    assert "Traceback" not in err
    assert [(job.status, job.attempt) for job in Journal(sweep_dir).jobs()] == [
        ("failed" if n == 1 else "completed", 1 if n in (0, 7) else 2) for n in range(8)
    ]
    said = {n: Journal(sweep_dir).log(n).read_text("utf-8").strip().rpartition(" ")[2] for n in (4, 5, 6, 7)}
    assert said == {4: "None", 5: str(sweep_dir / "5"), 6: str(sweep_dir / "6"), 7: "None"}  # from where they go on
    with (sweep_dir / "sweep.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [row["status"] for row in table] == ["failed" if n == 1 else "completed" for n in range(8)]


def test_sigterm_stops_the_jobs_and_leaves_a_sweep_to_go_on_with(start: Start, conf: Path, workplace: Path) -> None:
    program = PROGRAM.format(hang='(run_dir / "up").touch(); time.sleep(60)', conf=str(conf))
    process = start("-m", *LIGHT, "seed=5,6,7", "hydra.sweep.dir=sweep", program=program)
    wait_for(lambda: len(list((workplace / "sweep").glob("*/up"))) == 2)
    pids = [job.pid for job in Journal(workplace / "sweep").jobs() if job.pid]
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 143
    assert attempts(workplace / "sweep") == [("killed", 1), ("killed", 1), ("queued", 0)]
    assert "Stopped: 2 of 3 jobs failed and 1 did not start; first job 0 (seed=5): stopped by SIGTERM" in err
    assert len(pids) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_job_whose_directory_another_process_holds_is_journaled_as_failed(
    start: Start, conf: Path, workplace: Path
) -> None:
    hang = '(run_dir / "up").touch()\n        while not Path("go").exists(): time.sleep(0.05)'
    program = PROGRAM.format(hang=hang, conf=str(conf))
    process = start("-m", *LIGHT, "hydra.launcher.n_jobs=1", "seed=5,6", "hydra.sweep.dir=sweep", program=program)
    wait_for((workplace / "sweep" / "0" / "up").exists)
    held = workplace / "sweep" / "1"
    held.mkdir()
    with FileLock(held / ".lock"):
        (workplace / "go").touch()
        _, err = process.communicate()
    assert process.returncode == 1
    assert attempts(workplace / "sweep") == [("completed", 1), ("failed", 1)]
    why = f"{held}: another process is running there; wait for it, or end it first"
    assert [job.error for job in Journal(workplace / "sweep").jobs()] == [None, why]
    assert f"1 of 2 jobs failed; first job 1 (seed=6): {why}" in err


def journal(sweep_dir: Path, *overrides: str) -> Path:
    Journal(sweep_dir).begin(["seed=0,1", *overrides])
    return sweep_dir.absolute()


def test_a_sweep_is_found_by_its_overrides_newest_first(workplace: Path) -> None:
    journal(SWEEPS / "2026-01-01" / "10-00-00")
    newest = journal(SWEEPS / "2026-01-01" / "09-00-00", "hydra/launcher=joblib", "hydra.sweep.subdir=x")
    other = journal(SWEEPS / "2026-01-02" / "09-00-00", "m=1")
    again = ["seed=0,1", "hydra.sweep.subdir=x", "resume=true", "hydra.launcher.n_jobs=2"]
    assert find_sweep(again, None) == newest
    assert find_sweep(["seed=0,1", "m=1"], other) == other
    with pytest.raises(UserError, match=r"^resume=true: no sweep in outputs/multirun was started with seed=0,1 m=2; "):
        find_sweep(["seed=0,1", "m=2"], None)
    with pytest.raises(UserError, match=r"^resume=true: the sweep in .* is -m seed=0,1 m=1, not seed=0$"):
        find_sweep(["seed=0"], other)
    with pytest.raises(UserError, match=r"^resume=true: there is no sweep in hydra.sweep.dir=nowhere "):
        find_sweep(["seed=0"], Path("nowhere"))


@pytest.mark.parametrize("jobs", ["0", "-2", "1.5", "two", "true"])
def test_a_number_of_jobs_at_once_that_cannot_be_is_refused(jobs: str, answer: Answers, workplace: Path) -> None:
    answered = answer("-m", "seed=0,1", f"hydra.launcher.n_jobs={jobs}")
    allowed = "null or -1 (as many as there are cores) or an integer >= 1"
    assert answered.err.startswith(f"hydra.launcher.n_jobs={jobs}: expected {allowed}, got ")
    assert answered.err.count("\n") == 1
    assert (answered.status, [*workplace.iterdir()]) == (2, [])


def test_a_sweep_is_not_run_twice_at_once(answer: Answers, workplace: Path) -> None:
    arguments = ("-m", "hydra/launcher=basic", "scenario=pdigits", "seed=5,6", "hydra.sweep.dir=sweep")

    def resume(config: Any, run_dir: Path) -> None:
        lock = FileLock(workplace / "sweep" / SWEEP_LOCK)
        with pytest.raises(Timeout):
            lock.acquire(blocking=False)
        raise UserError("no more")

    assert len(answer(*arguments, task=resume).runs) == 2
    with FileLock(workplace / "sweep" / SWEEP_LOCK):
        answered = answer(*arguments, "resume=true")
    assert (answered.status, answered.runs) == (2, [])
    holder = f"process {os.getpid()} on {socket.gethostname()}"
    assert answered.err.endswith(f"sweep: {holder} is running this sweep; wait for it, or end it first\n")


def test_a_job_that_another_process_completes_while_its_directory_is_waited_for_is_completed(
    answer: Answers, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("-m", "hydra/launcher=basic", "scenario=pdigits", "seed=5", "hydra.sweep.dir=sweep")

    def fail(config: Any, run_dir: Path) -> None:
        raise UserError("cut")

    @contextmanager
    def waiting(run_dir: Path, timeout: float) -> Iterator[None]:
        with lock_run_dir(run_dir, timeout):
            (run_dir / "summary.json").write_text(json.dumps({"status": "completed"}), encoding="utf-8")
            yield

    assert answer(*arguments, task=fail).status == 1
    monkeypatch.setattr(job_module, "lock_run_dir", waiting)
    answered = answer(*arguments, "resume=true")
    assert (answered.status, answered.runs) == (0, [])
    assert attempts(workplace / "sweep") == [("completed", 1)]


def test_a_sweeps_lock_that_is_a_link_is_not_followed(answer: Answers, workplace: Path) -> None:
    arguments = ("-m", "hydra/launcher=basic", "scenario=pdigits", "seed=5", "hydra.sweep.dir=sweep")
    answer(*arguments)
    (workplace / "mine").write_text("mine", encoding="utf-8")
    (workplace / "sweep" / SWEEP_LOCK).unlink()
    (workplace / "sweep" / SWEEP_LOCK).symlink_to(workplace / "mine")
    answered = answer(*arguments, "resume=true")
    assert (answered.status, answered.err.count("\n")) == (2, 1)
    assert "sweep: cannot be locked: .sweep.lock is a symbolic link out of" in answered.err
    assert (workplace / "mine").read_text("utf-8") == "mine"
