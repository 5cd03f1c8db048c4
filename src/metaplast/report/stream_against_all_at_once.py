"""stream_against_all_at_once.png: accuracy while a data set streams by in parts, beside the same data all at once."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metaplast.report.figure_style import save_figure, tidy
from metaplast.report.over_seeds import over_seeds
from metaplast.report.sweep import Setting, Sweep, label
from metaplast.report.sweep_figures import BAND, COLOURS, setting_curves

PARTS = "scenario.n_parts"


def write(folder: Path, sweep: Sweep) -> list[Path]:
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
        _draw(ax, setting, colour, rest)
    ax.set(xlabel="parts seen", ylabel="test accuracy, %")
    tidy(ax)
    ax.legend(frameon=False, fontsize=9)
    return [save_figure(folder / "stream_against_all_at_once.png", figure)]


def _draw(ax: Axes, setting: Setting, colour: str, name: str) -> None:
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
