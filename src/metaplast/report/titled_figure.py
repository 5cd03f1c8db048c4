"""An empty figure with a head: which run it shows, and the run's four figures."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from metaplast.report.caption import heading, scores


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
