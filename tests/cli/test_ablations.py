"""The arms of the study of normalization: what each changes, and that the study's grid of them can be run."""

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from metaplast.config.validate import check
from metaplast.report.normalization_study import arm
from metaplast.runs.summary import description

ARMS = {
    "reference": "reference",
    "gamma_uniform": "γ uniform",
    "optimizer_kept": "Adam kept",
    "running": "reference",
    "shared": "one state",
    "layer": "layer norm",
    "gamma_kept": "γ uniform + Adam kept",
    "gamma_kept_shared": "γ uniform + Adam kept + one state",
    "gamma_kept_shared_layer": "γ uniform + Adam kept + one state + layer norm",
}
"""What the study calls each choice."""


@pytest.mark.parametrize("name", ARMS)
def test_an_arm_changes_what_the_study_calls_it_by_and_overrules_the_experiment(
    composed: Callable[..., DictConfig], name: str
) -> None:
    config = composed("experiment=parity", f"ablation={name}")
    check(config)
    told = description(config)
    assert arm(told) == ARMS[name]
    assert told["test_statistics"] == {"running": "running"}.get(name, None if "layer" in name else "batch")


def test_every_arm_is_tried(conf: Path) -> None:
    assert {path.stem for path in (conf / "ablation").glob("*.yaml")} == ARMS.keys()


@pytest.mark.parametrize("budget", ["cpu", "paper"])
def test_the_experiment_is_a_grid_of_all_arms_at_three_widths(composed: Callable[..., DictConfig], budget: str) -> None:
    config = composed("experiment=normalization", f"budget={budget}", "m=0")
    check(config)
    assert config.diagnostics
    assert config.plots == ["normalization"]
    params = config.hydra.sweeper.params
    assert set(params.ablation.split(",")) == ARMS.keys()
    assert params["model.hidden"].count("[") == 3
    assert params.m.startswith("0,")
