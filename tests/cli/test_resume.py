"""Going on with a run: when that is refused, and that the run's own configuration counts."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from metaplast.cli.run import run
from metaplast.errors import UserError

Answers = Callable[..., Any]


@pytest.fixture
def stopped(answer: Answers, workplace: Path) -> Path:
    """The directory of a run that was stopped: m=0.7, seed=3, two threads, no logger."""

    def leave_files(config: Any, run_dir: Path) -> None:
        OmegaConf.save(config, run_dir / "config.yaml", resolve=True)
        (run_dir / "summary.json").write_text(json.dumps({"status": "interrupted"}), encoding="utf-8")
        (run_dir / "checkpoints").mkdir()
        (run_dir / "checkpoints" / "last.ckpt").touch()

    answer("m=0.7", "seed=3", "trainer.threads=2", "logger=none", "hydra.run.dir=stopped", task=leave_files)
    return workplace / "stopped"


def test_a_resumed_run_has_its_own_configuration_and_directory(stopped: Path, answer: Answers) -> None:
    [(config, run_dir)] = answer("resume=stopped").runs
    saved = OmegaConf.to_container(OmegaConf.load(stopped / "config.yaml"))
    assert run_dir == stopped
    assert config == {**saved, "resume": str(stopped)}  # type: ignore[dict-item]


def test_trainer_and_logger_can_change_and_nothing_else_does(stopped: Path, answer: Answers) -> None:
    [(config, _)] = answer("resume=stopped", "trainer.progress=none", "logger=wandb", "logger.project=other").runs
    assert (config["trainer"]["progress"], config["trainer"]["threads"]) == ("none", 2)
    assert (config["logger"]["name"], config["logger"]["project"]) == ("wandb", "other")
    assert (config["m"], config["seed"]) == (0.7, 3)


def test_the_precision_of_a_run_stays_what_it_was(stopped: Path, answer: Answers) -> None:
    answered = answer("resume=stopped", "trainer.precision=64-true")
    said = "trainer.precision=64-true: cannot change a run that is resumed, which has 32-true\n"
    assert (answered.status, answered.runs, answered.err) == (2, [], said)
    config = OmegaConf.load(stopped / "config.yaml")
    config.trainer.precision = "64-true"
    OmegaConf.save(config, stopped / "config.yaml")
    [(resumed, _)] = answer("resume=stopped", "trainer=cpu").runs
    assert (resumed["trainer"]["precision"], resumed["trainer"]["accelerator"]) == ("64-true", "cpu")


JOB = ("m=0.7", "seed=3", "logger=none", "hydra.run.dir=job", "resume=auto")


@pytest.fixture
def scontrol(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What Slurm was asked, a line each, by the command that a job finds on its PATH."""
    (workplace / "bin").mkdir()
    (workplace / "bin" / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {workplace}/asked\n', encoding="utf-8")
    (workplace / "bin" / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{workplace / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    return workplace / "asked"


def warned(config: Any, run_dir: Path) -> None:
    """A run that Slurm warns that its time runs out, once it has a checkpoint."""
    if config.resume is None:
        OmegaConf.save(config, run_dir / "config.yaml", resolve=True)
    about = {"status": "interrupted", "overrides": list(JOB[:3])}
    (run_dir / "summary.json").write_text(json.dumps(about), encoding="utf-8")
    (run_dir / "checkpoints").mkdir(exist_ok=True)
    (run_dir / "checkpoints" / "last.ckpt").touch()
    os.kill(os.getpid(), signal.SIGUSR1)


def test_a_job_of_slurm_is_requeued_once_and_goes_on_by_itself(
    answer: Answers, workplace: Path, scontrol: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = answer(*JOB, task=warned)
    assert (first.status, first.runs[0][0]["resume"]) == (138, None)
    assert first.err.endswith("Slurm starts job 4711 again.\n")
    assert scontrol.read_text("utf-8") == "requeue 4711\n"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    again = answer(*JOB, task=warned)
    [(config, run_dir)] = again.runs
    assert (again.status, config["resume"], config["m"], run_dir) == (138, str(workplace / "job"), 0.7, run_dir)
    assert scontrol.read_text("utf-8") == "requeue 4711\nrequeue 12_3\n"
    (workplace / "bin" / "scontrol").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    assert "scontrol requeue 12_3 failed: Command" in answer(*JOB, task=warned).err


def test_no_job_is_requeued_that_does_not_resume_by_itself(answer: Answers, scontrol: Path) -> None:
    assert answer(*JOB[:-1], task=warned).status == 138
    assert not scontrol.exists()


def test_resume_auto_starts_what_has_no_checkpoint_and_refuses_what_is_another_run(
    answer: Answers, workplace: Path
) -> None:
    def die(config: Any, run_dir: Path) -> None:
        (run_dir / "config.yaml").touch()
        raise ValueError("before the first checkpoint")

    assert answer(*JOB, task=die).status == 1
    for _ in range(2):
        [(config, _)] = answer(*JOB).runs
        assert config["resume"] is None
    answer(*JOB, task=warned)
    for arguments, said in [
        (JOB[-1:], "resume=auto: expected hydra.run.dir=DIRECTORY as well"),
        (("m=1", *JOB[1:]), "resume=auto: the run in job was started with m=0.7 seed=3 logger=none, not m=1 "),
    ]:
        answered = answer(*arguments)
        assert (answered.status, answered.runs, answered.err.count("\n")) == (2, [], 1)
        assert answered.err.startswith(said)
    (workplace / "job" / "summary.json").write_text('{"status": "completed"}', encoding="utf-8")
    assert answer(*JOB).err == "resume=auto: the run in job is completed, so that nothing is left to do\n"


def test_the_data_of_a_resumed_run_may_lie_elsewhere(stopped: Path, answer: Answers) -> None:
    [(config, run_dir)] = answer("resume=stopped", "data_dir=elsewhere").runs
    assert (config["data_dir"], config["m"], run_dir) == ("elsewhere", 0.7, stopped)


def test_a_run_can_be_resumed_from_the_checkpoint_before_the_last(stopped: Path, answer: Answers) -> None:
    (stopped / "checkpoints" / "last.ckpt").rename(stopped / "checkpoints" / "last.previous.ckpt")
    assert len(answer("resume=stopped").runs) == 1


@pytest.mark.parametrize("override", ["m=1.3", "strategy=finetune", "+strategy.strength=3", "hydra.run.dir=elsewhere"])
def test_what_would_change_the_run_is_refused_by_name(override: str, stopped: Path, answer: Answers) -> None:
    answered = answer("resume=stopped", override)
    assert (answered.status, answered.runs) == (2, [])
    assert answered.err.startswith(f"{override}: cannot change a run that is resumed (resume=stopped)")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("config.yaml", None, "is not the directory of a run"),
        ("config.yaml", "m: [1", "its config.yaml cannot be read"),
        ("config.yaml", "[1]", "its config.yaml cannot be read: expected settings"),
        ("config.yaml", "m: 1", "its config.yaml cannot be run: seed: expected an integer"),
        ("checkpoints/last.ckpt", None, "there is no checkpoint"),
        ("summary.json", '{"status": "completed"}', "this run is complete, so that nothing is left to do"),
    ],
)
def test_a_run_that_cannot_go_on_is_refused(
    file: str, content: str | None, said: str, stopped: Path, answer: Answers
) -> None:
    (stopped / file).unlink()
    if content is not None:
        (stopped / file).write_text(content, encoding="utf-8")
    answered = answer("resume=stopped")
    assert (answered.status, answered.runs) == (2, [])
    assert answered.err.startswith(f"resume=stopped: {said}")
    assert "Traceback" not in answered.err


def overrides(run_dir: Path) -> list[str]:
    """What a run says that it was started with."""
    said: list[str] = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))["overrides"]
    return said


