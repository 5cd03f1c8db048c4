"""The pictures and tables that an experiment asks for by `plots: [NAME, …]`, drawn from its runs' files.

Each has a module of its own below this folder, with `write(folder, sweep)`, which is imported when it is asked for.

tasks_by_m.png: the accuracy on every task in the course of the stream, a panel for each m (the paper's Fig. 2).

hidden_weights.png: how the hidden weights of each layer spread as tasks are learned (the paper's Fig. 2g and h).

accuracy_by_width.png: average accuracy against the width of the hidden layers (the paper's Fig. 3).

two_tasks.png: the accuracy on each of two tasks in the course of both, a panel a task (the paper's Fig. 4).

A network that learned one of the two alone is a level in the panel of its task.

stream_against_all_at_once.png: accuracy while a data set streams by in parts, beside the same data all at once.
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

from metaplast.report.aggregate import Setting, Sweep, label, over_seeds, percent
from metaplast.report.figures.normalization import write_normalization
from metaplast.report.figures.style import save_figure, tidy
from metaplast.report.figures.sweep import BAND, COLOURS, MARKERS, draw_setting_curves, setting_curves
from metaplast.report.tables import write_accuracy_table
from metaplast.runs.index import Run
from metaplast.runs.tables import read_histograms


def write_tasks_by_m(folder: Path, sweep: Sweep) -> list[Path]:
    """Draw all settings of `sweep` that have a completed run, those that differ in m beside each other."""
    settings = [setting for setting in sweep.settings if setting.completed]
    lines = len({tuple(v for key, v in setting.values.items() if key != "m") for setting in settings})
    columns = math.ceil(len(settings) / lines)
    columns = columns if columns <= 3 else math.ceil(columns / 2)
    rows = math.ceil(len(settings) / columns)
    figure = Figure(figsize=(5.6 * columns, 3.9 * rows), layout="constrained")
    for index, setting in enumerate(settings, start=1):
        ax = figure.add_subplot(rows, columns, index)
        draw_setting_curves(ax, setting)
        title = f"{textwrap.shorten(setting.label, 50)}: {percent(setting.over_seeds('average_accuracy'))} % in the end"
        ax.set_title(f"{title}\n", loc="left", fontsize=10, fontweight="bold")
    return [save_figure(folder / "tasks_by_m.png", figure)]


FILE = "hidden_weights.npz"
Histograms = Mapping[str, npt.NDArray[np.float32]]


def write_hidden_weights(folder: Path, sweep: Sweep) -> list[Path]:
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


WIDTH = "model.hidden"


def write_accuracy_by_width(folder: Path, sweep: Sweep) -> list[Path]:
    """Draw a line for everything else that differs between the settings: mean ± sd over seeds against the width."""
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    ax = figure.add_subplot()
    widths: set[int] = set()
    for index, (name, settings) in enumerate(lines(sweep).items()):
        at = [width(setting) for setting in settings]
        spreads = [setting.over_seeds("average_accuracy") for setting in settings]
        mean = np.array([100 * float(spread.mean) for spread in spreads])
        sd = np.nan_to_num([100 * float(spread.sd) for spread in spreads])
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        ax.fill_between(at, mean - sd, mean + sd, color=colour, alpha=BAND, linewidth=0)
        ax.plot(at, mean, color=colour, marker=marker, markersize=5, linewidth=1.8, label=name)
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
    found: dict[str, list[Setting]] = {}
    for setting in sorted((s for s in sweep.settings if s.completed), key=width):
        rest = {key: value for key, value in setting.values.items() if key != WIDTH}
        found.setdefault(label(rest, sweep.keys) or "all", []).append(setting)
    return found


def width(setting: Setting) -> int:
    """The width of the first hidden layer; 0 where there is none."""
    hidden = json.loads(str(setting.runs[0].settings.get(WIDTH) or "[]"))
    return int(hidden[0]) if hidden else 0


N_TASKS = 2


def write_two_tasks(folder: Path, sweep: Sweep) -> list[Path]:
    """Draw all settings of `sweep` that have a completed run: mean over seeds, with a band of ± sd."""
    settings = [setting for setting in sweep.settings if setting.completed]
    both = [setting for setting in settings if _n_tasks(setting) == N_TASKS]
    names = _names(both)
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    for task, ax in enumerate(figure.subplots(1, N_TASKS, sharey=True)):
        for index, setting in enumerate(settings):
            if setting in both:
                _draw_two_tasks(ax, setting, task, COLOURS[index % len(COLOURS)])
            elif _n_tasks(setting) == 1 and _names([setting])[0] == names[task]:
                _draw_level(ax, setting, COLOURS[index % len(COLOURS)])
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


def _draw_two_tasks(ax: Axes, setting: Setting, task: int, colour: str) -> None:
    epochs, stacks = setting_curves(setting)
    if not epochs:
        return
    spread = over_seeds(stacks)
    mean, sd = 100 * spread.mean[:, task].numpy(), np.nan_to_num(100 * spread.sd[:, task].numpy())
    ax.fill_between(epochs, mean - sd, mean + sd, color=colour, alpha=BAND, linewidth=0)
    ax.plot(epochs, mean, color=colour, linewidth=1.8, label=f"{setting.label}: {mean[-1]:.1f} % in the end")


def _draw_level(ax: Axes, setting: Setting, colour: str) -> None:
    mean = 100 * float(setting.over_seeds("average_accuracy").mean)
    ax.axhline(mean, color=colour, linestyle=(0, (5, 3)), linewidth=1.8, label=f"{setting.label}: {mean:.1f} %")


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

    What differs but for the number of parts has a colour of its own, so that a curve and its level belong together.
    """
    settings = [setting for setting in sweep.settings if setting.completed]
    colours: dict[str, str] = {}
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    ax = figure.add_subplot()
    for setting in settings:
        rest = label({key: value for key, value in setting.values.items() if key != PARTS}, sweep.keys)
        colour = colours.setdefault(rest, COLOURS[len(colours) % len(COLOURS)])
        _draw_stream_against_all_at_once(ax, setting, colour, rest)
    ax.set(xlabel="parts seen", ylabel="test accuracy, %")
    tidy(ax)
    ax.legend(frameon=False, fontsize=9)
    return [save_figure(folder / "stream_against_all_at_once.png", figure)]


