"""accuracy_by_width.png: average accuracy against the width of the hidden layers (the paper's Fig. 3)."""

import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from metaplast.report.figure_style import save_figure, tidy
from metaplast.report.sweep import Setting, Sweep, label
from metaplast.report.sweep_figures import BAND, COLOURS, MARKERS

WIDTH = "model.hidden"


def write(folder: Path, sweep: Sweep) -> list[Path]:
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
