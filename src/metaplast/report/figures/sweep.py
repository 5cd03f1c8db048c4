"""Pictures of a sweep: metrics against what was varied, accuracy curves with bands over seeds, mean accuracy matrices.

Each is drawn on axes of the caller, so that a page and a file share it. Only completed runs count; a setting with a
single seed has no band.
"""

import math
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from torch import Tensor

from metaplast.errors import UserError
from metaplast.metrics.heatmap import draw_accuracy_matrix, figure_size
from metaplast.report.aggregate import Setting, Sweep, numbers, over_seeds, text
from metaplast.report.figures.curves import draw_curves, mean_of_seen, task_starts
from metaplast.report.figures.style import BAND, COLORS, MARKERS, draw_level, in_percent, save_figure, tidy
from metaplast.runs.index import Run
from metaplast.runs.names import METRICS, SWEEP_CURVES_PNG, SWEEP_MATRICES_PNG, SWEEP_SCORES_PNG
from metaplast.runs.tables import accuracies, read_metrics

DRAWN_METRICS = {"average_accuracy": "average accuracy, %", "forgetting": "forgetting, points"}
"""The metrics that are drawn, by their key in summary.json, and the labels of their axes."""
MAX_SETTINGS = 24
"""The most settings whose curves and matrices are drawn; of more, those of the highest average accuracy."""
LEGEND_WIDTH = 46
"""Letters that fit into a line of the legend."""
LOG_FROM = 50
"""Ratio of the largest to the smallest value from which a key is drawn on a logarithmic axis."""
TICK_GAP = 0.07
"""Least distance between two marks on the axis of what was varied, as a share of its length."""
CURVES_SIZE = (5.0, 3.9)
"""Width and height in inches of the curves of one setting."""


def shown(sweep: Sweep) -> list[Setting]:
    """The settings to draw one by one: those with a completed run, at most the `MAX_SETTINGS` best, in their order."""
    settings = sweep.completed
    means = np.nan_to_num([float(setting.over_seeds("average_accuracy").mean) for setting in settings], nan=-1)
    return [settings[index] for index in sorted(np.argsort(-means, kind="stable")[:MAX_SETTINGS])]


def draw_metric(ax: Axes, sweep: Sweep, key: str) -> None:
    """Draw a score of summary.json, in percent, for every setting: mean ± sd over seeds, a faint dot each run.

    Against `sweep.axis` there is a line for each combination of the other keys; a setting without a value there (a
    strategy that uses no m) is a level over the whole width. Without such a key each setting has a row.
    """
    if sweep.axis is None:
        _draw_rows(ax, sweep, key)
    else:
        _draw_lines(ax, sweep, key, sweep.axis)
    tidy(ax, grid="x" if sweep.axis is None else "y")


def draw_setting_curves(ax: Axes, setting: Setting) -> None:
    """Draw a setting's accuracy curves, the mean over seeds with a band of ± sd around each task's and the average.

    Where no completed run has a metrics.csv that can be read, the axes say so.
    """
    epochs, stacks = setting_curves(setting)
    if not epochs:
        _say(ax, "no curves: metrics.csv cannot be read")
        return
    spread = over_seeds(stacks)
    ends = _task_ends(setting.completed[0])
    seen = torch.tensor(epochs)[:, None] > task_starts(ends, spread.mean.shape[1])
    average = over_seeds((seed, mean_of_seen(stack, seen)) for seed, stack in stacks)
    draw_curves(ax, epochs, spread.mean, ends, sd=(spread.sd, average.sd))


def setting_curves(setting: Setting) -> tuple[list[float], list[tuple[Any, Tensor]]]:
    """Return the epochs that all completed runs of a setting measured, and each run's seed and accuracies (E, T) there.

    Runs whose metrics.csv cannot be read are left out; both lists are empty where none is left.
    """
    measured = [(run, curves) for run in setting.completed if (curves := _curves(run))]
    epochs = sorted(set.intersection(*(set(curves) for _, curves in measured))) if measured else []
    return epochs, [(run.seed, torch.stack([curves[epoch] for epoch in epochs])) for run, curves in measured if epochs]


