"""tasks_by_m.png: the accuracy on every task in the course of the stream, a panel for each m (the paper's Fig. 2)."""

import math
import textwrap
from pathlib import Path

from matplotlib.figure import Figure

from metaplast.report.figure_style import save_figure
from metaplast.report.over_seeds import percent
from metaplast.report.sweep import Sweep
from metaplast.report.sweep_figures import draw_setting_curves


def write(folder: Path, sweep: Sweep) -> list[Path]:
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