def test_a_resumed_run_says_what_it_was_started_with(
    answer: Answers, workplace: Path, before_epoch: Callable[..., AbstractContextManager[None]]
) -> None:
    started = ["scenario=pdigits", "scenario.n_tasks=2", "epochs_per_task=1", "model.hidden=[8]", "logger=none"]
    with before_epoch(1, UserError("cut")):
        assert answer(*started, "trainer.threads=1", "hydra.run.dir=run", task=run).status == 1
    assert answer("resume=run", "trainer.progress=none", task=run).status == 0
    assert overrides(workplace / "run") == [*started, "trainer.threads=1"]


def test_a_job_that_only_a_resumed_sweep_starts_says_nothing_of_that(answer: Answers, workplace: Path) -> None:
    settings = ["scenario=pdigits", "scenario.n_tasks=1", "epochs_per_task=1", "model.hidden=[8]", "logger=none"]
    arguments = ("-m", *settings, "trainer.threads=1", "hydra/launcher=basic", "hydra.sweep.dir=sweep", "seed=0")

    def fail(config: Any, run_dir: Path) -> None:
        raise UserError("before anything was written")

    assert answer(*arguments, task=fail).status == 1
    assert answer(*arguments, "resume=true", task=run).status == 0
    assert overrides(workplace / "sweep" / "0") == [*settings, "trainer.threads=1", "seed=0"]


def test_the_directory_of_a_multirun_is_refused_with_the_name_of_a_run_in_it(
    stopped: Path, answer: Answers, workplace: Path
) -> None:
    (workplace / "sweep").mkdir()
    stopped.rename(workplace / "sweep" / "0")
    assert answer("resume=sweep").err.endswith(f"one below it is {workplace / 'sweep' / '0'}\n")


