"""accuracy_curves.png: the test accuracy of every task over the stream, so that forgetting is seen as it happens."""

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

from metaplast.report.figures.style import save_figure, tidy, titled_figure

GREY = "#444444"
AVERAGE = "#a8a8a8"
LABEL_GAP = 4.4
"""Least distance between the centres of two labels beside the curves, in percent of accuracy."""
MARKED_TASKS = 30
"""The most tasks whose names find room above the axes."""
MARKED_MOMENTS = 60
"""Up to so many moments each is marked by a dot; a task that was tested once could not be seen otherwise."""


def make_curves_figure(
    epochs: Sequence[float], accuracies: Tensor, task_ends: Sequence[float], summary: Mapping[str, Any]
) -> Figure:
    """Make the figure of one run: `draw_curves` below its name and its four figures, from `summary` (summary.json).

    Raises ValueError if a number of moments or of tasks does not fit.
    """
    figure = titled_figure(9.6, 5.2, summary)
    draw_curves(figure.add_subplot(), epochs, accuracies, task_ends)
    return figure


def draw_curves(ax: Axes, epochs: Sequence[float], accuracies: Tensor, task_ends: Sequence[float]) -> None:
    """Draw the accuracies measured in the course of a run.

    Each task has a line in its colour, faint until the task is trained, with its last value beside it; the thick line
    is the average over the tasks seen so far, those whose training had begun. Upright lines part the tasks. The parts
    of a stream share one test, so that there is one line, seen from the start.

    Args:
        ax: the axes to draw on.
        epochs: E moments of the stream, in epochs since its start, ascending.
        accuracies: test accuracy on each task at each of them, shape (E, T), or (E, 1) of a stream; fractions, NaN
            where not measured.
        task_ends: the moment at which each task's training ends, T of them; empty where all are trained at once.

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
    starts = task_starts(task_ends, n_tasks)
    seen = moments[:, None] > starts
    stream = n_tasks == 1 < len(task_ends)

    colours = [colormaps["plasma"](0.82 * j / max(1, n_tasks - 1)) for j in range(n_tasks)]
    marker = "o" if len(epochs) <= MARKED_MOMENTS else None
    curves = [*percent.unbind(1), mean_of_seen(percent, seen)]
    for curve, learned, colour in zip(curves, seen.unbind(1), colours, strict=False):
        ax.plot(moments, curve.where(~learned, torch.nan), color=colour, linewidth=0.8, alpha=0.35)
        ax.plot(moments, curve.where(learned, torch.nan), color=colour, linewidth=1.6, marker=marker, markersize=3)
    ax.plot(moments, curves[-1], color=AVERAGE, linewidth=6, solid_capstyle="round", zorder=1.5)  # under the tasks
    if stream:
        _label_ends(ax, moments, curves[:1], ["test"], colours)
        _mark_tasks(ax, task_ends, [GREY] * len(task_ends), "part")
    else:
        _label_ends(ax, moments, curves, [f"task {j}" for j in range(n_tasks)] + ["average"], [*colours, GREY])
        _mark_tasks(ax, task_ends, colours, "task")
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
    save_figure(target, make_curves_figure(epochs, accuracies, task_ends, summary), dpi=150)


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


def _label_ends(
    ax: Axes, moments: Tensor, curves: Sequence[Tensor], names: Sequence[str], colours: Sequence[Any]
) -> None:
    """Write each curve's name and last measured value beside its end, in its colour."""
    ends = []
    for curve, name, colour in zip(curves, names, colours, strict=True):
        measured = curve.isfinite().nonzero()
        if len(measured):
            last = int(measured[-1])
            ends.append((float(moments[last]), float(curve[last]), name, colour))
    places = spread([value for _, value, _, _ in ends], min(LABEL_GAP, 97 / len(curves)), low=1, high=99)
    for (moment, value, name, colour), place in zip(ends, places, strict=True):
        ax.annotate(
            f"{name}  {value:.1f}",
            xy=(moment, value),
            xytext=(1.03, place),
            textcoords=ax.get_yaxis_transform(),
            color=colour,
            fontsize=9 if len(curves) <= 12 else 8,
            fontweight="bold" if name == "average" else "normal",
            verticalalignment="center",
            annotation_clip=False,  # the end of the curves lies on the edge of the axes, give or take a rounding
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "relpos": (0, 0.5)},
        )


def _mark_tasks(ax: Axes, task_ends: Sequence[float], colours: Sequence[Any], word: str) -> None:
    """Part the tasks by upright lines, and name above the axes the task that is trained, of many not each."""
    few, every = len(task_ends) <= 10, -(-len(task_ends) // MARKED_TASKS)
    for j, (start, end) in enumerate(pairwise([0.0, *task_ends])):
        ax.axvline(end, color="#9a9a9a", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0.5)
        if j % every:
            continue
        ax.text(
            (start + end) / 2,
            1.015,
            f"{word} {j}" if few else str(j),
            transform=ax.get_xaxis_transform(),
            horizontalalignment="center",
            color=colours[j],
            fontsize=9,
        )
    if not few:
        ax.text(-0.01, 1.015, word, transform=ax.transAxes, horizontalalignment="right", color=GREY, fontsize=9)
