"""A study outlives its process: what it proposes does not hang on when it was stopped, and its file can be repaired.

What a command line makes of a search space.
"""

from pathlib import Path

import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from metaplast.errors import UserError
from metaplast.search.study import ask, check_settings, open_study, plan, repair_journal, run_again, tell

SETTINGS = {"sampler": "tpe", "pruner": "median", "n_startup_trials": 4}
SPACE = {"m": FloatDistribution(0, 4), "lr": FloatDistribution(1e-3, 1e-1, log=True)}


def search(folder: Path, n_trials: int, seed: int = 0, dies_at: int | None = None) -> None:
    """Ask and tell in a process that may die over a trial, and then, in the next one, does it again."""
    study = open_study(folder, SETTINGS)
    for cut in study.get_trials(states=[TrialState.RUNNING]):
        run_again(study, cut.number)
    while len(study.get_trials(states=[TrialState.COMPLETE])) < n_trials:
        trial = ask(study, SETTINGS, SPACE, seed)
        if trial.number == dies_at:
            return
        tell(study, trial.number, {"status": "completed", "average_accuracy": -abs(trial.params["m"] - 1.3)})


def proposed(folder: Path) -> list[dict[str, float]]:
    return [trial.params for trial in open_study(folder, SETTINGS).trials if trial.state == TrialState.COMPLETE]


def test_however_often_it_is_cut_a_search_tries_what_it_would_have_tried(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    search(whole, 15)
    search(cut, 15, dies_at=3)
    search(cut, 6)
    search(cut, 15, dies_at=9)
    search(cut, 15, dies_at=10)  # the one that is done again dies too
    search(cut, 15)
    assert proposed(cut) == proposed(whole)
    assert [trial.state.name for trial in open_study(cut, SETTINGS).trials].count("FAIL") == 3


def test_another_seed_tries_something_else(tmp_path: Path) -> None:
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        search(tmp_path / str(seed), 2, seed)
    assert proposed(tmp_path / "0") != proposed(tmp_path / "1")


@pytest.mark.parametrize(
    ("summary", "state"),
    [
        ({"status": "completed", "average_accuracy": 0.5}, "COMPLETE"),
        ({"status": "pruned", "average_accuracy": None}, "PRUNED"),
        ({"status": "completed", "average_accuracy": None}, "FAIL"),
        ({"status": "failed"}, "FAIL"),
        (None, "FAIL"),
    ],
)
def test_a_trial_ends_as_its_run_did(tmp_path: Path, summary: dict[str, object] | None, state: str) -> None:
    study = open_study(tmp_path, SETTINGS)
    tell(study, ask(study, SETTINGS, SPACE, 0).number, summary)
    assert study.trials[0].state.name == state


def test_a_line_that_a_power_cut_left_unfinished_is_dropped(tmp_path: Path) -> None:
    search(tmp_path, 2)
    with (tmp_path / "study.journal").open("a") as journal:
        journal.write('{"op_code":4,"worker')
    repair_journal(tmp_path)
    search(tmp_path, 3)
    assert len(proposed(tmp_path)) == 3


def test_trials_that_cannot_be_compared_are_kept_apart(tmp_path: Path) -> None:
    study = open_study(tmp_path, SETTINGS)
    check_settings(study, {"epochs_per_task": 5, "m": None}, tmp_path)
    check_settings(open_study(tmp_path, SETTINGS), {"epochs_per_task": 5, "m": None}, tmp_path)
    with pytest.raises(UserError, match=r"^epochs_per_task=3: the study in .* was made with epochs_per_task=5; give"):
        check_settings(study, {"epochs_per_task": 3, "m": None}, tmp_path)


READY = {"m": "interval(0, 4)", "strategy.optimizer.lr": "tag(log, interval(0.001, 0.1))"}
M, LR = FloatDistribution(0, 4), FloatDistribution(0.001, 0.1, log=True)


@pytest.mark.parametrize(
    ("given", "fixed", "space"),
    [
        (["seed=1"], ["seed=1"], {"m": M, "strategy.optimizer.lr": LR}),
        (["m=1.5"], ["m=1.5"], {"strategy.optimizer.lr": LR}),
        (["m=interval(1,2)"], [], {"m": FloatDistribution(1, 2), "strategy.optimizer.lr": LR}),
        (["m=0,1.5"], [], {"m": CategoricalDistribution(["0", "1.5"]), "strategy.optimizer.lr": LR}),
        (
            ["m=1", "batch_size=int(interval(10, 100))", "model.hidden=[8],[8,8]"],
            ["m=1"],
            {
                "strategy.optimizer.lr": LR,
                "batch_size": IntDistribution(10, 100),
                "model.hidden": CategoricalDistribution(["[8]", "[8,8]"]),
            },
        ),
        (["epochs_per_task=range(1,4)", "m=0"], ["m=0"], {
            "strategy.optimizer.lr": LR, "epochs_per_task": CategoricalDistribution(["1", "2", "3"])}),
    ],
)  # fmt: skip
def test_a_range_replaces_the_ready_one_and_a_value_fixes_it(
    given: list[str], fixed: list[str], space: dict[str, BaseDistribution]
) -> None:
    assert plan(READY, given) == (fixed, space)


def test_null_leaves_a_ready_range_out() -> None:
    assert plan({**READY, "m": None}, []).space == {"strategy.optimizer.lr": LR}


@pytest.mark.parametrize(
    ("ready", "given", "said"),
    [
        ({}, [], r"^search\.space: is empty"),
        (READY, ["m=1", "strategy.optimizer.lr=0.01"], r"^search\.space: is empty"),
        ({"m": "1"}, [], r"^search\.space\.m=1: expected a range"),
        (READY, ["seed=0,1"], r"^seed: cannot be searched, since a search would choose the luckiest one$"),
        (READY, ["eval_split=test,validation"], r"^eval_split: cannot be searched"),
        (READY, ["m=interval(4,0)"], r"^m=interval\(4,0\): expected an interval from a lower to a higher number"),
        (READY, ["m=tag(log,interval(0,4))"], r"with log from above 0$"),
        (READY, ["strategy=glob(*)"], r"^strategy=glob\(\*\): a search takes"),
    ],
)
def test_what_cannot_be_searched_is_said(ready: dict[str, str | None], given: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        plan(ready, given)
