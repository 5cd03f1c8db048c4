"""A search: how many trials it runs, that it goes on where it was cut, what it prunes, refuses and prints."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from omegaconf import DictConfig
from optuna.trial import TrialState

from metaplast.errors import UserError
from metaplast.search.study import open_study, plan
from metaplast.search.sweeper import search_trial

Search = Callable[..., Any]

ROOT = Path(__file__).parents[2]
FAST = ("scenario=pdigits", "hydra/launcher=basic")
FOLDER = Path("outputs/studies/meta-pdigits")
SETTINGS = {"sampler": "tpe", "pruner": "median", "n_startup_trials": 5}


def trials(folder: Path = FOLDER) -> list[optuna.trial.FrozenTrial]:
    return open_study(folder, SETTINGS).trials


def tried(folder: Path = FOLDER) -> list[tuple[dict[str, Any], list[float]]]:
    """Parameters and value of every trial that came to its end, in their order."""
    return [(trial.params, trial.values) for trial in trials(folder) if trial.state == TrialState.COMPLETE]


def test_one_command_searches_the_same_again_goes_on_and_the_line_it_prints_reproduces_the_best(search: Search) -> None:
    command = ("hparams_search=ewc", *FAST, "m=1.5", "model.hidden=[16]")
    first, second = (search(*command, f"search.n_trials={n}") for n in (2, 3))
    assert (first.status, len(first.runs), second.status, len(second.runs)) == (0, 2, 0, 1)
    folder, runs = Path("outputs/studies/ewc-pdigits"), [*first.runs, *second.runs]
    assert [run["eval_split"] for run in runs] == ["validation"] * 3
    assert [trial.params["strategy.ewc_lambda"] for trial in trials(folder)] == [
        run["strategy"]["ewc_lambda"] for run in runs
    ]
    assert {path.name for path in folder.iterdir()} >= {"0", "1", "2", "study.journal", "best.json", "study.png"}

    best = json.loads((folder / "best.json").read_text("utf-8"))
    [line] = [line for line in second.out.splitlines() if line.startswith("the same again: ")]
    again = search(*shlex.split(line)[5:])  # the same again: python src/train.py …
    assert again.runs == [{key: value for key, value in runs[best["trial"]].items() if key != "search"}]
    summary = json.loads(next(Path("outputs/train").glob("*/*/summary.json")).read_text("utf-8"))
    assert summary["average_accuracy"] == best["average_accuracy"]
    [line] = [line for line in second.out.splitlines() if line.startswith("on test data: ")]
    assert search(*shlex.split(line)[5:]).runs == [{**again.runs[0], "eval_split": "test"}]


def test_a_hopeless_trial_stops_and_the_study_has_it_as_pruned(search: Search) -> None:
    steps: list[int] = []

    def five_tasks(config: DictConfig, run_dir: Path) -> Any:
        is_hopeless = search_trial(config)
        assert is_hopeless is not None
        number = int(run_dir.name)
        accuracy = 0.1 if number == 2 else 0.5
        for task in range(5):
            steps.append(number)
            if is_hopeless(task, accuracy):
                return left(run_dir, None, "pruned")
        return left(run_dir, accuracy)

    answer = search("hparams_search=meta", *FAST, "search.n_trials=3", "search.n_startup_trials=2", task=five_tasks)
    assert answer.status == 0
    assert [trial.state.name for trial in trials()] == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert [steps.count(number) for number in range(3)] == [5, 5, 1]
    assert "2 completed, 1 pruned" in answer.out


def test_a_failed_trial_stops_no_other_is_told_and_tried_anew_by_the_next_call(search: Search) -> None:
    def second_fails(config: DictConfig, run_dir: Path) -> Any:
        if run_dir.name == "1":
            raise UserError("data_dir=x: holds no data")
        return left(run_dir, 0.5)

    answer = search("hparams_search=meta", *FAST, "search.n_trials=3", task=second_fails)
    assert answer.status == 1
    assert "data_dir=x: holds no data" in answer.err
    assert [trial.state.name for trial in trials()] == ["COMPLETE", "FAIL", "COMPLETE"]


def test_a_run_outside_a_search_is_no_trial(search: Search) -> None:
    heard: list[Any] = []
    search(
        "hparams_search=meta", *FAST, "hydra.mode=RUN", task=lambda config, run_dir: heard.append(search_trial(config))
    )
    search("-m", *FAST, "m=1", task=lambda config, run_dir: heard.append(search_trial(config)))
    assert heard == [None, None]


REFUSED = {
    "eval_split=test": r"^eval_split=test: expected validation",
    "eval_split=test,validation": r"^eval_split: cannot be searched",
    "search.pruner=hyperband": r"^search.pruner=hyperband: expected one of median, none",
    "resume=true": r"^resume=true: the same command without it resumes a search",
}


@pytest.mark.parametrize("override", REFUSED)
def test_what_cannot_be_searched_is_refused_in_a_line(search: Search, override: str) -> None:
    answer = search("hparams_search=meta", *FAST, override)
    assert (answer.status, answer.runs) == (2, [])
    assert re.search(REFUSED[override] + r".*\n$", answer.err), answer.err
    assert not Path("outputs").exists()


def test_trials_of_other_settings_do_not_get_into_a_study(search: Search) -> None:
    search("hparams_search=meta", *FAST, "search.n_trials=1")
    answer = search("hparams_search=meta", *FAST, "search.n_trials=2", "epochs_per_task=3")
    assert (answer.status, answer.runs) == (2, [])
    assert answer.err.startswith("epochs_per_task=3: the study in outputs/studies/meta-pdigits was made with")


def test_a_missing_package_is_one_line(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metaplast.search.sweeper.find_spec", lambda name: None)
    answer = search("hparams_search=meta", *FAST)
    assert answer.err == "hparams_search: needs Optuna, which is not installed; pip install -e '.[search]'\n"


PROGRAM = """
import json, sys, time
from pathlib import Path
from metaplast.cli.main import command
from metaplast.io import write_text

