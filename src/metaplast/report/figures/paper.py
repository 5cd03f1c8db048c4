"""The pictures and tables that an experiment asks for by `plots: [NAME, …]`, drawn from the files of its runs.

- tasks_by_m.png: the accuracy on every task over the stream, a panel for each m (the paper's Fig. 2).
- hidden_weights.png: the hidden weights of each layer after each task (the paper's Fig. 2g and h).
- accuracy_by_width.png: average accuracy against the width of the hidden layers (the paper's Fig. 3).
- two_tasks.png: the accuracy on each of two tasks during both, a panel a task (the paper's Fig. 4). A network that
  learned one of the two alone is a level in the panel of its task.
- stream_against_all_at_once.png: accuracy while a data set is learned in parts, and that of all data at once.
"""

import json
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml  # type: ignore[import-untyped]
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import NullLocator

from metaplast.report.aggregate import Setting, Spread, Sweep, over_seeds, percent
from metaplast.report.figures.curves import evenly_spaced
from metaplast.report.figures.normalization import write_normalization
from metaplast.report.figures.style import COLORS, MARKERS, draw_level, draw_mean, save_figure, tidy
from metaplast.report.figures.sweep import draw_setting_curves, setting_curves
from metaplast.report.tables import write_accuracy_table
from metaplast.runs.index import Run
from metaplast.runs.names import HIDDEN_WEIGHTS, HIDDEN_WEIGHTS_PNG
from metaplast.runs.tables import read_histograms


def write_tasks_by_m(folder: Path, sweep: Sweep) -> list[Path]:
    """Draw all settings of `sweep` that have a completed run, those that differ in m beside each other."""
    settings = sweep.completed
    columns = math.ceil(len(settings) / len(sweep.grouped_without("m")))
    columns = columns if columns <= 3 else math.ceil(columns / 2)
    rows = math.ceil(len(settings) / columns)
    figure = Figure(figsize=(5.6 * columns, 3.9 * rows), layout="constrained")
    for index, setting in enumerate(settings, start=1):
        ax = figure.add_subplot(rows, columns, index)
        draw_setting_curves(ax, setting)
        title = f"{textwrap.shorten(setting.label, 50)}: {percent(setting.over_seeds('average_accuracy'))} % in the end"
        ax.set_title(f"{title}\n", loc="left", fontsize=10, fontweight="bold")
    return [save_figure(folder / "tasks_by_m.png", figure)]


MAX_TASKS = 10
"""The most tasks whose histograms are drawn."""
Histograms = Mapping[str, npt.NDArray[np.float32]]


