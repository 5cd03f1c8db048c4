"""The figure shows the bins that were measured."""

import io
import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from metaplast.analysis.sign_switch import SwitchedLayer
from metaplast.analysis.sign_switch_figures import draw_sign_switch


def layer(count: list[int]) -> SwitchedLayer:
    """Return a layer of which 10 weights at a time were switched."""
    counts = np.array(count)
    full = counts > 10
    mean = np.where(counts > 0, np.arange(len(counts), dtype=np.float64), math.nan)
    draws = np.where(full, 7, np.minimum(counts, 1))
    return SwitchedLayer("layer2", 0.1, 2.5, counts, np.minimum(counts, 10), draws, mean, np.where(full, 0.1, math.nan))


def rendered(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


@pytest.mark.parametrize("count", [[90, 40, 3, 0], [90, 40], [3, 2], [0, 4]])
def test_full_thin_and_empty_bins_are_drawn(count: list[int]) -> None:
    assert rendered(draw_sign_switch([layer(count)], "a run")).startswith(b"\x89PNG")


def test_a_panel_a_layer_says_its_rank_correlation_and_holds_its_means() -> None:
    figure = draw_sign_switch([layer([90, 40, 30, 2]), layer([90, 40, 3])], "a run")
    first, second = figure.axes
    texts = " ".join(text.get_text() for text in first.findobj(Text))
    assert "layer2: rank correlation 1.000" in texts
    assert "7 draws of 10 weights" in texts
    drawn = {tuple(np.asarray(line.get_ydata(), float)) for line in first.lines}
    assert {(0.0, 1.0, 2.0), (3.0,)} <= drawn
    assert len(second.lines) >= 2
