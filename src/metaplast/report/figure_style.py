"""What all pictures have in common: axes with two sides and a faint grid, and files that are whole or absent."""

from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metaplast.atomic import atomic_path

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
