"""The pictures of searches: the trials of a study, and how far a choice of m on the first tasks is from the best."""

import json
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metaplast.io import write_text
from metaplast.report.figures.style import save_figure, tidy
from metaplast.runs.index import natural_order
from metaplast.runs.tables import to_csv

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
    for pruned, marker, color, label in (
        (False, "o", COMPLETED, "trial"),
        (True, "x", PRUNED, "pruned, as far as it got"),
    ):
        chosen = [index for index, point in enumerate(points) if point.pruned == pruned]
        if chosen:
            y = [100 * points[index].accuracy for index in chosen]
            ax.scatter([x[index] for index in chosen], y, s=18, marker=marker, color=color, alpha=0.8, label=label)


class Tried(NamedTuple):
    """One m under one combination of the other settings."""

    settings: str
    """The overrides of the combination."""
    m: float | list[float]
    validation_accuracy: float
    """Average accuracy after the first tasks, on their validation data, a fraction."""
    average_accuracy: float | None
    """Average accuracy after the whole stream, on test data; None where it was not trained."""
    chosen: bool


def gap(tried: Sequence[Tried]) -> tuple[Tried, float]:
    """The best of one combination in hindsight, and by how many points it is above the chosen one.

    >>> gap([Tried("", 0, 0.7, 0.5, False), Tried("", 1, 0.9, 0.75, True), Tried("", 2, 0.8, 0.875, False)])[1]
    12.5
    """
    tested = [one for one in tried if one.average_accuracy is not None]
    best = max(tested, key=_final)
    [chosen] = [one for one in tested if one.chosen]
    return best, 100 * (_final(best) - _final(chosen))


def write_first_tasks_csv(target: Path, tried: Sequence[Tried]) -> None:
    """Write a row for each one tried to `target`, atomically; accuracies are fractions with all their digits."""
    rows = ([one.settings, json.dumps(one.m), *one[2:4], json.dumps(one.chosen)] for one in tried)
    write_text(target, to_csv([Tried._fields, *rows]))


def write_first_tasks_figure(target: Path, tried: Sequence[Tried], n_tasks: int) -> None:
    """Draw both accuracies against m, the mean over combinations and a faint dot each, and what was chosen."""
    names = list(dict.fromkeys(json.dumps(one.m) for one in tried))
    by_settings: dict[str, dict[str, Tried]] = {}
    for one in tried:
        by_settings.setdefault(one.settings, {})[json.dumps(one.m)] = one
    x, crowded = list(range(len(names))), len(names) > 8
    figure = Figure(figsize=(max(5.2, 0.5 * len(names) + 2), 3.8), layout="constrained")
    ax = figure.subplots()
    for column, color, label in (
        ("validation_accuracy", "#d55e00", f"validation data, after {n_tasks} tasks"),
        ("average_accuracy", "#0072b2", "test data, after all tasks"),
    ):
        values = np.array([[100 * getattr(row[name], column) for name in names] for row in by_settings.values()])
        ax.plot(x, values.mean(0), color=color, marker="o", ms=4, label=label)
        for row in values if len(values) > 1 else ():
            ax.scatter(x, row, s=8, color=color, alpha=0.35)
    chosen = [one for one in tried if one.chosen]
    places, heights = [names.index(json.dumps(one.m)) for one in chosen], [100 * _final(one) for one in chosen]
    ax.scatter(places, heights, s=110, facecolors="none", edgecolors="black", label="chosen", zorder=3)
    mean = np.mean([gap(list(row.values()))[1] for row in by_settings.values()])
    figure.suptitle(f"m chosen on {n_tasks} tasks: {mean:.2f} points below the best in hindsight")
    ax.set_xticks(x, names, rotation=30 if crowded else 0, ha="right" if crowded else "center")
    ax.set(xlabel="m", ylabel="average accuracy, %")
    tidy(ax, grid=None)
    ax.legend(fontsize=8, frameon=False)
    save_figure(target, figure, dpi=150)


def _final(one: Tried) -> float:
    assert one.average_accuracy is not None, "only what was trained to the end has one"
    return one.average_accuracy
