"""The command: what it refuses and in which words, what it leaves behind, how it ends."""

import functools
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metaplast.errors import UserError

Answers = Callable[..., Any]

REFUSED: list[tuple[str, str]] = [
    # a choice that is not there
    ("scenario=nope", r"^scenario=nope: .*pdigits.*pmnist"),
    ("scenario=pmnst", r"did you mean pmnist\?.*pdigits.*pmnist"),
    ("strategy=nope", r"^strategy=nope: .*finetune.*joint.*meta"),
    ("model=parts/norm", r"^model=parts/norm: expected a section with a _target_"),
    ("experiment=nope", r"^experiment=nope: .*paper, parity"),
    ("logger=tensorboard", r"^logger=tensorboard: .*none, wandb, wandb_online"),
    ("trainer=", r"^trainer=: .*auto, cpu, gpu"),
    ("scenario=null", r"^scenario=null: .*pdigits.*pmnist"),
    ("scenario=3", r"^scenario=3: .*pdigits.*pmnist"),
    ("scenario=[pmnist,pdigits]", r"^scenario: expected one choice"),
    ("~trainer", r"^trainer: expected one choice"),
    ("hydra/launcher=nope", r"^hydra/launcher=nope: .*basic"),
    # a key that is not there
    ("epochs=3", r"^epochs=3: .*epochs_per_task\?.*batch_size"),
    ("modle.hidden=[3]", r"^modle.hidden=\[3\]: .*model\?"),
    ("model.hiden=[3]", r"^model.hiden=\[3\]: .*hidden\?.*init_bound"),
    ("lr=0.1", r"^lr=0.1: .*strategy.optimizer.lr\?"),
    ("seed.x=1", r"^seed.x=1: .*single value"),
    ("+epochs=3", r"^\+epochs=3: nothing reads epochs .*epochs_per_task\?"),
    ("+a.b=1", r"^\+a.b=1: nothing reads a.b"),
    ("+model.hiden=[3]", r"^model.hiden: nothing reads it .*model.*hidden\?|hidden"),
    ("+trainer.devices=2", r"^\+trainer.devices=2: nothing reads"),
    ("+seed=1", r"^\+seed=1: .*write seed=1 \(\+\+seed=1 where only some choices of a sweep have it\)"),
    ("+scenario=pmnist", r"^\+scenario=pmnist: .*write scenario=pmnist$"),
    ("nope@x=bnn", r"nope@x=bnn"),
    ("hydra.run.dri=x", r"^hydra.run.dri=x: .*dir\?"),
    ("~nope", r"^~nope: .*does not exist"),
    ("~m", r"^m: expected a number .*, got nothing"),
    # a value of the wrong kind, or out of range
    ("m=-1", r"^m=-1: expected a number >= 0 or a list"),
    ("m=abc", r"^m=abc: expected a number >= 0"),
    ("m=nan", r"^m=nan: expected a number >= 0"),
    ("m=inf", r"^m=inf: "),
    ("m=true", r"^m=true: "),
    ("m=", r"^m=: "),
    ("m=[1,2]", r"^m=\[1,2\]: expected one number per weight layer, 3 with model.hidden=\[512,512\], got 2"),
    ("m=[1,2,-3]", r"^m=\[1,2,-3\]: "),
    ("m=${nope}", r"^m=\${nope}: .*not found"),
    ("seed=-1", r"^seed=-1: expected an integer from 0 to 4294967295"),
    ("seed=1.0", r"^seed=1.0: "),
    ("seed=4294967296", r"^seed=4294967296: "),
    ("epochs_per_task=0", r"^epochs_per_task=0: expected an integer from 1 to 1000000"),
    ("epochs_per_task=true", r"^epochs_per_task=true: "),
    ("eval_every_n_epochs=2", r"^eval_every_n_epochs=2: expected a divisor of epochs_per_task=5"),
    ("batch_size=1", r"^batch_size=1: .*variance"),
    ("data_dir=null", r"^data_dir=null: expected a text"),
    ("data_dir=${oc.env:NO_SUCH_VARIABLE}", r"^data_dir=.*NO_SUCH_VARIABLE"),
    ("model.hidden=512", r"^model.hidden=512: expected a list of integers >= 1"),
    ("model.hidden=[512,0]", r"^model.hidden=\[512,0\]: "),
    ("model.hidden={a:1}", r"^model.hidden={a:1}: "),
    ("model.hidden.7=3", r"^model.hidden.7=3: .*out of range"),
    (
        "strategy.optimizer.decoupled_weight_decay=1",
        r"^strategy.optimizer.decoupled_weight_decay=1: expected a number >= 0 and < 1",
    ),
    ("model.gate_threshold=-1", r"^model.gate_threshold=-1: expected a number >= 0"),
    ("model.gate_window=[1,0.5]", r"^model.gate_window=\[1,0.5\]: expected a list of two numbers, 0 <= lower < upper"),
    ("model.gate_window=[1]", r"^model.gate_window=\[1\]: "),
    ("model.norm=bach", r"^model.norm=bach: expected one of batch, layer, none, got the text .bach. .*batch\?"),
    ("model.norm_affine=maybe", r"^model.norm_affine=maybe: expected one of true, false"),
    ("scenario.n_tasks=0", r"^scenario.n_tasks=0: "),
    ("max_tasks=6", r"^max_tasks=6: expected at most scenario.n_tasks=5"),
    ("max_tasks=11 scenario=stream_digits", r"^max_tasks=11: expected at most scenario.n_parts=10"),
    ("strategy.task_order=mixed", r"^strategy.task_order=mixed: .*sequence, joint"),
    ("strategy.optimizer.lr=0", r"^strategy.optimizer.lr=0: expected a number > 0"),
    ("strategy.optimizer=adam", r"^strategy.optimizer: expected a section with a _target_"),
    ("strategy.plugins=[replay]", r"^strategy.plugins\[0\]: expected a section with a _target_"),
    ("+strategy.optimizer.betas=[0.9]", r"^strategy.optimizer.betas=\[0.9\]: .*two numbers"),
    ("trainer.threads=0", r"^trainer.threads=0: expected an integer from 1 to 1024 or null"),
    ("trainer.precision=8", r"^trainer.precision=8: .*32-true"),
    ("logger.mode=offlin", r"^logger.mode=offlin: .*offline\?"),
    # what Hydra cannot read
    ("m", r"^m: is not KEY=VALUE"),
    ("=3", r"^=3: is not KEY=VALUE"),
    ("m==3", r"^m==3: cannot be read: '='"),
    ("m=[1,2", r"^m=\[1,2: cannot be read: .*brackets"),
    ("seed='a", r"^seed='a: cannot be read: .*quotes"),
    ("m=foo(3)", r"^m=foo\(3\): cannot be read: Unknown function 'foo'"),
    ("m=1,2", r"^m=1,2: .*add -m .*m=\[1,2\]"),
    ("m=range(0,3)", r"^m=range\(0,3\): .*add -m"),
    ("--lr=3", r"--lr=3.*KEY=VALUE"),
    ("m=1 -m seed=1", r"seed=1.*after all options"),
    ("--config-dir nowhere", r"nowhere' not found"),
    ("--config-name nope", r"^nope: there is no such file"),
    # a multirun, before its first job
    ("-m m=0,abc", r"^m=abc: expected a number"),
    ("-m scenario=pdigits,nope", r"^scenario=nope: .*pdigits.*pmnist"),
    ("-m nope=1,2", r"^nope=1: there is no setting nope"),
    ("-m m=1 hydra.sweep.subdir=x seed=0,1", r"^hydra.sweep.subdir=x: two jobs"),
    ("-m m=interval(0,1)", r"INTERVAL"),
    ("-m seed=range(0,0)", r"^-m seed=range\(0,0\).*: makes no job, since one of its ranges is empty"),
    ("hparams=first_tasks hydra.sweep.subdir=x", r"^hydra.sweep.subdir=x: not supported together with hparams_search"),
    ("-m resume=somewhere", r"^resume=somewhere: .*without -m"),
    ("resume=true", r"^resume=true: resumes a sweep.*-m"),
    ("-m resume=true m=0,1", r"^resume=true: no sweep in outputs/multirun was started with m=0,1"),
    ("-m resume=true m=0,1 hydra.sweep.dir=x", r"^resume=true: there is no sweep in hydra.sweep.dir=x"),
    ("-m m=0,1 hydra.sweep.subdir=../${hydra.job.num}", r"^hydra.sweep.subdir=../0: expected a path inside the sweep"),
    ("-m m=0,1 hydra.sweep.subdir=/tmp/${hydra.job.num}", r"^hydra.sweep.subdir=/tmp/0: expected a path inside"),
    ("-m m=0,1 hydra.sweep.subdir=jobs/${hydra.job.num}", r"^hydra.sweep.subdir=jobs/0: expected a path inside"),
    ("-m m=0,1 hydra.sweep.subdir=.", r"^hydra.sweep.subdir=.: expected a path inside"),
    (f"-m m=0,1 hydra.sweep.subdir=${{m}}{'x' * 300}", r"^hydra.sweep.subdir=0x+…: .* at most 255 bytes, got 301"),
    (f"-m m=0,1 data_dir={'x' * 250} hydra.sweep.subdir=${{hydra.job.override_dirname}}", r"at most 255 bytes, got 26"),
    (
        f"-m m=0,1 hydra.sweep.subdir={'/'.join(20 * ['x' * 250])}/${{m}}",
        r"^hydra.sweep.subdir=x+…: expected a path of at most",
    ),
    ("strategy=agem strategy.patterns_per_experience=1", r"^strategy.patterns_per_experience=1: .*variance"),
    ("strategy=agem strategy.sample_size=1", r"^strategy.sample_size=1: .*variance"),
    ("strategy=gem strategy.patterns_per_experience=1", r"^strategy.patterns_per_experience=1: .*variance"),
    ("strategy=gem model=bcnn strategy.patterns_per_experience=1", r"^strategy.patterns_per_experience=1: .*variance"),
    # where the data are, where to write, and what to resume
    ("data_dir=/proc/nope", r"^data_dir=/proc/nope: expected a directory that exists or can be made \(.*\)"),
    ("data_dir=/proc/nope/deeper/still", r"^data_dir=/proc/nope/deeper/still: expected a directory"),
    ("data_dir=/proc/version", r"^data_dir=/proc/version: expected a directory"),
    ("data_dir=/proc/version/x", r"^data_dir=/proc/version/x: expected a directory"),
    (f"data_dir={'x' * 300}", r"^data_dir=x+: expected"),
    ("-m data_dir=data,/proc/nope", r"^data_dir=/proc/nope: expected"),
    ("hydra.run.dir=null", r"^hydra.run.dir=null: "),
    ("hydra.run.dir=/proc/version/x", r"^hydra.run.dir=/proc/version/x: expected a directory that can be created"),
    ("hydra.run.dir=${nope}", r"^hydra.run.dir=\${nope}: .*not found"),
    ("resume=", r"^resume=: expected a text"),
    ("resume=nowhere", r"^resume=nowhere: there is no such directory"),
]


