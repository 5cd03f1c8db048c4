"""The picture of an accuracy matrix: a heat map in percent, drawn on axes that the caller owns.

Up to `NUMBERED_TASKS` tasks each cell bears its number. Of more tasks the picture has a fixed size, and above
`MAX_CELLS` tasks a cell is the mean of a block, so that time, memory and file size stay bounded at any length.
"""

import math

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from torch import Tensor

# From dark to light without a turn, so it reads in gray and by color-blind eyes.
COLOR_MAP = "viridis"
BRIGHT_ABOVE = 55.0
"""Percent above which the color map is so light that black is read better on it than white."""
PARTS_A_ROW = 10
"""Of a stream, how many parts stand beside each other."""
NUMBERED_TASKS = 30
"""The most tasks whose cells bear numbers."""
NUMBERED_PARTS = 100
"""The most parts of a stream, one cell each, whose cells bear numbers."""
MAX_CELLS = 200
"""The most rows and columns that are drawn."""
SIDE = 5.0
"""Width and height, in inches, of a matrix without numbers."""


def draw_accuracy_matrix(R: Tensor, ax: Axes) -> AxesImage:
    """Draw R as a heat map: rows 'after task i', columns 'task j', each cell in percent on a fixed scale of 0 to 100.

    A cell that is NaN, not measured, is hatched and bears no number. A white staircase parts the tasks that had been
    trained (left of it) from those still to come. The one column of a stream is broken into rows of ten parts, read as
    lines of text are. Long streams have no numbers, and several tasks share a cell (see the text of this module).

    Args:
        R: accuracy matrix, shape (T, T), or (T, 1) in stream learning; fractions.
        ax: the axes to draw on.

    Returns:
        The image, from which a color bar can be made.
    """
    percent = 100 * R.double().cpu()
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
    """Width and height in inches of a figure in which each number of R, of shape (`n_tasks`, `n_tested`), has room.

    `n_tested` None is one test a task.
    """
    if n_tasks > (NUMBERED_PARTS if n_tested == 1 else NUMBERED_TASKS):
        return SIDE + 2.3, SIDE + 1.5
    if n_tested == 1 < n_tasks:
        columns = min(n_tasks, PARTS_A_ROW)
        cell = 0.055 * cell_font_size(PARTS_A_ROW)
        return max(3.0, columns * cell) + 2.3, max(1.5, -(-n_tasks // columns) * cell) + 1.7
    side = max(3.0, n_tasks * 0.055 * cell_font_size(n_tasks))
    return side + 2.3, side + 1.5


def _draw_square(percent: Tensor, ax: Axes) -> AxesImage:
    n_tasks = len(percent)
    if n_tasks > NUMBERED_TASKS:
        return _draw_large(percent, ax)
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
    numbered = n_parts <= NUMBERED_PARTS
    columns = min(n_parts, PARTS_A_ROW if numbered else PARTS_A_ROW * math.ceil(math.sqrt(n_parts) / PARTS_A_ROW))
    padded = [*percent.flatten().tolist(), *[math.nan] * (-n_parts % columns)]
    rows = [padded[start : start + columns] for start in range(0, len(padded), columns)]
    size = cell_font_size(PARTS_A_ROW)
    image = _draw_cells(rows, ax, size if numbered else None)
    if n_parts % columns:  # there are no such parts, which is not the same as not measured
        ax.add_patch(Rectangle((n_parts % columns - 0.5, len(rows) - 1.5), columns, 1, color="white"))
    marked = range(0, columns, columns // PARTS_A_ROW or 1)
    ax.set_xticks(marked, [f"+{j}" for j in marked], fontsize=size)
    marked = range(0, len(rows), 1 if numbered else math.ceil(len(rows) / PARTS_A_ROW))
    ax.set_yticks(marked, [f"after part {i * columns}" for i in marked], fontsize=size)
    ax.set_xlabel("the one test, after each part")
    return image


def _draw_large(percent: Tensor, ax: Axes) -> AxesImage:
    """Draw cells without numbers, blocks of them where there are too many, under axes that count tasks."""
    n_tasks = len(percent)
    block = math.ceil(n_tasks / MAX_CELLS)
    side = math.ceil(n_tasks / block)
    padded = percent.new_full((side * block, side * block), math.nan)
    padded[:n_tasks, :n_tasks] = percent
    means = padded.view(side, block, side, block).nanmean(dim=(1, 3))
    end = len(padded) - 0.5
    image = ax.imshow(means.numpy(), cmap=COLOR_MAP, vmin=0, vmax=100, extent=(-0.5, end, end, -0.5))
    ax.plot([-0.5, n_tasks - 0.5], [-0.5, n_tasks - 0.5], color="white", linewidth=0.8)
    marked = range(0, n_tasks, math.ceil(n_tasks / 10))
    ax.set(xlim=(-0.5, n_tasks - 0.5), ylim=(n_tasks - 0.5, -0.5), xticks=marked, yticks=marked)
    ax.set(xlabel="tested on task" + (f", mean of {block} × {block} cells" if block > 1 else ""), ylabel="after task")
    return image


def _draw_cells(percent: list[list[float]], ax: Axes, size: float | None) -> AxesImage:
    image = ax.imshow(percent, cmap=COLOR_MAP, vmin=0, vmax=100, aspect="equal")
    for i, row in enumerate(percent if size is not None else ()):
        for j, value in enumerate(row):
            if not math.isnan(value):
                color = "black" if value > BRIGHT_ABOVE else "white"
                ax.text(j, i, f"{value:.1f}", ha="center", va="center", color=color, fontsize=size)
    return image


def _stair(i: int) -> list[tuple[float, float]]:
    """One step of the staircase: down the right side of cell (i, i), then along the top of cell (i+1, i+1)."""
    return [(i + 0.5, i - 0.5), (i + 0.5, i + 0.5), (i + 1.5, i + 0.5)]
