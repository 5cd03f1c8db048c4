"""How a run is described: its title, its metrics, its protocol, and its name in W&B."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from metaplast.report.protocol import (
    MAX_NAME,
    common_protocol,
    job_naming,
    metric_text,
    protocol,
    run_naming,
    run_title,
)

RUN = {"strategy": "meta", "m": 1.3, "scenario": "pmnist", "model": "bnn", "seed": 0}
HEADING = "meta · m = 1.3 · pmnist · bnn · seed 0"


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["m=1.3", "seed=0", "scenario=pmnist", "strategy=meta", "model=bnn", "data_dir=/data"], HEADING),
        (["trainer=gpu", "trainer.threads=1", "logger=wandb_online", "hydra/launcher=joblib"], HEADING),
        (["strategy.optimizer.lr=0.01", "+model.depth=2"], f"{HEADING} · strategy.optimizer.lr=0.01 · +model.depth=2"),
        (["experiment=paper"], f"{HEADING} · experiment=paper"),
    ],
)
def test_the_name_says_what_was_set_besides_what_every_name_says(overrides: list[str], name: str) -> None:
    assert run_naming(RUN, overrides, None, None)["name"] == name


def test_a_name_is_not_longer_than_wandb_takes() -> None:
    name = run_naming(RUN, [f"scenario.n_{i}=1" for i in range(50)], None, None)["name"]
    assert (len(name), name[-1]) == (MAX_NAME, "…")


def test_tags_and_notes_are_the_choices_and_the_overrides() -> None:
    assert run_naming(RUN, ["m=1.3", "seed=0"], "paper", None) == {
        "name": f"{HEADING}",
        "group": None,
        "tags": ["meta", "pmnist", "bnn", "paper"],
        "notes": "m=1.3 seed=0",
    }
    assert run_naming(RUN, [], None, None)["notes"] is None


def test_the_jobs_of_a_multirun_are_one_group_and_a_run_alone_is_in_none(answer: Callable[..., Any]) -> None:
    found: list[dict[str, Any]] = []

    def task(config: DictConfig, run_dir: Path) -> None:
        found.append(job_naming({**RUN, "m": config.m, "overrides": []}))

    assert answer("-m", "m=0,0.5", "hydra/launcher=basic", "experiment=paper", task=task).status == 0
    assert answer("-m", "m=1", "hydra/launcher=basic", "hydra.sweep.dir=mine/m and seeds", task=task).status == 0
    assert answer("m=2", "hydra.run.dir=alone", task=task).status == 0
    first, second, named, alone = found
    assert first["group"] == second["group"]
    assert len(first["group"]) == len("2026-11-24 10-00-00")
    assert (named["group"], alone["group"]) == ("m and seeds", None)
    assert (first["tags"][-1], alone["tags"][-1]) == ("paper", "bnn")


def test_a_run_that_says_nothing_has_dashes() -> None:
    assert protocol({}) == ("–", "–", "–", "–", "–")


def test_no_normalization_is_none_and_a_setting_that_a_kind_lacks_is_left_out() -> None:
    assert protocol({"norm": "none", "gamma_init": None}).normalization == "none"
    assert protocol({"norm": "layer", "gamma_init": "ones", "test_statistics": None}).normalization == (
        "layer, shared, γ ones"
    )


def test_a_normalization_without_gamma_and_an_optimizer_that_is_reset_are_said() -> None:
    told = protocol({"norm": "batch", "norm_affine": False, "gamma_init": None, "reset_optimizer": True})
    assert (told.normalization, told.optimizer) == ("batch, shared, not affine", "reset at each task")


def test_validation_data_are_never_taken_for_test_data(summary: dict[str, Any]) -> None:
    validated = {**summary, "eval_split": "validation", "val_fraction": 0.1}
    assert protocol(validated).tested_on == "validation data (0.1 of the training data)"
    assert common_protocol([summary, validated]).tested_on == "test data / validation data (0.1 of the training data)"


def test_runs_that_disagree_are_said_in_full(summary: dict[str, Any]) -> None:
    other = {**summary, "task_label_used": False}
    assert common_protocol([summary, summary]) == protocol(summary)
    assert common_protocol([summary, other, summary]).label == "yes / no"


@pytest.mark.parametrize(
    ("m", "expected"),
    [
        (None, "meta · pmnist · bnn · seed 0"),
        (0, "meta · m = 0 · pmnist · bnn · seed 0"),
        (1.35, "meta · m = 1.35 · pmnist · bnn · seed 0"),
        ([1.3, 0.5, 2.0], "meta · m = 1.3, 0.5, 2 · pmnist · bnn · seed 0"),
    ],
)
def test_m_is_named_where_it_is_used(summary: dict[str, Any], m: Any, expected: str) -> None:
    assert run_title(summary | {"m": m}) == expected


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0417, "+4.2"), (-0.0417, "−4.2"), (-0.0001, "+0.0"), (None, "–"), (math.nan, "–")]
)
def test_transfer_is_shown_with_its_sign_and_what_is_undefined_as_a_dash(value: float | None, shown: str) -> None:
    assert metric_text("backward_transfer", value) == shown


@pytest.mark.parametrize(
    ("changed", "label"),
    [
        ({"test_statistics": "batch"}, "through the test batch"),
        ({"test_statistics": "batch", "task_label_used": True}, "yes"),
        ({"test_statistics": "batch", "task_label_used": None}, "–"),
        ({"test_statistics": "batch", "eval_batches": "mixed"}, "no"),
        ({"test_statistics": "batch", "accuracy_matrix": [[0.5], [0.6]]}, "no"),
        ({"test_statistics": "population"}, "no"),
        ({"test_statistics": None, "norm": "layer"}, "no"),
    ],
)
def test_the_label_is_told_withheld_or_told_by_the_statistics_of_the_batch(
    summary: dict[str, Any], changed: dict[str, Any], label: str
) -> None:
    told = protocol({**summary, "task_label_used": False, **changed})
    assert told.label == label
    assert f"task label in testing: {label}" in told.lines[1]
