"""What all pictures have in common: axes with two sides and a faint grid, and files that are whole or absent.

An empty figure with a head: which run it shows, and the run's four figures.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from metaplast.io import atomic_path
from metaplast.report.protocol import heading, scores

GRID = "#e6e6e6"


def tidy(ax: Axes, grid: Literal["x", "y", "both"] | None = "y") -> None:
    """Take away the top and right side of `ax`, and lay a faint grid across the axis `grid`, below what is drawn."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)
    if grid:
        ax.grid(axis=grid, color=GRID, linewidth=0.8)


def save_figure(target: Path, figure: Figure, dpi: int = 130) -> Path:
    """Write `figure` to `target`, atomically, and return `target`; its suffix says the format."""
    with atomic_path(target) as temporary:
        figure.savefig(temporary, dpi=dpi)
    return target


def titled_figure(width: float, height: float, summary: Mapping[str, Any]) -> Figure:
    """Make a figure, in inches, that bears the run's name and its four figures across the top.

    They get a strip of their own, so that what is below never meets them, and start at the figure's left edge, wherever
    its axes begin. The figure belongs to no window and to no pyplot state.
    """
    name = heading(summary)
    parts = [f"{score.name} {score.value}" for score in scores(summary)]
    lines = [parts] if width > 8 else [parts[:2], parts[2:]]
    strip = 0.52 + 0.19 * len(lines)
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(rect=(0, 0, 1, 1 - strip / height)))
    left, top = 0.15 / width, 1 - 0.14 / height
    name_size = min(12, 100 * width / len(name))  # a bold letter is about 0.65 of its size wide
    figure.text(left, top, name, fontsize=name_size, fontweight="bold", verticalalignment="top")
    figure.text(
        left,
        top - 0.28 / height,
        "\n".join("     ".join(line) for line in lines),
        fontsize=9.5,
        color="#444444",
        verticalalignment="top",
        linespacing=1.4,
    )
    return figure
