"""What pictures share: percent with bands, levels, titles, and files that are whole or absent."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metaplast.report.aggregate import Spread
from metaplast.report.figures.style import draw_level, draw_mean, in_percent, save_figure, tidy, titled_figure


def spread(mean: float, sd: float) -> Spread:
    return Spread(torch.tensor(mean), torch.tensor(sd), 2)


@pytest.fixture
def ax() -> Axes:
    return Figure().add_subplot()


def test_fractions_become_percent_and_one_seed_has_no_deviation() -> None:
    mean, sd = in_percent([spread(0.5, 0.1), spread(0.25, math.nan)])
    assert mean == pytest.approx([50, 25])
    assert sd == pytest.approx([10, 0])


def test_a_mean_has_a_band_of_its_deviation(ax: Axes) -> None:
    draw_mean(ax, [1, 2], [spread(0.5, 0.1), spread(0.7, 0.2)], "#0072b2", label="meta")
    [line] = ax.lines
    assert (line.get_label(), np.asarray(line.get_ydata()).tolist()) == ("meta", pytest.approx([50, 70]))
    [path] = ax.collections[0].get_paths()
    heights = np.asarray(path.vertices)[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((40, 90))


@pytest.mark.parametrize(("sd", "band", "patches"), [(0.1, True, 1), (math.nan, True, 0), (0.1, False, 0)])
def test_a_level_crosses_the_axes_with_a_band_where_one_is_known_and_wanted(
    ax: Axes, sd: float, band: bool, patches: int
) -> None:
    draw_level(ax, spread(0.3, sd), "#0072b2", "ewc", band)
    assert np.asarray(ax.lines[0].get_ydata()) == pytest.approx([30, 30])
    assert len(ax.patches) == patches


def test_two_sides_and_a_grid_below_the_lines(ax: Axes) -> None:
    tidy(ax)
    assert [side for side in ax.spines if ax.spines[side].get_visible()] == ["left", "bottom"]
    assert ax.get_axisbelow() is True


def test_a_picture_that_cannot_be_drawn_leaves_the_one_before(tmp_path: Path) -> None:
    target = save_figure(tmp_path / "a.png", Figure())
    before = target.read_bytes()
    broken = Figure()
    broken.text(0, 0, "$\\frac{$")
    with pytest.raises(ValueError, match="frac"):
        save_figure(target, broken)
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(("width", "lines"), [(6.0, 2), (9.0, 1)])
def test_a_narrow_title_takes_two_lines(summary: dict[str, Any], width: float, lines: int) -> None:
    title, metrics = (text.get_text() for text in titled_figure(width, 5.0, summary).texts)
    assert title == "meta · m = 1.3 · pmnist · bnn · seed 0"
    assert metrics.split("\n")[0].startswith("average accuracy 87.5 %")
    assert len(metrics.split("\n")) == lines
