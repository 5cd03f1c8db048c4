"""Picture of a search: the trials in their order, and the accuracy against each parameter."""

from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metaplast.report.figure_style import save_figure, tidy
from metaplast.report.runs import natural_order

COMPLETED, PRUNED = "#0072b2", "#8a8a8a"
PANEL = 3.4
"""Width and height of a panel in inches."""


class Point(NamedTuple):
    """One trial."""

    number: int
    pruned: bool
    accuracy: float
    """Average accuracy, a fraction; of a pruned trial, over the tasks that it was trained on."""
    params: Mapping[str, float | int | str]


def write_study_figure(target: Path, name: str, points: Sequence[Point], log: Collection[str]) -> None:
    """Write the picture of the trials of study `name` to `target`, atomically; parameters of `log` on a log axis."""
    save_figure(target, make_study_figure(name, points, log), dpi=150)


def make_study_figure(name: str, points: Sequence[Point], log: Collection[str]) -> Figure:
    """Draw what :func:`write_study_figure` writes."""
    keys = list(dict.fromkeys(key for point in points for key in point.params))
    figure = Figure(figsize=(PANEL * (1 + len(keys)), PANEL), layout="constrained")
    figure.suptitle(f"{name}: average accuracy on validation data", x=0.01, ha="left", fontsize=10)
    first, *others = figure.subplots(1, 1 + len(keys), sharey=True, squeeze=False)[0]
    _draw_history(first, points)
    for ax, key in zip(others, keys, strict=True):
        _draw_parameter(ax, key, [point for point in points if key in point.params], key in log)
    for ax in (first, *others):
        tidy(ax, grid="both")
    return figure


def _draw_history(ax: Axes, points: Sequence[Point]) -> None:
    ordered = sorted(points, key=lambda point: point.number)
    _scatter(ax, [point.number for point in ordered], ordered)
    completed = [point for point in ordered if not point.pruned]
    best = [*accumulate((100 * point.accuracy for point in completed), max)]
    ax.step([point.number for point in completed], best, where="post", color=COMPLETED, label="best so far")
    ax.set_xlabel("trial")
    ax.set_ylabel("average accuracy, %")
    ax.legend(fontsize=7, frameon=False)


def _draw_parameter(ax: Axes, key: str, points: Sequence[Point], log: bool) -> None:
    values = [point.params[key] for point in points]
    if any(isinstance(value, str) for value in values):
        names = sorted({str(value) for value in values}, key=natural_order)
        _scatter(ax, [names.index(str(value)) for value in values], points)
        ax.set_xticks(range(len(names)), names, rotation=30, ha="right")
    else:
        _scatter(ax, [float(value) for value in values], points)
        if log:
            ax.set_xscale("log")
    ax.set_xlabel(key)


def _scatter(ax: Axes, x: Sequence[float], points: Sequence[Point]) -> None:
    for pruned, marker, colour, label in (
        (False, "o", COMPLETED, "trial"),
        (True, "x", PRUNED, "pruned, as far as it got"),
    ):
        chosen = [index for index, point in enumerate(points) if point.pruned == pruned]
        if chosen:
            y = [100 * points[index].accuracy for index in chosen]
            ax.scatter([x[index] for index in chosen], y, s=18, marker=marker, color=colour, alpha=0.8, label=label)
