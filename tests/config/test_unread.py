"""Keys that nothing reads are refused wherever they were written, with the key that was meant."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Answers = Callable[..., Any]

IN_A_FILE = [
    ("epoch_per_task: 1", r"^epoch_per_task=1: .*did you mean epochs_per_task\?"),
    ("plot: [hidden_weights]", r"^plot=\[hidden_weights\]: .*did you mean plots\?"),
    ("sed: 3", r"^sed=3: .*did you mean seed\?"),
    ("trainer: {thread: 1}", r"^trainer.thread=1: .*did you mean trainer.threads\?"),
    ("trainer: {acelerator: cpu}", r"^trainer.acelerator=cpu: .*did you mean trainer.accelerator\?"),
    ("logger: {tag: [a]}", r"^logger.tag=\[a\]: .*did you mean logger.tags\?"),
    ("logger: {colour: red}", r"^logger.colour=red: nothing reads logger.colour; logger takes mode, "),
    ("strategy: {optimiser: {lr: 0.1}}", r"^strategy.optimiser.lr=0.1: .*did you mean strategy.optimizer.lr\?"),
    ("strategy: {reset_optimzer: true}", r"^strategy.reset_optimzer=true: .*did you mean strategy.reset_optimizer\?"),
    ("strategy: {lr: 0.1}", r"^strategy.lr=0.1: .*did you mean strategy.optimizer.lr\?"),
    ("strategy: {optimizer: {weightdecay: 0}}", r"^strategy.optimizer.weightdecay=0: .*optimizer.weight_decay\?"),
    ("strategy: {optimizer: {params: []}}", r"^strategy.optimizer.params=\[\]: the run itself gives params"),
    ("model: {hiden: [4]}", r"^model.hiden=\[4\]: .*did you mean model.hidden\?"),
    ("model: {n_classes: 3}", r"^model.n_classes=3: the run itself gives n_classes"),
    ("scenario: {n_task: 2}", r"^scenario.n_task=2: .*did you mean scenario.n_tasks\?"),
    ("scenario: {seed: 2}", r"^scenario.seed=2: the run itself gives seed"),
    ("modle: {hidden: [4]}", r"^modle.hidden=\[4\]: .*did you mean model.hidden\?"),
    ("first_task: {n_tasks: 2}", r"^first_task.n_tasks=2: nothing reads"),
    ("search: {n_trial: 2}", r"^search.n_trial=2: .*did you mean search.n_trials\?"),
    ("defaults: [{override /strategy: si}]\nstrategy: {ewc_lambda: 2}", r"^strategy.ewc_lambda=2: nothing reads"),
    ("note: '${nope}'", r"^note=\${nope}: nothing reads"),
    ("m: ${oc.select:a.b.c}", r"^m=\${oc.select:a.b.c}: there is no setting a.b.c"),
]


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration directory of the user's own, beside the working directory."""
    directory = tmp_path_factory.mktemp("own")
    for group in ("experiment", "strategy", "scenario", "model"):
        (directory / group).mkdir()
    return directory


@pytest.mark.parametrize(("content", "said"), IN_A_FILE, ids=[content for content, _ in IN_A_FILE])
def test_a_misspelt_key_of_a_users_file_is_refused(
    content: str, said: str, own: Path, answer: Answers, workplace: Path
) -> None:
    (own / "experiment" / "t.yaml").write_text(f"# @package _global_\n{content}\n", encoding="utf-8")
    answered = answer("--config-dir", str(own), "experiment=t")
    assert answered.status == 2
    assert re.search(said, answered.err), answered.err
    assert answered.err.count("\n") == 1
    assert answered.runs == []
    assert list(workplace.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("+epoch_per_task=1", r"^\+epoch_per_task=1: nothing reads epoch_per_task \(did you mean epochs_per_task\?\)"),
        ("++trainer.thread=1", r"^\+\+trainer.thread=1: nothing reads"),
        ("+logger.tag=a", r"^\+logger.tag=a: nothing reads"),
        ("+strategy.strength=3", r"^\+strategy.strength=3: nothing reads"),
        (
            "+strategy.optimizer.nesterov=true",
            r"^\+strategy.optimizer.nesterov=true: nothing reads it, since metaplast",
        ),
        (
            "strategy.optimizer._target_=torch.optim.SGD",
            r"^strategy.optimizer._target_=torch.optim.SGD: does not take betas and eps and decoupled_weight_decay and "
            r"relative_m and consolidation and compiled; remove with ~strategy.optimizer.betas .*"
            r"~strategy.optimizer.consolidation ~strategy.optimizer.compiled$",
        ),
        (
            "model._target_=metaplast.nn.models.bcnn",
            r"^model._target_=metaplast.nn.models.bcnn: does not take hidden",
        ),
    ],
)
def test_so_is_one_of_the_command_line(line: str, said: str, answer: Answers, workplace: Path) -> None:
    answered = answer(*line.split(" "))
    assert answered.status == 2
    assert re.search(said, answered.err), answered.err
    assert answered.err.count("\n") == 1
    assert list(workplace.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [["+strategy.optimizer.nesterov=true", "strategy.optimizer.momentum=0.9"], [], ["+strategy.unused=1"]]
)
def test_a_target_of_ones_own_takes_what_its_signature_has(arguments: list[str], own: Path, answer: Answers) -> None:
    (own / "strategy" / "mine.yaml").write_text(
        "name: mine\nuses_m: false\ntask_order: sequence\nreset_optimizer: false\nstrength: 3\n"
        "optimizer: {_target_: torch.optim.SGD, lr: 0.1, momentum: 0}\n"
        "plugins: [{_target_: avalanche.training.plugins.LwFPlugin, alpha: '${strategy.strength}'}]\n",
        encoding="utf-8",
    )
    answered = answer("--config-dir", str(own), "strategy=mine", *arguments)
    assert answered.status == (2 if "+strategy.unused=1" in arguments else 0), answered.err


def test_an_argument_that_ones_own_target_does_not_take_is_refused(own: Path, answer: Answers) -> None:
    (own / "strategy" / "mine.yaml").write_text(
        "defaults: [finetune, _self_]\nname: mine\n"
        "plugins: [{_target_: avalanche.training.plugins.LwFPlugin, alhpa: 1}]\n",
        encoding="utf-8",
    )
    answered = answer("--config-dir", str(own), "strategy=mine")
    assert answered.status == 2
    assert re.match(
        r"strategy.plugins\[0\].alhpa=1: nothing reads it, since avalanche.training.plugins.LwFPlugin does not take "
        r"alhpa \(did you mean strategy.plugins\[0\].alpha\?\)",
        answered.err,
    ), answered.err


def test_what_a_target_and_an_interpolation_read_is_kept(own: Path, answer: Answers) -> None:
    (own / "model" / "mine.yaml").write_text("_target_: mine.network\nname: mine\ndepth: ${depth}\n", encoding="utf-8")
    (own / "experiment" / "t.yaml").write_text(
        "# @package _global_\ndefaults: [{override /model: mine}]\ndepth: 3\n", encoding="utf-8"
    )
    [(config, _)] = answer("--config-dir", str(own), "experiment=t").runs
    assert config["model"]["depth"] == 3
