"""hidden_weights.png: how the hidden weights of each layer spread as tasks are learned (the paper's Fig. 2g and h)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from metaplast.report.figure_style import save_figure, tidy
from metaplast.report.sweep import Sweep
from metaplast.report.weight_histograms_npz import read_histograms

FILE = "hidden_weights.npz"
Histograms = Mapping[str, npt.NDArray[np.float32]]


def write(folder: Path, sweep: Sweep) -> list[Path]:
    """Draw a row of layers for every setting of `sweep`, each from the first of its runs that has histograms."""
    rows = {}
    for setting in sweep.settings:
        having = [run.path / FILE for run in setting.completed if (run.path / FILE).exists()]
        if having:
            rows[setting.label] = read_histograms(having[0])
    return [write_histograms_figure(folder / "hidden_weights.png", rows)] if rows else []


def write_histograms_figure(target: Path, rows: Mapping[str, Histograms]) -> Path:
    """Draw the histograms of runs, a row each under its name, a column for every layer; written atomically.

    `rows` are what `read_histograms` gives. Returns `target`.
    """
    layers = list(dict.fromkeys(key.rpartition("/")[0] for histograms in rows.values() for key in histograms))
    size = 3.4 * len(layers), 2.5 * len(rows) + 0.3
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.08))
    axes = figure.subplots(len(rows), len(layers), squeeze=False, sharex="col")
    for (name, histograms), row in zip(rows.items(), axes, strict=True):
        for layer, ax in zip(layers, row, strict=True):
            if f"{layer}/counts" in histograms:
                draw_histograms(ax, histograms[f"{layer}/counts"], histograms[f"{layer}/edges"])
            ax.set_title(f"{name}: {layer}" if name and ax is row[0] else layer, loc="left", fontsize=10)
    for ax in axes[-1]:
        ax.set_xlabel("hidden weight")
    axes[0][-1].legend(frameon=False, fontsize=8)
    return save_figure(target, figure)


def draw_histograms(ax: Axes, counts: npt.NDArray[np.float32], edges: npt.NDArray[np.float32]) -> None:
    """Draw the density of one layer's hidden weights after each task, on a logarithmic axis.

    Args:
        ax: the axes to draw on.
        counts: weights in each bin, shape (tasks, bins).
        edges: between them, shape (tasks, bins + 1).
    """
    for task, (count, edge) in enumerate(zip(counts, edges, strict=True)):
        colour = colormaps["plasma"](0.82 * task / max(1, len(counts) - 1))
        density = count / (count.sum() * np.diff(edge))
        ax.stairs(np.where(density > 0, density, np.nan), edge, color=colour, linewidth=1.2, label=f"task {task}")
    ax.set(yscale="log", ylabel="density")
    tidy(ax, grid=None)