def _draw_stream_against_all_at_once(ax: Axes, setting: Setting, colour: str, name: str) -> None:
    run = setting.completed[0]
    mean = 100 * float(setting.over_seeds("average_accuracy").mean)
    if run.settings.get(PARTS) == 1:
        ax.axhline(mean, color=colour, linestyle=(0, (5, 3)), linewidth=1.6, label=f"{name}, all at once: {mean:.1f} %")
        return
    epochs, stacks = setting_curves(setting)
    if not epochs:
        return
    spread = over_seeds((seed, accuracies.nanmean(1)) for seed, accuracies in stacks)
    parts = np.array(epochs) / int(run.settings["epochs_per_task"])  # type: ignore[arg-type]
    curve, sd = 100 * spread.mean.numpy(), np.nan_to_num(100 * spread.sd.numpy())
    ax.fill_between(parts, curve - sd, curve + sd, color=colour, alpha=BAND, linewidth=0)
    ax.plot(parts, curve, color=colour, linewidth=1.8, label=f"{name}, in parts: {mean:.1f} %")


WRITERS: dict[str, Callable[[Path, Sweep], list[Path]]] = {
    "tasks_by_m": write_tasks_by_m,
    "hidden_weights": write_hidden_weights,
    "accuracy_by_width": write_accuracy_by_width,
    "two_tasks": write_two_tasks,
    "stream_against_all_at_once": write_stream_against_all_at_once,
    "accuracy_table": write_accuracy_table,
    "normalization": write_normalization,
}
"""What writes each name that `plots` may hold (`metaplast.config.schema.PLOTS`)."""


def asked_for(runs: Sequence[Run]) -> list[str]:
    """The figures that any of `runs` names in its config.yaml, each once."""
    named: dict[str, None] = {}
    for run in runs:
        config = yaml.safe_load(run.config) or {}
        named |= dict.fromkeys(name for name in config.get("plots") or [] if name in WRITERS)
    return list(named)


def write_experiment_figures(folder: Path, sweep: Sweep) -> list[Path]:
    """Write what the completed runs of `sweep` ask for to `folder`, atomically, and return the files."""
    completed = [run for run in sweep.runs if run.completed]
    return [path for name in asked_for(completed) for path in WRITERS[name](folder, sweep)]
