"""The files of the study of normalization: normalization.csv, .md and .png, a picture of retention and plasticity."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from metaplast.io import write_text
from metaplast.report.aggregate import Sweep
from metaplast.report.figures.style import save_figure, tidy
from metaplast.report.normalization_study import Measured, study, study_csv, to_markdown

_COLORS = ("#2b2d33", "#c8553d", "#33658a", "#f2b632", "#6a994e", "#8e5ea2", "#d68fb0", "#7a6248", "#3caea3", "#9a9da5")
_MARKERS = "o^sDvPX*<>"
_FACES: dict[str, dict[str, Any]] = {
    "population": {"markerfacecolor": "white"},
    "running": {"fillstyle": "left", "markerfacecoloralt": "white"},
}
"""How the markers of these statistics are filled; those of all others are full."""


def draw_normalization(measured: Sequence[Measured]) -> Figure:
    """Draw every setting, with its spread over seeds; a line joins the statistics of one training.

    The figure belongs to no window and is saved by the caller.
    """
    rows = list(dict.fromkeys((row.setting.m, row.setting.n_tasks, row.setting.epochs_per_task) for row in measured))
    columns = list(dict.fromkeys(row.setting.widths for row in measured))
    arms = list(dict.fromkeys(row.setting.arm for row in measured))
    handles = _legend(measured, arms)
    legend_columns = max(1, len(columns) - 1)  # a panel is narrower than the name of an arm with its statistics
    legend_inches = 0.2 * -(-len(handles) // legend_columns)
    size = (4.2 * len(columns) + 0.4, 3.5 * len(rows) + 0.4 + legend_inches)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(rows), len(columns), squeeze=False, sharex=True, sharey=True)
    for i, (m, n_tasks, epochs) in enumerate(rows):
        for j, widths in enumerate(columns):
            here = [r for r in measured if r.setting[:4] == (widths, m, n_tasks, epochs)]
            _draw_panel(axes[i, j], here, arms)
            axes[i, j].set_title(f"{widths}, m = {m}, {n_tasks} tasks × {epochs}", loc="left", fontsize=10)
    for ax in axes[-1]:
        ax.set_xlabel("plasticity: accuracy when fresh, %")
    for ax in axes[:, 0]:
        ax.set_ylabel("retention: share left at the end, %")
    figure.legend(handles=handles, loc="outside lower center", ncols=legend_columns, fontsize=8.5, frameon=False)
    return figure


def _draw_panel(ax: Axes, measured: Sequence[Measured], arms: Sequence[str]) -> None:
    for index, arm in enumerate(arms):
        style = _style(index)
        points = [row for row in measured if row.setting.arm == arm]
        xs = [100 * float(row.metrics["plasticity"].mean) for row in points]
        ys = [100 * float(row.metrics["retention"].mean) for row in points]
        ax.plot(xs, ys, "-", color=style["color"], linewidth=0.8, alpha=0.6)
        for row, x, y in zip(points, xs, ys, strict=True):
            ax.errorbar(
                [x],
                [y],
                xerr=[100 * float(row.metrics["plasticity"].sd)],
                yerr=[100 * float(row.metrics["retention"].sd)],
                linewidth=0.8,
                **style,
                **_FACES.get(row.setting.statistics, {}),
            )
    tidy(ax, grid="both")


def _legend(measured: Sequence[Measured], arms: Sequence[str]) -> list[Line2D]:
    handles = [Line2D([], [], linestyle="none", label=arm, **_style(index)) for index, arm in enumerate(arms)]
    for statistics in dict.fromkeys(row.setting.statistics for row in measured if row.setting.statistics != "–"):
        style = {"marker": "o", "color": "#9a9da5", **_FACES.get(statistics, {})}
        handles.append(Line2D([], [], linestyle="none", label=f"{statistics} statistics", **style))
    return handles


def _style(index: int) -> dict[str, Any]:
    return {"color": _COLORS[index % len(_COLORS)], "marker": _MARKERS[index % len(_MARKERS)]}


def write_normalization(folder: Path, sweep: Sweep) -> list[Path]:
    """Write the study of all completed runs of `sweep` that have two tasks or more; nothing where there is none."""
    measured = study(sweep.runs)
    if not measured:
        return []
    table, text, picture = (folder / f"normalization.{suffix}" for suffix in ("csv", "md", "png"))
    write_text(table, study_csv(measured))
    write_text(text, to_markdown(measured))
    return [table, text, save_figure(picture, draw_normalization(measured))]
