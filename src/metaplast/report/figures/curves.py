"""The pictures of a run, under its name and its four metrics.

accuracy_curves.png: the test accuracy on every task over the stream, so that forgetting is seen as it happens.
accuracy_matrix.png: the accuracy matrix as a heat map.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from metaplast.metrics.heatmap import draw_accuracy_matrix, figure_size
from metaplast.report.figures.style import BAND, save_figure, tidy, titled_figure

GRAY = "#444444"
AVERAGE = "#a8a8a8"
LABEL_GAP = 4.4
"""Least distance between the centers of two labels beside the curves, in percent of accuracy."""
ALL_CURVES, MAX_CURVES = 20, 10
"""Up to 20 tasks are all drawn; of more, 10 that are evenly spaced, the first and the last among them."""
MAX_POINTS = 150
"""The most points of one curve in a long stream."""
MARKED_TASKS = 30
"""The most tasks whose names find room above the axes."""
MARKED_MOMENTS = 60
"""Up to so many moments each is marked by a dot; a task that was tested once could not be seen otherwise."""


def make_curves_figure(
    epochs: Sequence[float], accuracies: Tensor, task_ends: Sequence[float], summary: Mapping[str, Any]
) -> Figure:
    """Make the figure of one run: `draw_curves` below its title and its four metrics, from `summary` (summary.json).

    Raises ValueError if a number of moments or of tasks does not fit.
    """
    figure = titled_figure(9.6, 5.2, summary)
    draw_curves(figure.add_subplot(), epochs, accuracies, task_ends)
    return figure


def draw_curves(
    ax: Axes,
    epochs: Sequence[float],
    accuracies: Tensor,
    task_ends: Sequence[float],
    sd: tuple[Tensor, Tensor] | None = None,
) -> None:
    """Draw the accuracies measured in the course of a run, or their mean over runs.

    Each task has a line in its color, faint until the task is trained, with its last value beside it; the thick line
    is the average over the tasks seen so far, those whose training had begun. Upright lines part the tasks. The parts
    of a stream share one test, so that there is one line, seen from the start. Of long streams `MAX_CURVES` tasks are
    drawn; the average is always that of all.

    Args:
        ax: the axes to draw on.
        epochs: E moments of the stream, in epochs since its start, ascending.
        accuracies: test accuracy on each task at each of them, shape (E, T), or (E, 1) of a stream; fractions, NaN
            where not measured.
        task_ends: the moment at which each task's training ends, T of them; empty where all are trained at once.
        sd: standard deviation over runs of the accuracies (E, T) and of the average (E,), for a band around each line.

    Raises:
        ValueError: if a number of moments or of tasks does not fit.
    """
    n_tasks = accuracies.shape[1]
    if len(epochs) != len(accuracies) or (n_tasks > 1 and len(task_ends) not in (0, n_tasks)):
        raise ValueError(
            f"epochs, task_ends: expected {len(accuracies)} and {n_tasks} (or 0) for accuracies of shape "
            f"{tuple(accuracies.shape)}, got {len(epochs)} and {len(task_ends)}"
        )
    moments = torch.as_tensor(epochs, dtype=torch.float64)
    percent = 100 * accuracies.double().cpu()
    seen = moments[:, None] > task_starts(task_ends, n_tasks)
    stream = n_tasks == 1 < len(task_ends)

    colors = [colormaps["plasma"](0.82 * j / max(1, n_tasks - 1)) for j in range(n_tasks)]
    marker = "o" if len(epochs) <= MARKED_MOMENTS else None
    drawn = evenly_spaced(n_tasks, n_tasks if n_tasks <= ALL_CURVES else MAX_CURVES)
    average = mean_of_seen(percent, seen)
    for j in drawn:
        curve, learned = percent[:, j], seen[:, j]
        ax.plot(*_points(moments, curve, ~learned), color=colors[j], linewidth=0.8, alpha=0.35)
        ax.plot(*_points(moments, curve, learned), color=colors[j], linewidth=1.6, marker=marker, markersize=3)
        if sd is not None:
            _draw_band(ax, moments, curve.where(learned, torch.nan), 100 * sd[0][:, j], colors[j])
    all_seen = torch.ones(len(epochs), dtype=torch.bool)
    # Under the tasks.
    ax.plot(*_points(moments, average, all_seen), color=AVERAGE, linewidth=6, solid_capstyle="round", zorder=1.5)
    if sd is not None:
        _draw_band(ax, moments, average, 100 * sd[1], AVERAGE)
    curves = [percent[:, j] for j in drawn]
    if stream:
        _label_ends(ax, moments, curves, ["test"], colors)
        _mark_tasks(ax, task_ends, [GRAY] * len(task_ends), "part")
    else:
        names, shades = [f"task {j}" for j in drawn], [colors[j] for j in drawn]
        _label_ends(ax, moments, [*curves, average], [*names, "average"], [*shades, GRAY])
        _mark_tasks(ax, task_ends, colors, "task")
    ax.set(xlim=(0, max([*task_ends, *epochs])), ylim=(0, 101), xlabel="epoch", ylabel="test accuracy, %")
    if 1 < len(task_ends) <= 10:
        ax.set_xticks([0, *task_ends])
    else:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    tidy(ax)


def write_curves_figure(
    target: Path, epochs: Sequence[float], accuracies: Tensor, task_ends: Sequence[float], summary: Mapping[str, Any]
) -> None:
    """Write `make_curves_figure` to `target`, atomically."""
    dpi = 150 if accuracies.shape[1] <= ALL_CURVES else 100  # crowded lines make large files
    save_figure(target, make_curves_figure(epochs, accuracies, task_ends, summary), dpi)


def evenly_spaced(n: int, most: int) -> list[int]:
    """Indices from 0 to n − 1, all of them or `most` that are evenly spaced, the first and the last among them.

    >>> evenly_spaced(3, most=5), evenly_spaced(100, most=4)
    ([0, 1, 2], [0, 33, 66, 99])
    """
    return list(range(n)) if n <= most else [round(i * (n - 1) / (most - 1)) for i in range(most)]


def task_starts(task_ends: Sequence[float], n_tasks: int) -> Tensor:
    """The moment from which each of `n_tasks` tests counts as seen, float64 (n_tasks,): the start of its training.

    >>> task_starts([2.0, 4.0], n_tasks=2).tolist(), task_starts([2.0, 4.0], n_tasks=1).tolist()
    ([0.0, 2.0], [0.0])
    """
    one_each = len(task_ends) == n_tasks
    return torch.tensor([0.0, *task_ends[:-1]] if one_each else [0.0] * n_tasks, dtype=torch.float64)


def mean_of_seen(accuracies: Tensor, seen: Tensor) -> Tensor:
    """Average over the tasks seen so far, shape (E,); NaN before the first, and where one of them was not measured.

    >>> mean_of_seen(torch.tensor([[10.0, 12.0], [90.0, 20.0], [70.0, 90.0]]),
    ...              torch.tensor([[False, False], [True, False], [True, True]]))
    tensor([nan, 90., 80.])
    """
    return accuracies.where(seen, 0).sum(1) / seen.sum(1)


def spread(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move values apart until they lie at least `gap` from each other, from `low` to `high`, their order kept.

    Values that are too close form a group, which is laid out around its mean; this moves them least, in squares.

    >>> spread([50.0, 98.0, 20.0, 52.0], gap=4.0, low=0.0, high=97.0)
    [49.0, 97.0, 20.0, 53.0]
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    groups: list[tuple[float, int]] = []  # (where its first member would lie, members)
    for rank, index in enumerate(order):
        base, size = values[index] - rank * gap, 1
        while groups and groups[-1][0] > base:
            other, others = groups.pop()
            base, size = (base * size + other * others) / (size + others), size + others
        groups.append((base, size))
    bases = [base for base, size in groups for _ in range(size)]
    highest = high - (len(values) - 1) * gap
    places = [max(low, min(base, highest)) + rank * gap for rank, base in enumerate(bases)]
    placed = dict(zip(order, places, strict=True))
    return [placed[index] for index in range(len(values))]


def _points(moments: Tensor, curve: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
    """What to draw of a curve where `shown`: few moments with their gaps, of many the measured ones, thinned out."""
    if len(moments) <= MARKED_MOMENTS:
        return moments, curve.where(shown, torch.nan)
    measured = (shown & curve.isfinite()).nonzero().flatten()
    kept = measured[evenly_spaced(len(measured), MAX_POINTS)]
    return moments[kept], curve[kept]


def _draw_band(ax: Axes, moments: Tensor, curve: Tensor, sd: Tensor, color: Any) -> None:
    x, mean = _points(moments, curve, sd.isfinite())
    _, around = _points(moments, sd, curve.isfinite())
    ax.fill_between(x, mean - around, mean + around, color=color, alpha=BAND, linewidth=0)


def _label_ends(
    ax: Axes, moments: Tensor, curves: Sequence[Tensor], names: Sequence[str], colors: Sequence[Any]
) -> None:
    """Write each curve's name and last measured value beside its end, in its color."""
    ends = []
    for curve, name, color in zip(curves, names, colors, strict=True):
        measured = curve.isfinite().nonzero()
        if len(measured):
            last = int(measured[-1])
            ends.append((float(moments[last]), float(curve[last]), name, color))
    places = spread([value for _, value, _, _ in ends], min(LABEL_GAP, 97 / len(curves)), low=1, high=99)
    for (moment, value, name, color), place in zip(ends, places, strict=True):
        ax.annotate(
            f"{name}  {value:.1f}",
            xy=(moment, value),
            xytext=(1.03, place),
            textcoords=ax.get_yaxis_transform(),
            color=color,
            fontsize=9 if len(curves) <= 12 else 8,
            fontweight="bold" if name == "average" else "normal",
            verticalalignment="center",
            annotation_clip=False,  # the end of the curves lies on the edge of the axes, give or take a rounding
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.6, "relpos": (0, 0.5)},
        )


def _mark_tasks(ax: Axes, task_ends: Sequence[float], colors: Sequence[Any], word: str) -> None:
    """Part the tasks by upright lines and name, above the axes, the one that is trained; of many only some."""
    few, every = len(task_ends) <= 10, math.ceil(len(task_ends) / MARKED_TASKS)
    for j, (start, end) in enumerate(pairwise([0.0, *task_ends])):
        if every == 1 or (j + 1) % every == 0:
            ax.axvline(end, color="#9a9a9a", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0.5)
        if j % every:
            continue
        ax.text(
            (start + end) / 2,
            1.015,
            f"{word} {j}" if few else str(j),
            transform=ax.get_xaxis_transform(),
            horizontalalignment="center",
            color=colors[j],
            fontsize=9 if len(task_ends) <= 100 else 7,
        )
    if not few:
        ax.text(-0.01, 1.015, word, transform=ax.transAxes, horizontalalignment="right", color=GRAY, fontsize=9)


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