def draw_setting_matrix(ax: Axes, setting: Setting) -> None:
    """Draw the mean accuracy matrix of a setting's completed runs."""
    # Embedded cell by cell, a vector picture stays sharp and small.
    draw_accuracy_matrix(setting.over_seeds("accuracy_matrix").mean, ax).set_interpolation("none")


def write_figures(folder: Path, sweep: Sweep) -> list[Path]:
    """Write sweep_scores.png, sweep_curves.png and sweep_matrices.png to `folder`, atomically.

    Returns:
        The files written; none if no run is completed.
    """
    settings = shown(sweep)
    if not settings:
        return []
    scores = Figure(figsize=(5.2 * len(DRAWN_METRICS), metric_height(sweep)), layout="constrained")
    for ax, key in zip(scores.subplots(1, len(DRAWN_METRICS)), DRAWN_METRICS, strict=True):
        draw_metric(ax, sweep, key)
    figures = {
        SWEEP_SCORES_PNG: scores,
        SWEEP_CURVES_PNG: _grid(settings, draw_setting_curves, CURVES_SIZE),
        SWEEP_MATRICES_PNG: _grid(settings, draw_setting_matrix, matrix_size(settings)),
    }
    return [save_figure(folder / name, figure) for name, figure in figures.items()]


def matrix_size(settings: Sequence[Setting]) -> tuple[float, float]:
    """Width and height in inches in which the matrix of any of `settings`, each with a completed run, can be read."""
    matrices = [run.summary["accuracy_matrix"] for setting in settings for run in setting.completed]
    widths, heights = zip(*(figure_size(len(R), len(R[0])) for R in matrices), strict=True)
    return max(widths), max(heights)


def metric_height(sweep: Sweep) -> float:
    """Height in inches of a figure of `draw_metric`: rows, or lines with a legend below, need room each."""
    if sweep.axis is None:
        lines = sum(_row_name(setting).count("\n") + 1 for setting in sweep.settings if setting.completed)
        return 1.5 + 0.19 * lines + 0.04 * len(sweep.settings)
    names = _legend_names(sweep)
    below = math.ceil(sum(name.count("\n") + 1 for name in names) / _legend_columns(names))
    return 3.2 + (0.2 * below if len(names) > 1 else 0)


def _grid(settings: Sequence[Setting], draw: Callable[[Axes, Setting], None], size: tuple[float, float]) -> Figure:
    """Settings side by side, each under its name."""
    columns = min(3, len(settings))
    rows = math.ceil(len(settings) / columns)
    figure = Figure(figsize=(size[0] * columns, (size[1] + 0.3) * rows), layout="constrained")
    for index, setting in enumerate(settings, start=1):
        ax = figure.add_subplot(rows, columns, index)
        draw(ax, setting)
        title = textwrap.shorten(setting.label, 60, placeholder=" …")
        ax.set_title(f"{title}\n", loc="left", fontsize=10, fontweight="bold")
    return figure


def _draw_lines(ax: Axes, sweep: Sweep, key: str, axis: str) -> None:
    names = _legend_names(sweep)
    for index, (name, settings) in enumerate(zip(names, sweep.series().values(), strict=True)):
        color = COLORS[index % len(COLORS)]
        marker = MARKERS[(index + index // len(COLORS)) % len(MARKERS)]
        placed = [setting for setting in settings if setting.completed]
        points = [setting for setting in placed if setting.values[axis] is not None]
        if points:
            _draw_line(ax, axis, points, key, {"color": color, "label": name, "marker": marker})
        for setting in placed:
            if setting.values[axis] is None:
                draw_level(ax, setting.over_seeds(key), color, name, band=True)
    _ticks(ax, sorted({_number(s, axis) for s in sweep.settings if s.completed and s.values[axis] is not None}))
    ax.set(xlabel=sweep.name(axis), ylabel=DRAWN_METRICS[key])
    if len(names) > 1:
        columns = _legend_columns(names)
        ax.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.17), ncols=columns, frameon=False, fontsize=9)


def _legend_names(sweep: Sweep) -> list[str]:
    return [textwrap.fill(name, LEGEND_WIDTH) for name in sweep.series()]