def test_a_run_is_not_resumed_twice_at_once(
    stopped: Path, answer: Answers, start: Callable[..., subprocess.Popen[str]], conf: Path
) -> None:
    program = f"""
import sys, time
from pathlib import Path
from metaplast.cli.main import command
sys.exit(command(lambda config, run_dir: (print(flush=True), time.sleep(60)), Path({str(conf)!r})))
"""
    first = start("resume=stopped", program=program)
    assert first.stdout is not None
    first.stdout.readline()
    answered = answer("resume=stopped")
    assert (answered.status, answered.runs) == (1, [])
    holder = f"process {first.pid} on {socket.gethostname()}"
    assert answered.err == f"{stopped}: {holder} is running there; wait for it, or end it first\n"
    first.send_signal(signal.SIGKILL)  # a killed process leaves no lock behind
    first.wait()
    assert len(answer("resume=stopped").runs) == 1


TOUCHING = """
from pathlib import Path

from metaplast.data import TaskTensors, load_digits
from metaplast.scenarios import Scenario

Path("acted").touch()


def negatives(seed, data_dir, n_tasks=2):
    return None
"""


@pytest.fixture
def with_own_scenario(stopped: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run that was stopped, of a scenario whose module says that it was imported by a file `acted`."""
    (workplace / "my_lab.py").write_text(TOUCHING, encoding="utf-8")
    monkeypatch.syspath_prepend(workplace)
    config = OmegaConf.load(stopped / "config.yaml")
    config.scenario = {"_target_": "my_lab.negatives", "name": "negatives"}
    OmegaConf.save(config, stopped / "config.yaml")
    return stopped


def test_a_run_directory_brings_no_code_of_its_own(with_own_scenario: Path, answer: Answers, workplace: Path) -> None:
    answered = answer("resume=stopped", task=run)
    assert (answered.status, answered.runs) == (2, [])
    said = "resume=stopped: its config.yaml: scenario._target_=my_lab.negatives: expected a scenario of metaplast; "
    assert answered.err.startswith(said)
    assert answered.err.count("\n") == 1
    assert not (workplace / "acted").exists()


def test_ones_own_code_is_trusted_by_its_name(with_own_scenario: Path, answer: Answers) -> None:
    for trust in ("trust=my_lab.negatives", "trust=[other.name,my_lab.negatives]"):
        [(config, _)] = answer("resume=stopped", trust).runs
        assert config["scenario"]["_target_"] == "my_lab.negatives"
    for other in ("trust=my_lab", "trust=[]", "trust=null", "trust=3", "trust=my_lab.other"):
        assert answer("resume=stopped", other).status == 2


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"hydra": {"job": {"name": "x"}}}, "hydra: expected no section"),
        ({"data_dir": "${oc.env:HOME}"}, "data_dir=${oc.env:HOME}: expected a value, got an interpolation"),
        ({"model": {"_target_": "torch.load"}}, "model._target_=torch.load: expected a model of metaplast"),
        (
            {"strategy": {"plugins": [{"_target_": "os.getcwd"}]}},
            "strategy.plugins[0]._target_=os.getcwd: expected a p",
        ),
    ],
)
def test_what_no_run_of_ours_holds_is_refused_in_a_line(
    section: dict[str, Any], said: str, stopped: Path, answer: Answers
) -> None:
    config = OmegaConf.load(stopped / "config.yaml")
    OmegaConf.save(OmegaConf.merge(config, section), stopped / "config.yaml")
    answered = answer("resume=stopped")
    assert (answered.status, answered.runs, answered.err.count("\n")) == (2, [], 1)
    assert answered.err.startswith(f"resume=stopped: its config.yaml: {said}")


def test_the_job_of_a_sweep_brings_no_code_but_what_the_command_names(answer: Answers, workplace: Path) -> None:
    sweep = ("-m", "seed=0", "logger=none", "hydra/launcher=basic", "hydra.sweep.dir=sweep")

    def leave_checkpoint(config: Any, run_dir: Path) -> None:
        config = OmegaConf.merge(config, {"resume": None, "model": {"_target_": "my_lab.net"}})
        OmegaConf.save(config, run_dir / "config.yaml", resolve=True)
        (run_dir / "checkpoints").mkdir()
        (run_dir / "checkpoints" / "last.ckpt").touch()
        raise UserError("cut")

    assert answer(*sweep, task=leave_checkpoint).status == 1
    answered = answer(*sweep, "resume=true")
    assert (answered.status, answered.runs) == (1, [])
    assert "model._target_=my_lab.net: expected a model of metaplast" in answered.err
    assert len(answer(*sweep, "resume=true", "trust=my_lab.net").runs) == 1
