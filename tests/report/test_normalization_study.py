"""The table of the study says what the files of the runs say, part by part, and so do its findings."""

import csv
import io
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from metaplast.errors import UserError
from metaplast.report.normalization_study import Measured, arm, inside, study, study_csv, to_markdown
from metaplast.runs.index import find_runs

LayRun = Callable[..., Path]


def test_a_setting_is_measured_over_its_seeds_once_for_each_statistics(measured: list[Measured]) -> None:
    told = {(row.setting.m, row.setting.arm, row.setting.statistics): row for row in measured}
    assert list(told) == [
        ("0", "layer norm", "–"),
        ("2", "reference", "batch"),
        ("2", "reference", "population"),
        ("2", "γ uniform + Adam kept", "batch"),
    ]
    batch, population = told["2", "reference", "batch"], told["2", "reference", "population"]
    assert batch.seeds == 2
    assert float(batch.metrics["retention"].mean) == pytest.approx(0.6)
    assert float(batch.metrics["retention"].sd) == pytest.approx(math.sqrt(0.02))
    assert float(batch.metrics["plasticity"].mean) == pytest.approx(0.85)
    assert float(population.metrics["retention"].mean) == pytest.approx(0.3)
    assert float(population.metrics["last_plasticity"].mean) == pytest.approx(0.7)


def test_what_was_seen_inside_is_worked_out_by_hand(tmp_path: Path, lay_study_run: LayRun) -> None:
    assert inside(lay_study_run(tmp_path / "run", 0.5)) == pytest.approx(
        {
            "ste_pass_fraction/act1": 0.35,
            "logits_std": 4.0,
            "hidden_mean/layer1": 0.6,
            "growth/layer1": 3.0,  # 0.6 / 0.2
            "hidden_max/layer1": 1.9,
            "f_meta_mean/layer1": 0.6,
            "first_steps/layer1": 4.0,  # 0.040 / 0.010, of the first task there is no step before
            "flips/layer1": 0.2,
        }
    )


@pytest.mark.parametrize(
    ("key", "one", "other"), [("scenario.name", "pdigits", "pmnist"), ("strategy.optimizer.lr", 0.005, 0.01)]
)
def test_runs_that_differ_in_more_than_the_study_tells_apart_are_refused_by_the_name_of_the_key(
    key: str, one: str | float, other: str | float, tmp_path: Path, lay_study_run: LayRun
) -> None:
    for seed, value in enumerate((one, other)):
        config = OmegaConf.to_yaml(OmegaConf.from_dotlist([f"{key}={value}"]))
        lay_study_run(tmp_path / str(seed), 0.5, seed=seed, config=config)
    said = f"{key}: is {one} in {tmp_path / '0'} and {other} in {tmp_path / '1'}, which are alike in all"
    with pytest.raises(UserError, match=f"^{re.escape(said)}"):
        study(find_runs([tmp_path]))


def test_a_ratio_to_zero_is_not_known(tmp_path: Path, lay_study_run: LayRun) -> None:
    run = lay_study_run(tmp_path / "run", 0.5)
    still = (
        (run / "diagnostics.csv")
        .read_text()
        .replace("nan,0.010", "nan,0.0")
        .replace("2,0,2,0.4,3.0,0.2", "2,0,2,0.4,3.0,0.0")
    )
    (run / "diagnostics.csv").write_text(still)
    seen = inside(run)
    assert [key for key, value in seen.items() if math.isnan(value)] == ["growth/layer1", "first_steps/layer1"]


def test_the_table_reads_back_and_the_findings_compare_with_the_reference(measured: list[Measured]) -> None:
    rows = list(csv.DictReader(io.StringIO(study_csv(measured))))
    assert [float(row["retention"]) for row in rows] == pytest.approx([0.8, 0.6, 0.3, 0.9])
    assert [row["retention_sd"] == "" for row in rows] == [True, False, False, True]
    assert {row["growth/layer1"] for row in rows} == {repr(0.6 / 0.2)}
    text = to_markdown(measured)
    assert "| 8-8 | 2 | 2 × 2 | reference | batch | 2 | 67.0 ± 6.4 | 60.0 ± 14.1 |" in text
    assert "- 8-8, m 2, batch: average +13.5, retention +30.0, fresh +0.0 points; window 0.35 → 0.35" in text


def test_a_run_without_diagnostics_counts_and_one_not_completed_does_not(tmp_path: Path, lay_study_run: LayRun) -> None:
    (lay_study_run(tmp_path / "0", 0.5) / "diagnostics.csv").unlink()
    lay_study_run(tmp_path / "1", 0.9, seed=1, status="failed")
    (row,) = study(find_runs([tmp_path]))
    assert (row.seeds, row.inside) == (1, {})
    assert "| – | – |" in to_markdown([row])


def test_without_the_reference_there_is_nothing_to_compare_with(tmp_path: Path, lay_study_run: LayRun) -> None:
    lay_study_run(tmp_path / "0", 0.5, gamma_init="uniform")
    assert "so there is nothing to compare with" in to_markdown(study(find_runs([tmp_path])))


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({}, "reference"),
        ({"gamma_init": None, "norm": "none", "norm_per_task": False}, "no γ + one state + no normalization"),
    ],
)
def test_an_arm_is_named_by_what_differs(changed: dict[str, Any], name: str) -> None:
    summary = {"norm": "batch", "norm_per_task": True, "gamma_init": "ones", "reset_optimizer": True, **changed}
    assert arm(summary) == name