def _legend_columns(names: Sequence[str]) -> int:
    """Two beside each other where they fit: a legend that is wider than the axes would squeeze them."""
    return 2 if max(map(len, names)) <= LEGEND_WIDTH // 2 - 4 else 1  # a line's sample is as wide as four letters


def _draw_line(ax: Axes, axis: str, points: Sequence[Setting], key: str, look: dict[str, Any]) -> None:
    positions, spreads = [_number(setting, axis) for setting in points], [setting.over_seeds(key) for setting in points]
    mean, sd = in_percent(spreads)
    ax.fill_between(positions, mean - sd, mean + sd, color=look["color"], alpha=BAND, linewidth=0)
    ax.errorbar(positions, mean, sd, markersize=5, linewidth=1.8, elinewidth=1, capsize=3, **look)
    for position, setting in zip(positions, points, strict=True):
        runs = _percents(setting, key)
        ax.plot([position] * len(runs), runs, ".", color=look["color"], alpha=0.4, markersize=5)


def _draw_rows(ax: Axes, sweep: Sweep, key: str) -> None:
    settings = [setting for setting in sweep.settings if setting.completed]
    for row, setting in enumerate(settings):
        spread = setting.over_seeds(key)
        runs = _percents(setting, key)
        ax.plot(runs, [row] * len(runs), ".", color=COLORS[0], alpha=0.4, markersize=6)
        ax.errorbar(
            100 * float(spread.mean),
            row,
            xerr=np.nan_to_num(100 * float(spread.sd)),
            marker="o",
            color=COLORS[0],
            capsize=3,
        )
    ax.set_yticks(range(len(settings)), map(_row_name, settings))
    ax.set(ylim=(len(settings) - 0.4, -0.6), xlabel=DRAWN_METRICS[key])
    ax.tick_params(axis="y", length=0)


def _row_name(setting: Setting) -> str:
    return textwrap.fill(setting.label, 26)


def _ticks(ax: Axes, positions: Sequence[float]) -> None:
    """Mark the values themselves, ascending, but for those whose label would lie on that of the one before."""
    logarithmic = is_logarithmic(positions)
    if logarithmic:
        ax.set_xscale("log")
    places = [math.log(position) if logarithmic else position for position in positions]
    marked: list[int] = []
    for index, place in enumerate(places):
        if not marked or place - places[marked[-1]] >= TICK_GAP * (places[-1] - places[0]):
            marked.append(index)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks([positions[index] for index in marked], [text(positions[index]) for index in marked])


def is_logarithmic(values: Sequence[float]) -> bool:
    """Whether values, ascending, lie so far apart, all above 0, that they are better told apart by their ratios.

    >>> is_logarithmic([1, 10, 100]), is_logarithmic([0, 1, 100]), is_logarithmic([0.5, 1, 2])
    (True, False, False)
    """
    return len(values) > 1 and values[0] > 0 and values[-1] / values[0] >= LOG_FROM


def _number(setting: Setting, axis: str) -> float:
    return float(setting.values[axis])  # type: ignore[arg-type]  # an axis has numbers alone, and what is None was left out


def _percents(setting: Setting, key: str) -> list[float]:
    return [100 * float(numbers(run.summary.get(key))) for run in setting.completed]


def _curves(run: Run) -> dict[float, Tensor]:
    """Accuracies (T,) of a run by epoch; empty where its metrics.csv is gone or broken."""
    try:
        rows = read_metrics(run.path / METRICS)
    except UserError:
        return {}
    return {row["epoch"]: torch.tensor(accuracies(row), dtype=torch.float64) for row in rows}


def _task_ends(run: Run) -> list[float]:
    epochs = run.settings.get("epochs_per_task")
    if run.settings.get("strategy.task_order") == "joint" or not isinstance(epochs, int):
        return []
    return [float(epochs * (j + 1)) for j in range(len(run.summary["accuracy_matrix"]))]


def _say(ax: Axes, words: str) -> None:
    ax.text(0.5, 0.5, words, horizontalalignment="center", transform=ax.transAxes)
    ax.axis("off")
