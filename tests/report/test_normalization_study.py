"""The study's table says what the runs' files say, part by part; picture and findings come from the same rows."""

import csv
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.lines import Line2D
from omegaconf import OmegaConf

from metaplast.errors import UserError
from metaplast.report.aggregate import make_sweep
from metaplast.report.figures.normalization import draw_normalization
from metaplast.report.figures.paper import write_experiment_figures
from metaplast.report.normalization_study import Measured, arm, inside, study, study_csv, to_markdown
from metaplast.runs.index import find_runs

DIAGNOSTICS = """epoch,task,epoch_in_task,window/act1,logits_std,hidden_mean/layer1,hidden_max/layer1,kept/layer1,\
first_steps/layer1,last_steps/layer1
1,0,1,0.5,1.0,0.1,0.4,0.9,0.030,nan
2,0,2,0.4,3.0,0.2,0.8,0.8,nan,0.010
3,1,1,0.3,5.0,0.5,1.5,0.7,0.040,nan
4,1,2,0.2,7.0,0.6,1.9,0.6,nan,0.020
"""
METRICS = "epoch,task,flips/layer1\n1,0,0.9\n2,0,0.5\n3,1,0.3\n4,1,0.1\n"


def lay(
    path: Path, kept: float, *, seed: int = 0, other: float | None = None, config: str = "", **changed: Any
) -> Path:
    """Write what a run of two tasks leaves, which keeps a share of what it learned; `config` is added to its own."""
    summary = {
        "status": "completed", "seed": seed, "widths": [8, 8], "m": 2.0, "epochs_per_task": 2, "norm": "batch",
        "norm_per_task": True, "gamma_init": "ones", "test_statistics": "batch", "reset_optimizer": True,
        "accuracy_matrix": [[0.9, 0.1], [0.9 * kept, 0.8]], **changed,
    }  # fmt: skip
    path.mkdir(parents=True)
    (path / "summary.json").write_text(json.dumps(summary))
    (path / "config.yaml").write_text(f"seed: {seed}\nfigures: [normalization]\n{config}\n")
    (path / "diagnostics.csv").write_text(DIAGNOSTICS)
    (path / "metrics.csv").write_text(METRICS)
    if other is not None:
        (path / "accuracy_matrix_population.csv").write_text(f"task_0,task_1\n0.9,0.1\n{0.9 * other},0.7\n")
    return path


@pytest.fixture
def measured(tmp_path: Path) -> list[Measured]:
    """The reference over two seeds, with both statistics, and two arms."""
    lay(tmp_path / "0", 0.5, other=0.25)
    lay(tmp_path / "1", 0.7, seed=1, other=0.35)
    lay(tmp_path / "2", 0.9, gamma_init="uniform", reset_optimizer=False)
    lay(tmp_path / "3", 0.8, norm="layer", test_statistics=None, m=None)
    return study(find_runs([tmp_path]))


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
    assert float(batch.figures["retention"].mean) == pytest.approx(0.6)
    assert float(batch.figures["retention"].sd) == pytest.approx(math.sqrt(0.02))
    assert float(batch.figures["plasticity"].mean) == pytest.approx(0.85)
    assert float(population.figures["retention"].mean) == pytest.approx(0.3)
    assert float(population.figures["last_plasticity"].mean) == pytest.approx(0.7)


def test_what_was_seen_inside_is_worked_out_by_hand(tmp_path: Path) -> None:
    assert inside(lay(tmp_path / "run", 0.5)) == pytest.approx(
        {
            "window/act1": 0.35,
            "logits_std": 4.0,
            "hidden_mean/layer1": 0.6,
            "growth/layer1": 3.0,  # 0.6 / 0.2
            "hidden_max/layer1": 1.9,
            "kept/layer1": 0.6,
            "first_steps/layer1": 4.0,  # 0.040 / 0.010, of the first task there is no step before
            "flips/layer1": 0.2,
        }
    )


