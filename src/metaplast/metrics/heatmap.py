"""The picture of an accuracy matrix: an annotated heat map in percent, drawn on axes that the caller owns."""

import math

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.image import AxesImage
from torch import Tensor

# From dark to light without a turn, so it reads in grey and by colour-blind eyes.
COLOUR_MAP = "viridis"
BRIGHT_ABOVE = 55.0
"""Percent above which the colour map is so light that black is read better on it than white."""


def draw_accuracy_matrix(R: Tensor, ax: Axes) -> AxesImage:
    """Draw R as a heat map: rows 'after task i', columns 'task j', each cell in percent on a fixed scale of 0 to 100.

    A cell that is NaN, not measured, is hatched and bears no number. A white staircase parts the tasks that had been
    trained (left of it) from those still to come.

    Args:
        R: accuracy matrix, shape (T, T), fractions.
        ax: the axes to draw on.

    Returns:
        The image, from which a colour bar can be made.
    """
    percent: list[list[float]] = (100 * R.double()).tolist()
    n_tasks = len(percent)
    size = cell_font_size(n_tasks)
    image = ax.imshow(percent, cmap=COLOUR_MAP, vmin=0, vmax=100, aspect="equal")
    ax.patch.set(facecolor="#f2f2f2", hatch="////", edgecolor="#c4c4c4", linewidth=0)  # seen through NaN cells
    for i, row in enumerate(percent):
        for j, value in enumerate(row):
            if not math.isnan(value):
                colour = "black" if value > BRIGHT_ABOVE else "white"
                ax.text(j, i, f"{value:.1f}", ha="center", va="center", color=colour, fontsize=size)
    steps = [_stair(i) for i in range(n_tasks - 1) if not math.isnan(percent[i][i])]
    ax.add_collection(LineCollection(steps, colors="white", linewidths=1.5))
    ax.set_xticks(range(n_tasks), [f"task {j}" if n_tasks <= 10 else str(j) for j in range(n_tasks)], fontsize=size)
    ax.set_yticks(range(n_tasks), [f"after task {i}" for i in range(n_tasks)], fontsize=size)
    any_missing = any(math.isnan(value) for row in percent for value in row)
    ax.set_xlabel("tested on" + (" task" if n_tasks > 10 else "") + (" (hatched: not measured)" if any_missing else ""))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return image


def cell_font_size(n_tasks: int) -> float:
    """Font size in points at which a number fits its cell in a figure of `figure_size`."""
    return max(6.0, min(10.0, 13.0 - 0.4 * n_tasks))


def figure_size(n_tasks: int) -> tuple[float, float]:
    """Width and height in inches of a figure in which each of `n_tasks` columns has room for its number."""
    side = max(3.0, n_tasks * 0.055 * cell_font_size(n_tasks))
    return side + 2.3, side + 1.5


def _stair(i: int) -> list[tuple[float, float]]:
    """One step of the staircase: down the right side of cell (i, i), then along the top of cell (i+1, i+1)."""
    return [(i + 0.5, i - 0.5), (i + 0.5, i + 0.5), (i + 1.5, i + 0.5)]
