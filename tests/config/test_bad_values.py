"""Values out of their range, through the command: one line with key, value and what is expected; nothing is left."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from metaplast.errors import TrainingError, UserError

Answers = Callable[..., Any]

REFUSED = [
    # arguments of strategies
    ("strategy=der strategy.alpha=-1", r"^strategy.alpha=-1: expected a number >= 0, got -1$"),
    ("strategy=der strategy.beta=x", r"^strategy.beta=x: expected a number >= 0, got the text 'x'$"),
    ("strategy=der strategy.mem_size=0", r"^strategy.mem_size=0: expected an integer >= 1, got 0$"),
    ("strategy=replay strategy.batch_size_mem=1.5", r"^strategy.batch_size_mem=1.5: expected an integer >= 1 or null"),
    ("strategy=ewc strategy.ewc_lambda=-5", r"^strategy.ewc_lambda=-5: "),
    ("strategy=ewc strategy.fisher=exakt", r"^strategy.fisher=exakt: .*did you mean exact\?"),
    ("strategy=ewc strategy.labels=true", r"^strategy.labels=true: expected one of empirical"),
    ("strategy=ewc strategy.n_samples=0", r"^strategy.n_samples=0: "),
    ("strategy=ewc strategy.shuffled=1", r"^strategy.shuffled=1: expected one of true, false, got 1$"),
    ("strategy=ewc_online strategy.gamma=2", r"^strategy.gamma=2: expected a number from 0 to 1 or null, got 2$"),
    ("strategy=ewc_shuffled strategy.weights=all", r"^strategy.weights=all: expected one of binary, hidden"),
    ("strategy=si strategy.si_lambda=-1", r"^strategy.si_lambda=-1: "),
    ("strategy=si strategy.xi=0", r"^strategy.xi=0: expected a number > 0, got 0$"),
    ("strategy=si strategy.path=signs", r"^strategy.path=signs: "),
    ("strategy=si strategy.norm_parameters=yes", r"^strategy.norm_parameters=yes: "),
    ("strategy=mas strategy.alpha=1.5", r"^strategy.alpha=1.5: expected a number from 0 to 1, got 1.5$"),
    ("strategy=mas strategy.lambda_reg=nan", r"^strategy.lambda_reg=nan: "),
    ("strategy=rwalk strategy.delta_t=0", r"^strategy.delta_t=0: "),
    ("strategy=rwalk strategy.ewc_alpha=-0.1", r"^strategy.ewc_alpha=-0.1: "),
    ("strategy=lwf strategy.temperature=0", r"^strategy.temperature=0: expected a number > 0, got 0$"),
    ("strategy=lwf strategy.alpha=[]", r"^strategy.alpha=\[\]: .*got an empty list$"),
    ("strategy=agem strategy.sample_size=0", r"^strategy.sample_size=0: "),
    ("strategy=gem strategy.memory_strength=-0.5", r"^strategy.memory_strength=-0.5: "),
    ("strategy=gem strategy.patterns_per_experience=true", r"^strategy.patterns_per_experience=true: "),
    ("strategy=meta_sgd strategy.optimizer.momentum=1", r"^strategy.optimizer.momentum=1: "),
    # numbers that no arithmetic survives
    ("strategy.optimizer.lr=1e300", r"^strategy.optimizer.lr=1e\+300: expected a number > 0"),
    ("m=1e31", r"^m=1e\+31: "),
    ("epochs_per_task=10000000000000000000000", r"^epochs_per_task=1000.*: expected an integer from 1 to 1000000"),
    ("epochs_per_task=1e22", r"^epochs_per_task=1e\+22: "),
    ("batch_size=4294967296", r"^batch_size=4294967296: "),
    ("scenario.n_tasks=100000000000", r"^scenario.n_tasks=100000000000: "),
    ("model.hidden=[99999999999]", r"^model.hidden=\[99999999999\]: "),
    # the key as it was typed, and files
    ("scenario=/etc/passwd", r"^scenario=/etc/passwd: there is no such choice; scenario is one of "),
    ("model=../model/bnn2", r"^model=../model/bnn2: there is no such choice"),
    ("data_dir=/etc/passwd", r"^data_dir=/etc/passwd: expected a directory, got a file"),
    ("data_dir=/etc/passwd/below", r"^data_dir=/etc/passwd/below: expected a directory, got a file"),
    ("m=${oc.select:a.b.c}", r"^m=\${oc.select:a.b.c}: there is no setting a.b.c$"),
    ("seed=${oc.select:m}", r"^seed=2.0: expected an integer"),
    # sweeps of sweeps
    (
        "-m experiment=fig2,width scenario=pdigits",
        r"^experiment=fig2: is a sweep itself, .*: python src/train.py experiment=fig2 scenario=pdigits$",
    ),
    ("-m hparams_search=meta,ewc", r"^hparams_search=meta: is a sweep itself"),
    (
        "-m experiment=width,fig3 seed=0,1",
        r"^experiment=width: is a sweep itself, .* experiment=width seed=0$",
    ),
    ("-m experiment=table1,look", r"^experiment=table1: is a sweep itself"),
    ("-m hparams=first_tasks,null", r"^hparams=first_tasks: is a sweep itself"),
]


@pytest.mark.parametrize(("line", "said"), REFUSED, ids=[line for line, _ in REFUSED])
def test_a_bad_value_is_refused_in_one_line_and_leaves_nothing(
    line: str, said: str, answer: Answers, workplace: Path
) -> None:
    answered = answer(*line.split(" "))
    assert answered.status == 2
    assert re.search(said, answered.err.rstrip("\n")), answered.err
    assert answered.err.count("\n") == 1
    assert answered.runs == []
    assert list(workplace.iterdir()) == []


@pytest.mark.parametrize("named", [[], ["hydra.run.dir=a/b"]])
def test_a_run_that_is_refused_before_its_first_step_leaves_nothing(
    named: list[str], answer: Answers, workplace: Path
) -> None:
    def refuse(config: DictConfig, run_dir: Path) -> None:
        (run_dir / "config.yaml").touch()
        raise UserError("model.kernel_size=50: larger than the image")

    answered = answer(*named, task=refuse)
    assert (answered.status, answered.err) == (2, "model.kernel_size=50: larger than the image\n")
    assert list(workplace.iterdir()) == []


@pytest.mark.parametrize("started", ["step", "checkpoint"])
def test_a_run_that_has_begun_keeps_its_files(started: str, answer: Answers) -> None:
    def fail(config: DictConfig, run_dir: Path) -> None:
        if started == "step":
            raise TrainingError("the loss is not finite")
        (run_dir / "checkpoints").mkdir()
        (run_dir / "checkpoints" / "last.ckpt").touch()
        raise UserError("the loss is not finite")

    answered = answer(task=fail)
    assert answered.status == 1
    assert answered.err.startswith("the loss is not finite")
    assert answered.err.count("\n") == 1
    assert answered.runs[0][1].is_dir()
