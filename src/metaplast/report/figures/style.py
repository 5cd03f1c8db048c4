"""The style that all pictures share: colors, bands, axes, titles; files are written atomically."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from metaplast.io import atomic_path
from metaplast.report.aggregate import Spread
from metaplast.report.protocol import METRIC_LABELS, metric_text, run_title

GRID = "#e6e6e6"
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#7f5fc7", "#5b5b5b")
"""Told apart by color-blind eyes too (after Okabe and Ito); each comes with a marker of its own."""
MARKERS = "osD^vPX*"
BAND = 0.15
"""Opacity of a band, mean ± standard deviation."""


def tidy(ax: Axes, grid: Literal["x", "y", "both"] | None = "y") -> None:
    """Remove the top and right side of `ax`, and draw a faint grid across the axis `grid`, below what is drawn."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)
    if grid:
        ax.grid(axis=grid, color=GRID, linewidth=0.8)


def in_percent(spreads: Sequence[Spread]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Means and standard deviations, fractions of one number each, in percent; 0 for the deviation of one seed."""
    mean, sd = (np.array([100 * float(spread[part]) for spread in spreads]) for part in (0, 1))
    return mean, np.nan_to_num(sd)


def draw_mean(ax: Axes, x: Sequence[float], spreads: Sequence[Spread], color: str, **line: Any) -> None:
    """Draw means over seeds, fractions in percent, as a line with a band of ± their standard deviation."""
    mean, sd = in_percent(spreads)
    ax.fill_between(x, mean - sd, mean + sd, color=color, alpha=BAND, linewidth=0)
    ax.plot(x, mean, color=color, **{"linewidth": 1.8, **line})


def draw_level(ax: Axes, spread: Spread, color: str, label: str, band: bool = False) -> None:
    """Draw a mean over seeds, a fraction in percent, as a dashed line across the axes, perhaps with its band."""
    mean, sd = 100 * float(spread.mean), 100 * float(spread.sd)
    ax.axhline(mean, color=color, linestyle=(0, (5, 3)), linewidth=1.8, label=label)
    if band and sd == sd:
        ax.axhspan(mean - sd, mean + sd, color=color, alpha=BAND, linewidth=0)


def save_figure(target: Path, figure: Figure, dpi: int = 130) -> Path:
    """Write `figure` to `target`, atomically, and return `target`; its suffix says the format."""
    with atomic_path(target) as temporary:
        figure.savefig(temporary, dpi=dpi)
    return target


def titled_figure(width: float, height: float, summary: Mapping[str, Any]) -> Figure:
    """Make a figure, in inches, with the title of the run and its four metrics across the top.

    They have a strip of their own, which nothing below can reach, and start at the left edge of the figure.
    The figure belongs to no window and to no pyplot state.
    """
    name = run_title(summary)
    parts = [f"{label.name} {metric_text(key, summary[key])}" for key, label in METRIC_LABELS.items()]
    lines = [parts] if width > 8 else [parts[:2], parts[2:]]
    strip = 0.52 + 0.19 * len(lines)
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(rect=(0, 0, 1, 1 - strip / height)))
    left, top = 0.15 / width, 1 - 0.14 / height
    name_size = min(12, 100 * width / len(name))  # a bold letter is about 0.65 of its size wide
    figure.text(left, top, name, fontsize=name_size, fontweight="bold", verticalalignment="top")
    metrics = "\n".join("     ".join(line) for line in lines)
    style: dict[str, Any] = {"fontsize": 9.5, "color": "#444444", "verticalalignment": "top", "linespacing": 1.4}
    figure.text(left, top - 0.28 / height, metrics, **style)
    return figure