def write_hidden_weights(folder: Path, sweep: Sweep) -> list[Path]:
    """Draw a row of layers for every setting of `sweep`, each from the first of its runs that has histograms."""
    rows = {}
    for setting in sweep.settings:
        paths = [run.path / HIDDEN_WEIGHTS for run in setting.completed]
        having = [path for path in paths if path.exists()]
        if having:
            rows[setting.label] = read_histograms(having[0])
    return [write_histograms_figure(folder / HIDDEN_WEIGHTS_PNG, rows)] if rows else []


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

    Of many tasks `MAX_TASKS` are drawn, evenly spaced.

    Args:
        ax: the axes to draw on.
        counts: weights in each bin, shape (tasks, bins).
        edges: between them, shape (tasks, bins + 1).
    """
    for task in evenly_spaced(len(counts), MAX_TASKS):
        color = colormaps["plasma"](0.82 * task / max(1, len(counts) - 1))
        density = counts[task] / (counts[task].sum() * np.diff(edges[task]))
        ax.stairs(np.where(density > 0, density, np.nan), edges[task], color=color, linewidth=1.2, label=f"task {task}")
    ax.set(yscale="log", ylabel="density")
    tidy(ax, grid=None)


WIDTH = "model.hidden"


def write_accuracy_by_width(folder: Path, sweep: Sweep) -> list[Path]:
    """Draw a line for everything else that differs between the settings: mean ± sd over seeds against the width."""
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    ax = figure.add_subplot()
    widths: set[int] = set()
    for index, (name, settings) in enumerate(lines(sweep).items()):
        at = [width(setting) for setting in settings]
        spreads = [setting.over_seeds("average_accuracy") for setting in settings]
        color, marker = COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]
        draw_mean(ax, at, spreads, color, marker=marker, markersize=5, label=name)
        widths |= set(at)
    ax.set_xscale("log")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(sorted(widths), [str(value) for value in sorted(widths)])
    ax.set(xlabel="width of the hidden layers", ylabel="average accuracy, %")
    tidy(ax)
    ax.legend(frameon=False, fontsize=9)
    return [save_figure(folder / "accuracy_by_width.png", figure)]


def lines(sweep: Sweep) -> dict[str, list[Setting]]:
    """The settings with a completed run, by all that tells them apart but the width, narrow before wide."""
    groups = {name or "all": [s for s in group if s.completed] for name, group in sweep.grouped_without(WIDTH).items()}
    return {name: sorted(group, key=width) for name, group in groups.items() if group}


def width(setting: Setting) -> int:
    """The width of the first hidden layer; 0 where there is none."""
    hidden = json.loads(str(setting.runs[0].settings.get(WIDTH) or "[]"))
    return int(hidden[0]) if hidden else 0


N_TASKS = 2


def write_two_tasks(folder: Path, sweep: Sweep) -> list[Path]:
    """Draw all settings of `sweep` that have a completed run: mean over seeds, with a band of ± sd."""
    settings = sweep.completed
    both = [setting for setting in settings if _n_tasks(setting) == N_TASKS]
    names = _names(both)
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    for task, ax in enumerate(figure.subplots(1, N_TASKS, sharey=True)):
        for index, setting in enumerate(settings):
            if setting in both:
                _draw_task(ax, setting, task, COLORS[index % len(COLORS)])
            elif _n_tasks(setting) == 1 and _names([setting])[0] == names[task]:
                alone = setting.over_seeds("average_accuracy")
                name = f"{setting.label}: {100 * float(alone.mean):.1f} %"
                draw_level(ax, alone, COLORS[index % len(COLORS)], name)
        for setting in both[:1]:
            first = int(setting.runs[0].settings["epochs_per_task"])  # type: ignore[arg-type]
            ax.axvline(first, color="#9a9a9a", linewidth=0.8, linestyle=(0, (4, 3)))
        ax.set_title(names[task], loc="left", fontsize=10, fontweight="bold")
        ax.set(xlabel="epoch", ylim=(0, 101))
        tidy(ax)
        ax.legend(frameon=False, fontsize=9, loc="best")  # the second task begins where the first has its legend
        if task == 0:
            ax.set_ylabel("test accuracy, %")
    return [save_figure(folder / "two_tasks.png", figure)]


def _draw_task(ax: Axes, setting: Setting, task: int, color: str) -> None:
    epochs, stacks = setting_curves(setting)
    if epochs:
        spreads = _moments(over_seeds((seed, accuracies[:, task]) for seed, accuracies in stacks))
        last = 100 * float(spreads[-1].mean)
        draw_mean(ax, epochs, spreads, color, label=f"{setting.label}: {last:.1f} % in the end")


def _moments(spread: Spread) -> list[Spread]:
    """A quantity (E,) over seeds, moment by moment."""
    return [Spread(mean, sd, spread.n) for mean, sd in zip(spread.mean, spread.sd, strict=True)]


def _n_tasks(setting: Setting) -> int:
    return len(setting.completed[0].summary["accuracy_matrix"])


def _names(settings: list[Setting]) -> list[str]:
    """What the tasks of the first of `settings` are called: its data sets where it names them, else their numbers."""
    for setting in settings:
        order = json.loads(str(setting.runs[0].settings.get("scenario.order") or "null"))
        if order:
            return [str(name) for name in order]
    return [f"task {task}" for task in range(N_TASKS)]


PARTS = "scenario.n_parts"


def write_stream_against_all_at_once(folder: Path, sweep: Sweep) -> list[Path]:
    """Draw all settings of `sweep` that have a completed run: one in parts as a curve, one at once as a level.

    Settings that differ in the number of parts alone, a curve and its level, share a color.
    """
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    ax = figure.add_subplot()
    groups = {name: [s for s in group if s.completed] for name, group in sweep.grouped_without(PARTS).items()}
    for index, (name, group) in enumerate((name, group) for name, group in groups.items() if group):
        for setting in group:
            _draw_parts(ax, setting, COLORS[index % len(COLORS)], name)
    ax.set(xlabel="parts seen", ylabel="test accuracy, %")
    tidy(ax)
    ax.legend(frameon=False, fontsize=9)
    return [save_figure(folder / "stream_against_all_at_once.png", figure)]


def _draw_parts(ax: Axes, setting: Setting, color: str, name: str) -> None:
    run, average = setting.completed[0], setting.over_seeds("average_accuracy")
    in_the_end = f"{100 * float(average.mean):.1f} %"
    if run.settings.get(PARTS) == 1:
        draw_level(ax, average, color, f"{name}, all at once: {in_the_end}")
        return
    epochs, stacks = setting_curves(setting)
    if epochs:
        spreads = _moments(over_seeds((seed, accuracies.nanmean(1)) for seed, accuracies in stacks))
        parts = [epoch / int(run.settings["epochs_per_task"]) for epoch in epochs]  # type: ignore[arg-type]
        draw_mean(ax, parts, spreads, color, label=f"{name}, in parts: {in_the_end}")


WRITERS: dict[str, Callable[[Path, Sweep], list[Path]]] = {
    "tasks_by_m": write_tasks_by_m,
    "hidden_weights": write_hidden_weights,
    "accuracy_by_width": write_accuracy_by_width,
    "two_tasks": write_two_tasks,
    "stream_against_all_at_once": write_stream_against_all_at_once,
    "accuracy_table": write_accuracy_table,
    "normalization": write_normalization,
}
"""What writes each name that the setting `plots` may hold (:mod:`metaplast.config.schema`)."""


def requested_plots(runs: Sequence[Run]) -> list[str]:
    """The names that the `plots` of any config.yaml holds, each once."""
    named: dict[str, None] = {}
    for run in runs:
        config = yaml.safe_load(run.config) or {}
        named |= dict.fromkeys(name for name in config.get("plots", config.get("plots")) or [] if name in WRITERS)
    return list(named)


def write_requested_plots(folder: Path, sweep: Sweep) -> list[Path]:
    """Write the pictures and tables that completed runs ask for to `folder`, atomically, and return the files."""
    completed = [run for run in sweep.runs if run.completed]
    return [path for name in requested_plots(completed) for path in WRITERS[name](folder, sweep)]
