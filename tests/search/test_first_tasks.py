"""hparams=first_tasks: what it trains to choose m, what it then trains, and what it says of the choice."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from metaplast.search.first_tasks import candidates

Search = Callable[..., Any]

FAST = ("scenario=pdigits", "hydra/launcher=basic", "hydra.sweep.dir=sweep", "first_tasks.candidates=[0,1,2]")


def best_at_one_then_at_two(config: DictConfig, run_dir: Path) -> dict[str, Any]:
    """On the first tasks m = 1 is the best, on the whole stream m = 2; the seed moves all of them alike."""
    accuracies = {0: 0.5, 1: 0.75, 2: 0.625} if config.max_tasks else {0: 0.25, 1: 0.375, 2: 0.5}
    return {"average_accuracy": accuracies[config.m] + config.seed / 8}


def test_m_is_chosen_on_validation_data_of_the_first_tasks_and_trained_with_on_all_of_the_stream(
    search: Search,
) -> None:
    answer = search("hparams=first_tasks", *FAST, "seed=0,1", task=best_at_one_then_at_two)
    assert answer.status == 0
    told = [(run["seed"], run["m"], run["eval_split"], run["max_tasks"]) for run in answer.runs]
    assert told[:6] == [(seed, m, "validation", 2) for seed in (0, 1) for m in (0, 1, 2)]
    assert told[6:] == [(seed, 1, "test", None) for seed in (0, 1)]
    assert not any("first_tasks" in run for run in answer.runs)  # plain runs, that anyone can run again
    assert "seed=1 m=1: chosen of 3 after 2 tasks, at 87.50 % on their validation data; 50.00 %" in answer.out


def test_hindsight_trains_with_every_m_and_says_what_the_choice_has_cost(search: Search) -> None:
    answer = search("hparams=first_tasks", *FAST, "first_tasks.hindsight=true", task=best_at_one_then_at_two)
    assert [run["m"] for run in answer.runs] == [0, 1, 2] * 2
    assert "best in hindsight: m=2, 12.50 points more" in answer.out
    with Path("sweep/hindsight.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["m"] for row in rows if row["chosen"] == "true"] == ["1"]
    assert [float(row["average_accuracy"]) for row in rows] == [0.25, 0.375, 0.5]
    assert Path("sweep/hindsight.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("model", "n_layers"),
    [(("model.hidden=[8]",), 2), (("model=vgg", "model.channels=[4]", "model.hidden=[8,8]"), 4)],
    ids=["bnn", "vgg"],
)
def test_per_layer_tries_a_number_for_each_weight_layer(search: Search, model: tuple[str, ...], n_layers: int) -> None:
    settings = ("first_tasks.per_layer=true", "first_tasks.n_trials=5", "first_tasks.hindsight=true")
    answer = search("hparams=first_tasks", *FAST, *model, *settings)
    assert answer.status == 0
    tried = [run["m"] for run in answer.runs if run["max_tasks"]]
    assert tried[:3] == [[0] * n_layers, [1] * n_layers, [2] * n_layers]
    assert [len(m) for m in tried[3:]] == [n_layers] * 2
    assert sorted(run["m"] for run in answer.runs if not run["max_tasks"]) == sorted(tried)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("m=1", "m=1: cannot be given with hparams=first_tasks, which sets m, max_tasks, eval_split"),
        ("strategy=finetune", "hparams=first_tasks: chooses m, which strategy=finetune does not use"),
        ("first_tasks.candidates=[-1]", "first_tasks.candidates=[-1]: expected a list of numbers >= 0, got [-1]"),
    ],
)
def test_where_there_is_no_m_to_choose_it_says_so(search: Search, override: str, said: str) -> None:
    answer = search("hparams=first_tasks", *FAST, override)
    assert (answer.status, answer.err, answer.runs) == (2, f"{said}\n", [])


def test_a_failed_job_leaves_nothing_chosen(search: Search) -> None:
    def fail(config: DictConfig, run_dir: Path) -> Any:
        raise ValueError("the loss is not finite")

    answer = search("hparams=first_tasks", *FAST, task=fail)
    assert answer.status == 1
    assert not Path("sweep/hindsight.csv").exists()


def test_layers_that_differ_come_after_those_alike_and_none_comes_twice() -> None:
    all_of_them = candidates([0, 1, 2], n_layers=3, n_trials=99, seed=0)
    assert all_of_them[:3] == [[0] * 3, [1] * 3, [2] * 3]
    assert len({str(m) for m in all_of_them}) == 27 == len(all_of_them)
    assert candidates([0, 1, 2], n_layers=3, n_trials=5, seed=0) == all_of_them[:5]
    assert candidates([0, 1, 2], n_layers=3, n_trials=5, seed=1) != all_of_them[:5]
