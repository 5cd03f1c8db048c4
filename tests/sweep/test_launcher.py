"""All launchers, with real training: the same numbers to the last digit, and a long sweep in which much goes wrong."""

import csv
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from metaplast.cli.callback import EXTRAS, is_installed
from metaplast.runs.journal import Journal

Start = Callable[..., subprocess.Popen[str]]

SMALL = ("scenario=pdigits", "scenario.n_tasks=2", "epochs_per_task=1", "model.hidden=[16]", "logger=none")
SWEEP = ("m=0,0.5,1.0,1.35", "seed=range(0,3)")
INSTALLED = {extra for package, extra in EXTRAS.items() if is_installed(package)}

UNRULY = '''
import os, signal, sys
from pathlib import Path
from metaplast.scenarios import permuted_digits

def unruly(seed, data_dir, n_tasks):
    """Misbehaves, once a seed."""
    mark = Path("marks") / str(seed)
    if not mark.exists():
        mark.touch()
        if seed in (3, 13, 23):
            raise ValueError(f"of seed {seed}")
        if seed in (5, 15, 25):
            os.kill(os.getpid(), signal.SIGKILL)
        if seed == 7:
            sys.exit(0)
    return permuted_digits(n_tasks=n_tasks, seed=seed, data_dir=data_dir)
'''


def measured(run_dir: Path) -> tuple[str, list[dict[str, str]]]:
    """The accuracy matrix of a run, and its rows without the times."""
    with (run_dir / "metrics.csv").open(encoding="utf-8") as file:
        rows = [{key: value for key, value in row.items() if "second" not in key} for row in csv.DictReader(file)]
    return (run_dir / "accuracy_matrix.csv").read_text("utf-8"), rows


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_a_forked_job_trains_as_a_plain_run_does(threads: int, start: Start, workplace: Path) -> None:
    settings = (*SMALL, "model.hidden=[256]", f"trainer.threads={threads}", "m=1")
    for arguments in (("-m", "hydra.sweep.dir=sweep", *settings), ("hydra.run.dir=plain", *settings)):
        process = start(*arguments)
        _, err = process.communicate()
        assert process.returncode == 0, err
    assert measured(workplace / "sweep" / "0") == measured(workplace / "plain")


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "extra"), [("joblib", "joblib"), ("ray", "ray"), ("submitit_local", "slurm")])
def test_every_launcher_gives_the_same_numbers(launcher: str, extra: str, start: Start, workplace: Path) -> None:
    if extra not in INSTALLED:
        pytest.skip(f"metaplast[{extra}] is not installed")
    # All jobs at once, which submitit_local would start, are more than a small machine can hold.
    sweep = ("m=0,1.35", "seed=0,1") if launcher == "submitit_local" else SWEEP
    for name in ("local", launcher):
        process = start("-m", *SMALL, *sweep, "trainer.threads=1", f"hydra.sweep.dir={name}", f"hydra/launcher={name}")
        _, err = process.communicate()
        assert process.returncode == 0, err
    jobs = Journal(workplace / launcher).jobs()
    assert len(jobs) == (4 if launcher == "submitit_local" else 12)
    assert all((job.status, job.attempt) == ("completed", 1) for job in jobs)
    for job in jobs:
        assert measured(workplace / launcher / job.directory) == measured(workplace / "local" / job.directory)


@pytest.mark.slow
def test_forty_jobs_of_which_seven_die_and_a_killed_command_come_to_forty_rows(start: Start, workplace: Path) -> None:
    (workplace / "mine" / "scenario").mkdir(parents=True)
    (workplace / "marks").mkdir()
    config = "_target_: my_scenario.unruly\nname: unruly\nn_tasks: 2\n"
    (workplace / "mine" / "scenario" / "unruly.yaml").write_text(config, encoding="utf-8")
    (workplace.parent / "my_scenario.py").write_text(UNRULY, encoding="utf-8")  # beside the `program` of `start`
    program = (Path(__file__).parents[2] / "src" / "train.py").read_text("utf-8")
    program = program.replace("Path(__file__).resolve().parents[1]", f"Path({str(Path(__file__).parents[2])!r})")
    arguments = ("--config-dir", "mine", "-m", "scenario=unruly", *SMALL[1:], "seed=range(0,40)")

    process = start(*arguments, program=program)
    end = time.monotonic() + 500
    while not (found := list(workplace.glob("outputs/multirun/*/*/10/summary.json"))):
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.1)
    sweep_dir = found[0].parents[1]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    process = start(*arguments, "resume=true", program=program)
    _, err = process.communicate()
    assert process.returncode == 1
    assert "4 of 40 jobs failed; first job 13 (seed=13): ValueError: of seed 13; with resume=true" in err
    process = start(*arguments, "resume=true", program=program)
    _, err = process.communicate()
    assert process.returncode == 0, err

    with (sweep_dir / "sweep.csv").open(encoding="utf-8") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["completed"] * 40
    logs = {job.number: Journal(sweep_dir).log(job.number).read_text("utf-8") for job in Journal(sweep_dir).jobs()}
    assert len(logs) == 40
    assert all(log.count("completed: trained for") == 1 for log in logs.values())  # none was run to its end twice
    attempts = {job.number: job.attempt for job in Journal(sweep_dir).jobs()}
    assert all(attempts[seed] == 2 for seed in (3, 5, 7, 13, 15, 23, 25))
    assert sum(attempts.values()) <= 40 + 7 + 2  # the seven, and the two that ran when the command was killed