@pytest.mark.parametrize(("line", "said"), REFUSED, ids=[line for line, _ in REFUSED])
def test_what_cannot_be_is_refused_in_a_line_and_leaves_nothing(
    line: str, said: str, answer: Answers, workplace: Path
) -> None:
    answered = answer(*line.split(" "))
    assert answered.status == 2
    assert re.search(said, answered.err), answered.err
    assert answered.err.count("\n") == 1
    assert "Traceback" not in answered.err
    assert answered.runs == []
    assert list(workplace.iterdir()) == []


def test_every_wrong_setting_is_said_at_once(answer: Answers) -> None:
    answered = answer("m=-1", "seed=x", "model.norm=y")
    assert [line.partition(":")[0] for line in answered.err.splitlines()] == ["m=-1", "seed=x", "model.norm=y"]


def test_a_wrong_environment_variable_is_named(answer: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "dry")
    answered = answer()
    assert answered.status == 2
    assert answered.err.startswith(
        "logger.mode=dry (from the environment variable WANDB_MODE): expected one of offline"
    )


def test_whoever_asks_hydra_for_the_full_error_gets_it(answer: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert "Traceback" in answer("m=-1").err


@pytest.mark.parametrize("line", ["scenario=nope", "m=-1", "m=abc", "unknown.key=1", "m=[1,2", "-m m=0,abc"])
def test_the_real_command_refuses_within_two_seconds(
    line: str, start: Callable[..., subprocess.Popen[str]], workplace: Path
) -> None:
    seconds: list[float] = []
    while not seconds or (min(seconds) >= 2 and len(seconds) < 3):  # a neighbour on the machine may slow one down
        began = time.perf_counter()
        process = start(*line.split(" "), options=("-X", "importtime"))
        _, err = process.communicate()
        seconds.append(time.perf_counter() - began)
    modules = {line.rpartition("|")[2].strip() for line in err.splitlines() if line.startswith("import time:")}
    said = [line for line in err.splitlines() if not line.startswith("import time:")]
    assert min(seconds) < 2
    assert process.returncode == 2
    assert len(said) == 1
    assert not modules & {"torch", "pytorch_lightning", "avalanche", "wandb", "numpy", "matplotlib"}
    assert list(workplace.iterdir()) == []


def test_help_answers_within_a_second_without_hydra(start: Callable[..., subprocess.Popen[str]]) -> None:
    seconds: list[float] = []
    while not seconds or (min(seconds) >= 1 and len(seconds) < 3):
        began = time.perf_counter()
        process = start("--help", options=("-X", "importtime"))
        out, err = process.communicate()
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 1
    assert process.returncode == 0
    assert "python src/train.py strategy=meta m=1.3 scenario=pmnist" in out
    assert not re.search(r"\| +(hydra|torch)$", err, re.MULTILINE)


def test_tab_completes_choices_without_torch(
    start: Callable[..., subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_LINE", "python src/train.py scenario=")
    monkeypatch.setenv("COMP_POINT", "29")
    out, err = start("-sc", "query=bash", options=("-X", "importtime")).communicate()
    assert {"scenario=pdigits", "scenario=pmnist"} <= set(out.split())
    assert not re.search(r"\| +torch$", err, re.MULTILINE)


def test_the_plain_command_reaches_the_run_with_its_settings_and_a_directory_of_its_own(
    answer: Answers, workplace: Path
) -> None:
    answered = answer("strategy=meta", "m=1.3", "scenario=pdigits", "model.hidden=[4]")
    [(config, run_dir)] = answered.runs
    assert (answered.status, answered.err) == (0, "")
    assert (config["m"], config["scenario"]["name"], config["model"]["hidden"]) == (1.3, "pdigits", [4])
    assert re.fullmatch(r"outputs/train/\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d", str(run_dir.relative_to(workplace)))
    assert [path.name for path in run_dir.iterdir()] == [".lock"]  # no train.log, no .hydra


def test_settings_of_ones_own_reach_the_target(answer: Answers) -> None:
    answered = answer("+strategy.strength=3", "strategy.optimizer.eps=${strategy.strength}")
    assert answered.runs[0][0]["strategy"]["strength"] == 3
    assert answered.runs[0][0]["strategy"]["optimizer"]["eps"] == 3


def test_of_several_additions_the_one_that_is_there_already_is_named(answer: Answers) -> None:
    answered = answer("+strategy.strength=3", "+strategy.optimizer.eps=${strategy.strength}")
    assert answered.status != 0
    assert answered.err.startswith(
        "+strategy.optimizer.eps=${strategy.strength}: strategy.optimizer.eps is there already"
    )


def test_a_run_says_what_it_is_before_anything_heavy_is_imported(
    start: Callable[..., subprocess.Popen[str]], conf: Path
) -> None:
    program = PROGRAM.format(then="assert 'torch' not in sys.modules", conf=str(conf))
    process = start("m=1.3", "seed=3", "hydra.run.dir=mine", "scenario=pdigits", program=program)
    out, _ = process.communicate()
    assert out.splitlines()[0] == "strategy=meta scenario=pdigits model=bnn seed=3: writing to mine"
    assert process.returncode == 0


def test_a_data_dir_that_can_be_made_is_not_made_before_the_run(answer: Answers, workplace: Path) -> None:
    assert answer("data_dir=a/b", "hydra.run.dir=mine").status == 0
    assert [path.name for path in workplace.iterdir()] == ["mine"]


def test_m_for_a_strategy_without_it_is_answered_by_one_warning(answer: Answers) -> None:
    answered = answer("strategy=finetune", "m=1.3")
    assert answered.status == 0
    assert answered.err == "WARNING: m=1.3 has no effect: strategy=finetune does not use it\n"


def test_a_multirun_gives_each_job_its_number_and_a_failing_job_stops_no_other(
    answer: Answers, workplace: Path
) -> None:
    def fail_at_one(config: Any, run_dir: Path) -> None:
        if config.m == 1:
            raise UserError("data_dir=x: holds no data")

    answered = answer("-m", "hydra/launcher=basic", "m=0,1,2", "hydra.sweep.dir=sweep", task=fail_at_one)
    assert answered.status == 1
    assert [(config["m"], run_dir) for config, run_dir in answered.runs] == [
        (m, workplace / "sweep" / str(m)) for m in (0, 1, 2)
    ]
    assert "job 1 (m=1) failed: data_dir=x: holds no data" in answered.err
    assert "1 of 3 jobs failed; first job 1 (m=1): data_dir=x: holds no data;" in answered.err
    assert "Traceback" not in answered.err


def test_a_user_error_in_the_run_is_one_line(answer: Answers) -> None:
    def refuse(config: Any, run_dir: Path) -> None:
        raise UserError("trainer.accelerator=gpu: there is none")

    answered = answer(task=refuse)
    assert (answered.status, answered.err) == (2, "trainer.accelerator=gpu: there is none\n")


def test_a_bug_in_the_run_shows_its_traceback(answer: Answers) -> None:
    def stumble(config: Any, run_dir: Path) -> None:
        raise KeyError("stumbled")

    answered = answer(task=stumble)
    assert answered.status == 1
    assert "Traceback" in answered.err
    assert "in stumble" in answered.err


def test_named_directories_are_refused_when_used_and_others_get_a_number(answer: Answers, workplace: Path) -> None:
    used = workplace / "mine"
    used.mkdir()
    (used / "notes.txt").touch()
    answered = answer("hydra.run.dir=mine")
    assert (answered.status, answered.err) == (
        2,
        "hydra.run.dir=mine: expected an empty directory, got one with files; give another name\n",
    )
    (used / "config.yaml").touch()
    assert answer("hydra.run.dir=mine").err.endswith("or resume the run in it with resume=mine\n")
    assert answer("-m", "m=0,1", "hydra.sweep.dir=mine").status == 2
    assert answer("hydra.run.dir=fresh").runs[0][1] == workplace / "fresh"


PROGRAM = """
import sys, time
from pathlib import Path
from metaplast.cli.main import command

def task(config, run_dir):
    (run_dir / "checkpoints").mkdir()
    (run_dir / "checkpoints" / "last.ckpt").touch()
    print(run_dir, flush=True)
    {then}

sys.exit(command(task, Path({conf!r})))
"""


def test_runs_started_together_never_share_a_directory(
    start: Callable[..., subprocess.Popen[str]], conf: Path, workplace: Path
) -> None:
    program = PROGRAM.format(then="pass", conf=str(conf))
    named = [start("hydra.run.dir=same", program=program) for _ in range(2)]
    stamped = [start(program=program) for _ in range(2)]
    for process in [*named, *stamped]:
        process.wait()
    assert sorted(process.returncode for process in named) == [0, 2]
    directories = [process.stdout.read().splitlines()[-1] for process in stamped if process.stdout is not None]
    assert [process.returncode for process in stamped] == [0, 0]
    assert len(set(directories)) == 2


@pytest.mark.parametrize(
    ("number", "status", "stopper"),
    [
        (signal.SIGINT, 130, "Ctrl-C"),
        (signal.SIGTERM, 143, "SIGTERM"),
        (signal.SIGHUP, 129, "SIGHUP"),
        (signal.SIGUSR1, 138, "SIGUSR1"),
    ],
)
def test_a_stopped_run_says_how_to_resume(
    number: signal.Signals, status: int, stopper: str, start: Callable[..., subprocess.Popen[str]], conf: Path
) -> None:
    process = start("hydra.run.dir=mine", program=PROGRAM.format(then="time.sleep(60)", conf=str(conf)))
    assert process.stdout is not None
    process.stdout.readline()  # about the run
    process.stdout.readline()
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == status
    assert err == f"Stopped by {stopper}. To resume: python src/train.py resume=mine\n"


def test_a_closed_pipe_ends_the_run_without_a_traceback(
    start: Callable[..., subprocess.Popen[str]], conf: Path
) -> None:
    program = PROGRAM.format(then="[print('line', flush=True) for _ in range(100000)]", conf=str(conf))
    process = start("hydra.run.dir=mine", program=program)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == "Stopped by a closed pipe. To resume: python src/train.py resume=mine\n"
    assert process.wait() == 141


@pytest.mark.parametrize(
    ("line", "chosen"), [("m=1", "hold"), ("trainer.threads=2", "yield"), ("-m m=1 hydra/launcher=basic", "yield")]
)
def test_threads_wait_awake_only_in_a_run_that_may_give_way(
    line: str, chosen: str, answer: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    for name in ("hold", "yield"):
        monkeypatch.setattr(f"metaplast.cli.main.{name}_cores", functools.partial(called.append, name))
    answer(*line.split(" "))
    assert called == [chosen]
