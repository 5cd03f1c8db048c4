"""The picture of a search.

The picture and the table of a choice of m.
"""

import csv
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from metaplast.report.figures.search import (
    Point,
    Tried,
    gap,
    make_study_figure,
    write_first_tasks_csv,
    write_first_tasks_figure,
    write_study_figure,
)

POINTS = [
    Point(0, False, 0.5, {"m": 1.0, "lr": 0.01, "model.hidden": "[16]"}),
    Point(1, False, 0.7, {"m": 2.0, "lr": 0.1, "model.hidden": "[8]"}),
    Point(2, True, 0.3, {"m": 0.5, "lr": 0.001, "model.hidden": "[16]"}),
    Point(3, False, 0.6, {"m": 1.5, "lr": 0.02, "model.hidden": "[16]"}),
]


def drawn() -> Figure:
    return make_study_figure("meta-pdigits", POINTS, log={"lr"})


def test_there_is_a_panel_for_the_history_and_one_a_parameter() -> None:
    history, m, lr, hidden = drawn().axes
    assert [ax.get_xlabel() for ax in (history, m, lr, hidden)] == ["trial", "m", "lr", "model.hidden"]
    assert (m.get_xscale(), lr.get_xscale()) == ("linear", "log")
    assert [tick.get_text() for tick in hidden.get_xticklabels()] == ["[8]", "[16]"]


def test_the_best_so_far_never_falls_and_pruned_trials_are_no_part_of_it() -> None:
    [best] = drawn().axes[0].lines
    assert np.asarray(best.get_xdata()).tolist() == [0, 1, 3]
    assert np.asarray(best.get_ydata()).tolist() == pytest.approx([50, 70, 70])


def test_it_is_written(tmp_path: Path) -> None:
    write_study_figure(tmp_path / "study.png", "x", POINTS, log=())
    assert (tmp_path / "study.png").read_bytes()[1:4] == b"PNG"


TRIED = [
    Tried("seed=0", [0.0, 1.0], 0.7, 0.5, False),
    Tried("seed=0", [1.0, 1.0], 0.9, 0.75, True),
    Tried("seed=1", [0.0, 1.0], 0.9, 0.8, True),
    Tried("seed=1", [1.0, 1.0], 0.8, 0.8, False),
]


def test_the_best_choice_costs_nothing() -> None:
    assert gap(TRIED[:2]) == (TRIED[1], 0)
    assert gap(TRIED[2:])[1] == 0


def test_every_one_tried_has_a_row_and_what_was_not_trained_to_the_end_has_no_figure(tmp_path: Path) -> None:
    write_first_tasks_csv(tmp_path / "hindsight.csv", [*TRIED, Tried("seed=1", 3, 0.1, None, False)])
    with (tmp_path / "hindsight.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[1] == {
        "settings": "seed=0", "m": "[1.0, 1.0]", "validation_accuracy": "0.9", "average_accuracy": "0.75",
        "chosen": "true",
    }  # fmt: skip
    assert rows[4]["average_accuracy"] == ""


def test_the_picture_is_drawn_for_lists_and_seeds(tmp_path: Path) -> None:
    write_first_tasks_figure(tmp_path / "hindsight.png", TRIED, n_tasks=2)
    assert (tmp_path / "hindsight.png").read_bytes()[1:4] == b"PNG"
