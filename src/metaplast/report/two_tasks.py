"""two_tasks.png: the accuracy on each of two tasks in the course of both, a panel a task (the paper's Fig. 4).

A network that learned one of the two alone is a level in the panel of its task.
"""

import json
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metaplast.report.figure_style import save_figure, tidy
from metaplast.report.over_seeds import over_seeds
from metaplast.report.sweep import Setting, Sweep
from metaplast.report.sweep_figures import BAND, COLOURS, setting_curves

N_TASKS = 2


def write(folder: Path, sweep: Sweep) -> list[Path]:
    """Draw all settings of `sweep` that have a completed run: mean over seeds, with a band of ± sd."""
    settings = [setting for setting in sweep.settings if setting.completed]
    both = [setting for setting in settings if _n_tasks(setting) == N_TASKS]
    names = _names(both)
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    for task, ax in enumerate(figure.subplots(1, N_TASKS, sharey=True)):
        for index, setting in enumerate(settings):
            if setting in both:
                _draw(ax, setting, task, COLOURS[index % len(COLOURS)])
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


def _draw(ax: Axes, setting: Setting, task: int, colour: str) -> None:
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
