"""The picture of a search."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from metaplast.report.study_figure import Point, make_study_figure, write_study_figure

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