@pytest.mark.parametrize(
    ("key", "one", "other"), [("scenario.name", "pdigits", "pmnist"), ("strategy.optimizer.lr", 0.005, 0.01)]
)
def test_runs_that_differ_in_more_than_the_study_tells_apart_are_refused_by_the_name_of_the_key(
    key: str, one: str | float, other: str | float, tmp_path: Path
) -> None:
    for seed, value in enumerate((one, other)):
        config = OmegaConf.to_yaml(OmegaConf.from_dotlist([f"{key}={value}"]))
        lay(tmp_path / str(seed), 0.5, seed=seed, config=config)
    said = f"{key}: is {one} in {tmp_path / '0'} and {other} in {tmp_path / '1'}, which are alike in all"
    with pytest.raises(UserError, match=f"^{re.escape(said)}"):
        study(find_runs([tmp_path]))


def test_a_ratio_to_zero_is_not_known(tmp_path: Path) -> None:
    run = lay(tmp_path / "run", 0.5)
    still = DIAGNOSTICS.replace("nan,0.010", "nan,0.0").replace("2,0,2,0.4,3.0,0.2", "2,0,2,0.4,3.0,0.0")
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


def test_the_picture_has_a_panel_for_widths_and_m(measured: list[Measured]) -> None:
    figure = draw_normalization(measured)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["8-8, m = 0, 2 tasks × 2", "8-8, m = 2, 2 tasks × 2"]
    points = {tuple(np.round(point, 6)) for line in figure.axes[1].lines for point in np.asarray(line.get_xydata())}
    assert {(85.0, 60.0), (80.0, 30.0), (85.0, 90.0)} <= points


def test_the_legend_of_a_single_width_fits_into_the_picture(tmp_path: Path) -> None:
    lay(tmp_path / "0", 0.5, norm="layer", norm_per_task=False, gamma_init="uniform", reset_optimizer=False)
    figure = draw_normalization(study(find_runs([tmp_path])))
    figure.canvas.draw()
    legend = figure.legends[0].get_window_extent()
    assert figure.bbox.x0 <= legend.x0 < legend.x1 <= figure.bbox.x1


def test_a_run_without_diagnostics_counts_and_one_not_completed_does_not(tmp_path: Path) -> None:
    (lay(tmp_path / "0", 0.5) / "diagnostics.csv").unlink()
    lay(tmp_path / "1", 0.9, seed=1, status="failed")
    (row,) = study(find_runs([tmp_path]))
    assert (row.seeds, row.inside) == (1, {})
    assert "| – | – |" in to_markdown([row])


def test_without_a_completed_run_of_two_tasks_there_is_no_study(tmp_path: Path) -> None:
    lay(tmp_path / "0", 0.5, status="failed")
    lay(tmp_path / "1", 0.5, accuracy_matrix=[[0.9]])
    sweep = make_sweep(find_runs([tmp_path]))
    assert study(sweep.runs) == []
    assert write_experiment_figures(tmp_path, sweep) == []


def test_a_sweep_without_the_reference_and_with_a_failed_job_is_drawn(tmp_path: Path) -> None:
    lay(tmp_path / "0", 0.5, gamma_init="uniform")
    lay(tmp_path / "1", 0.5, status="failed")
    written = write_experiment_figures(tmp_path, make_sweep(find_runs([tmp_path])))
    assert written == [tmp_path / f"normalization.{suffix}" for suffix in ("csv", "md", "png")]
    assert all(path.stat().st_size for path in written)


def test_each_kind_of_statistics_has_a_marker_of_its_own(tmp_path: Path) -> None:
    lay(tmp_path / "0", 0.5, other=0.25)
    lay(tmp_path / "1", 0.6, test_statistics="running")
    figure = draw_normalization(study(find_runs([tmp_path])))
    [line, *_], handles = figure.axes[0].lines, figure.legends[0].legend_handles
    assert [tuple(np.round(point, 6)) for point in np.asarray(line.get_xydata())] == [(85, 50), (80, 25), (85, 60)]
    faces = [(mark.get_fillstyle(), mark.get_markerfacecolor()) for mark in handles[1:] if isinstance(mark, Line2D)]
    assert len(faces) == len(set(faces)) == 3


def test_without_the_reference_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    lay(tmp_path / "0", 0.5, gamma_init="uniform")
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
