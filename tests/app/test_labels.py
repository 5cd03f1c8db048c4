"""What a run is called in W&B: its strategy, m and what else was set, in the group of its sweep."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from metaplast.app.labels import LONGEST, labels, labels_of_job

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
    assert labels(RUN, overrides, None, None)["name"] == name


def test_a_name_is_not_longer_than_wandb_takes() -> None:
    name = labels(RUN, [f"scenario.n_{i}=1" for i in range(50)], None, None)["name"]
    assert (len(name), name[-1]) == (LONGEST, "…")


def test_tags_and_notes_are_the_choices_and_the_overrides() -> None:
    assert labels(RUN, ["m=1.3", "seed=0"], "paper", None) == {
        "name": f"{HEADING}",
        "group": None,
        "tags": ["meta", "pmnist", "bnn", "paper"],
        "notes": "m=1.3 seed=0",
    }
    assert labels(RUN, [], None, None)["notes"] is None


def test_the_jobs_of_a_multirun_are_one_group_and_a_run_alone_is_in_none(answer: Callable[..., Any]) -> None:
    found: list[dict[str, Any]] = []

    def task(config: DictConfig, run_dir: Path) -> None:
        found.append(labels_of_job({**RUN, "m": config.m, "overrides": []}))

    assert answer("-m", "m=0,0.5", "hydra/launcher=basic", "experiment=paper", task=task).status == 0
    assert answer("-m", "m=1", "hydra/launcher=basic", "hydra.sweep.dir=mine/m and seeds", task=task).status == 0
    assert answer("m=2", "hydra.run.dir=alone", task=task).status == 0
    first, second, named, alone = found
    assert first["group"] == second["group"]
    assert len(first["group"]) == len("2026-11-24 10-00-00")
    assert (named["group"], alone["group"]) == ("m and seeds", None)
    assert (first["tags"][-1], alone["tags"][-1]) == ("paper", "bnn")