def task(config, run_dir):
    print(run_dir.name, flush=True)
    if run_dir.name == "9" and not Path("second").exists():
        time.sleep(60)
    summary = {"status": "completed", "average_accuracy": 1 - abs(config.m - 1.3) / 4}
    write_text(run_dir / "summary.json", json.dumps(summary))
    return summary

import metaplast.sweep.session
metaplast.sweep.session._report = lambda sweep_dir: None
sys.exit(command(task, Path(CONF)))
"""


@pytest.mark.slow
def test_a_search_that_was_killed_half_way_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM.replace("CONF", repr(str(ROOT / "conf"))), encoding="utf-8")

    def start(*more: str) -> "subprocess.Popen[str]":
        arguments = ["hparams_search=meta", *FAST, "search.n_trials=20", *more]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        return subprocess.Popen(
            [sys.executable, str(script), *arguments], cwd=tmp_path, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    killed = start()
    assert killed.stdout is not None
    while killed.stdout.readline() != "9\n":
        assert killed.poll() is None
    killed.kill()
    killed.communicate()
    (tmp_path / "second").touch()
    again, at_once = start(), start("hydra.sweep.dir=at_once")
    out, _ = again.communicate()
    at_once.communicate()
    assert (again.returncode, at_once.returncode) == (0, 0)
    folder = tmp_path / FOLDER
    states = [trial.state.name for trial in trials(folder)]
    assert states == ["COMPLETE"] * 9 + ["FAIL"] + ["COMPLETE"] * 11
    assert out.startswith("10\n")  # none of the nine is run again
    assert tried(folder) == tried(tmp_path / "at_once")


def test_what_a_killed_search_did_not_hear_of_is_not_lost_and_what_it_cut_is_done_again(search: Search) -> None:
    FOLDER.mkdir(parents=True)
    study, [space] = open_study(FOLDER, SETTINGS), [plan({"m": "interval(0, 4)"}, []).space]
    cut = [study.ask(space) for _ in range(2)]
    left(FOLDER / "0", 0.875)
    command = ("hparams_search=meta", *FAST, "strategy.optimizer.lr=0.01", "search.n_trials=2")
    answer = search(*command, task=lambda config, run_dir: left(run_dir, 0.5))
    assert [trial.state.name for trial in trials()] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert (trials()[0].values, trials()[2].params) == ([0.875], cut[1].params)
    assert [run["m"] for run in answer.runs] == [cut[1].params["m"]]


def left(run_dir: Path, accuracy: float | None, status: str = "completed") -> dict[str, Any]:
    """What a run leaves, as far as a search is concerned."""
    summary = {"status": status, "average_accuracy": accuracy}
    run_dir.mkdir(exist_ok=True)
    (run_dir / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return summary
