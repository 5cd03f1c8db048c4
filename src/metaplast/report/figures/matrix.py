"""accuracy_matrix.png: the accuracy matrix as a heat map, under the run's name and its four figures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from metaplast.metrics.heatmap import draw_accuracy_matrix, figure_size
from metaplast.report.figures.style import save_figure, titled_figure


def make_matrix_figure(R: Tensor, summary: Mapping[str, Any]) -> Figure:
    """Make the figure of an accuracy matrix.

    Args:
        R: accuracy matrix, shape (T, T), or (T, 1) of a stream, fractions; NaN where not measured.
        summary: what summary.json holds, of which the name of the run and the four figures are shown.
    """
    figure = titled_figure(*figure_size(*R.shape), summary)
    ax = figure.add_subplot()
    image = draw_accuracy_matrix(R, ax)
    figure.colorbar(image, ax=ax, label="test accuracy, %", ticks=range(0, 101, 20)).outline.set_visible(False)
    return figure


def write_matrix_figure(target: Path, R: Tensor, summary: Mapping[str, Any]) -> None:
    """Write `make_matrix_figure` to `target`, atomically."""
    save_figure(target, make_matrix_figure(R, summary), dpi=150)
