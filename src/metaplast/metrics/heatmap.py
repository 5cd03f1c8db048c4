"""Draw an accuracy matrix as an annotated heat map in percent, on axes of the caller."""

import math

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from torch import Tensor

# Monotonic in lightness, so it is readable in gray and by color-blind readers.
COLOR_MAP = "viridis"
BRIGHT_ABOVE = 55.0
"""Percent above which black text is more readable than white."""
PARTS_A_ROW = 10
"""Parts per row of the heat map in stream learning."""


def draw_accuracy_matrix(R: Tensor, ax: Axes) -> AxesImage:
    """Draw R as a heat map: rows 'after task i', columns 'task j', each cell in percent on a fixed scale of 0 to 100.

    A NaN cell (not measured) is hatched and has no number. A white staircase separates the tasks already trained (left
    of it) from later ones. The single column of stream learning is wrapped into rows of ten parts.

    Args:
        R: accuracy matrix, shape (T, T), or (T, 1) in stream learning; fractions.
        ax: the axes to draw on.

    Returns:
        The image, for a color bar.
    """
    percent = 100 * R.double()
    image = _draw_stream(percent, ax) if is_stream(R) else _draw_square(percent, ax)
    ax.patch.set(facecolor="#f2f2f2", hatch="////", edgecolor="#c4c4c4", linewidth=0)  # seen through NaN cells
    if bool(percent.isnan().any()):
        ax.set_xlabel(f"{ax.get_xlabel()} (hatched: not measured)")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return image


def is_stream(R: Tensor) -> bool:
    """Whether R is that of stream learning: several parts, one test."""
    return R.shape[1] == 1 and len(R) > 1


def cell_font_size(n_tasks: int) -> float:
    """Font size in points of the numbers in a figure of `figure_size`."""
    return max(6.0, min(10.0, 13.0 - 0.4 * n_tasks))


def figure_size(n_tasks: int, n_tested: int | None = None) -> tuple[float, float]:
    """Width and height in inches of a figure for R of shape (`n_tasks`, `n_tested`); None: one test per task."""
    if n_tested == 1 < n_tasks:
        columns = min(n_tasks, PARTS_A_ROW)
        cell = 0.055 * cell_font_size(PARTS_A_ROW)
        return max(3.0, columns * cell) + 2.3, max(1.5, -(-n_tasks // columns) * cell) + 1.7
    side = max(3.0, n_tasks * 0.055 * cell_font_size(n_tasks))
    return side + 2.3, side + 1.5


def _draw_square(percent: Tensor, ax: Axes) -> AxesImage:
    n_tasks = len(percent)
    size = cell_font_size(n_tasks)
    image = _draw_cells(percent.tolist(), ax, size)
    steps = [_stair(i) for i in range(n_tasks - 1) if not math.isnan(percent[i, i])]
    ax.add_collection(LineCollection(steps, colors="white", linewidths=1.5))
    ax.set_xticks(range(n_tasks), [f"task {j}" if n_tasks <= 10 else str(j) for j in range(n_tasks)], fontsize=size)
    ax.set_yticks(range(n_tasks), [f"after task {i}" for i in range(n_tasks)], fontsize=size)
    ax.set_xlabel("tested on" + (" task" if n_tasks > 10 else ""))
    return image


def _draw_stream(percent: Tensor, ax: Axes) -> AxesImage:
    n_parts = len(percent)
    columns = min(n_parts, PARTS_A_ROW)
    padded = [*percent.flatten().tolist(), *[math.nan] * (-n_parts % columns)]
    rows = [padded[start : start + columns] for start in range(0, len(padded), columns)]
    size = cell_font_size(PARTS_A_ROW)
    image = _draw_cells(rows, ax, size)
    if n_parts % columns:  # no such parts, unlike parts not measured
        ax.add_patch(Rectangle((n_parts % columns - 0.5, len(rows) - 1.5), columns, 1, color="white"))
    ax.set_xticks(range(columns), [f"+{j}" for j in range(columns)], fontsize=size)
    ax.set_yticks(range(len(rows)), [f"after part {i * columns}" for i in range(len(rows))], fontsize=size)
    ax.set_xlabel("the one test, after each part")
    return image


def _draw_cells(percent: list[list[float]], ax: Axes, size: float) -> AxesImage:
    image = ax.imshow(percent, cmap=COLOR_MAP, vmin=0, vmax=100, aspect="equal")
    for i, row in enumerate(percent):
        for j, value in enumerate(row):
            if not math.isnan(value):
                color = "black" if value > BRIGHT_ABOVE else "white"
                ax.text(j, i, f"{value:.1f}", ha="center", va="center", color=color, fontsize=size)
    return image


def _stair(i: int) -> list[tuple[float, float]]:
    """One step of the staircase: down the right side of cell (i, i), then along the top of cell (i+1, i+1)."""
    return [(i + 0.5, i - 0.5), (i + 0.5, i + 0.5), (i + 1.5, i + 0.5)]
