"""An experiment file may hold two sizes and several arms, by resolvers."""

from collections.abc import Callable
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from metaplast.config.overrides import by, by_budget, has_two_sizes

Answers = Callable[..., Any]


@pytest.mark.parametrize(("budget", "expected"), [("cpu", [8, 8]), ("paper", [4096, 4096])])
def test_the_budget_picks_one_of_two_values(budget: str, expected: list[int]) -> None:
    config = OmegaConf.create({"budget": budget, "model": {"hidden": "${by_budget:[8,8],[4096,4096]}"}})
    assert config.model.hidden == expected
    assert by_budget(1, 2, _root_=config) == {"cpu": 1, "paper": 2}[budget]


@pytest.mark.parametrize(("parts", "expected"), [(1, 1), (60, 20)])
def test_a_value_may_hang_on_another_setting(parts: int, expected: int) -> None:
    config = OmegaConf.create({"scenario": {"n_parts": parts}, "every": "${by:scenario.n_parts,{1:1},20}"})
    assert config.every == expected
    assert by("scenario.nope", {1: 1}, 7, _root_=config) == 7


def test_two_sizes_are_found_wherever_they_are() -> None:
    assert has_two_sizes(OmegaConf.create({"hydra": {"sweeper": {"params": {"m": "${by_budget:'0,1','0,2'}"}}}}))
    assert not has_two_sizes(OmegaConf.create({"budget": "paper", "m": "${budget}"}))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("budget=paper", "budget=paper: nothing here has two sizes; an experiment has, such as experiment=fig2\n"),
        ("experiment=parity budget=cpu", "budget=cpu: nothing here has two sizes"),
        ("experiment=fig2 budget=gpu", "budget=gpu: expected one of cpu, paper"),
        ("plots=[fig2]", "plots=[fig2]: expected a list of any of tasks_by_m"),
        ("experiment=fig2 m=0,abc", "m=abc: expected a number"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(line: str, said: str, answer: Answers) -> None:
    answered = answer(*line.split())
    assert answered.status == 2
    assert answered.err.startswith(said)
    assert answered.err.count("\n") == 1
    assert answered.runs == []


def test_a_single_run_of_an_experiment_can_be_had(answer: Answers) -> None:
    [(config, _)] = answer("experiment=fig2", "hydra.mode=RUN", "m=1", "budget=paper").runs
    assert (config["m"], config["epochs_per_task"], config["model"]["hidden"]) == (1, 40, [4096, 4096])


def test_an_interpolation_stays_one_until_it_is_asked_for(composed: Callable[..., DictConfig]) -> None:
    config = composed("experiment=fig2")
    assert OmegaConf.to_container(config, resolve=False)["epochs_per_task"] == "${by_budget:5,40}"  # type: ignore[index, call-overload]
