"""Figures of the quadratic binary task: the plane of two weights, the cost of a switch, the speed of divergence.

Each takes a run and returns a matplotlib figure that belongs to no window, to be saved by the caller.
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from metaplast.analysis.quadratic import Array, QuadraticTask, velocity_at
from metaplast.analysis.quadratic_experiment import QuadraticRun, summarize
from metaplast.report.figure_style import tidy

_DIVERGES = "#c8553d"
_SETTLES = "#33658a"
_GOLD = "#f2b632"
_INK = "#2b2d33"
_HOLLOW: dict[str, Any] = {"markerfacecolor": "white", "markersize": 7}
_X, _Y = (-1.7, 4.6), (-1.7, 2.1)
"""Frame of the landscape: W* and a dozen steps."""


def draw_plane(run: QuadraticRun) -> Figure:
    """Draw two hidden weights over the landscape of the loss, and against the step, from a run of dimension 2.

    Raises ValueError for another dimension.
    """
    if run.task.optimum.size != 2:
        raise ValueError(f"the plane has 2 weights, but the run has {run.task.optimum.size}")
    figure = Figure(figsize=(12, 4.9), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=[1.6, 1])
    _draw_landscape(figure.add_subplot(grid[:, 0]), run)
    figure.legend(loc="outside lower center", ncols=6, fontsize=9, frameon=False)
    diverging, settling = (figure.add_subplot(grid[row, 1]) for row in range(2))
    _draw_course(diverging, run, weight=0, steps=run.steps, color=_DIVERGES)
    diverging.set_title("Weight 1 diverges", loc="left", fontsize=11)
    _draw_course(settling, run, weight=1, steps=min(60, run.steps), color=_SETTLES)
    settling.set_title(f"Weight 2 settles: its sign averages {run.cube_optimum[1]:.2f}", loc="left", fontsize=11)
    settling.set_xlabel("step")
    return figure


def _draw_landscape(ax: Axes, run: QuadraticRun) -> None:
    x, y = np.meshgrid(np.linspace(*_X, 253), np.linspace(*_Y, 153))
    loss = _loss_on_grid(run.task, x, y)
    levels = np.geomspace(0.05, loss.max(), 16)
    ax.contourf(x, y, loss, levels=[0, *levels], cmap="Blues", alpha=0.55, norm="symlog")
    ax.contour(x, y, loss, levels=levels, colors="white", linewidths=0.7)

    ax.add_patch(Rectangle((-1, -1), 2, 2, fill=False, edgecolor=_INK, linewidth=1.2, label="unit square"))
    ax.plot([-1, -1, 1, 1], [-1, 1, -1, 1], "s", color=_INK, markersize=8, label="binary weights $W^b$")
    ax.plot(*run.task.optimum, "*", color=_GOLD, markeredgecolor=_INK, markersize=17, label="optimum $W^*$")
    ax.plot(*run.cube_optimum, "D", label=r"optimum of the square $\bar s$", **_HOLLOW, markeredgecolor=_INK)
    ax.plot(*run.hidden.T, "-", color=_DIVERGES, linewidth=1.2, alpha=0.8)
    ax.plot(*run.hidden.T, "o", color=_DIVERGES, markersize=3.5, label="hidden weights $W^h$, step by step")
    ax.plot(*run.hidden[0], "o", label="their start", **_HOLLOW, markeredgecolor=_DIVERGES)
    ax.set(xlim=_X, ylim=_Y, aspect="equal", xlabel="weight 1", ylabel="weight 2")
    ax.set_title("The bowl pulls weight 1 beyond what a sign can reach", loc="left", fontsize=11)


def _loss_on_grid(task: QuadraticTask, x: Array, y: Array) -> Array:
    away = np.stack([x, y], axis=-1) - task.optimum
    loss: Array = np.einsum("...i,ij,...j->...", away, task.H, away) / 2
    return loss


def _draw_course(ax: Axes, run: QuadraticRun, weight: int, steps: int, color: str) -> None:
    step = np.arange(steps + 1)
    velocity = run.predicted[weight]
    ax.plot(step, run.hidden[: steps + 1, weight], color=color, linewidth=2, label="trained")
    ax.plot(step, velocity * step, "--", color=_INK, linewidth=1.2, label=f"theory: {abs(velocity):.3f} a step")
    ax.set(ylabel="hidden weight $W^h$", xlim=(0, steps))
    ax.legend(loc="upper left", fontsize=8.5, frameon=False, ncols=2)
    ax.margins(y=0.25)
    tidy(ax, grid="both")


def draw_switch_cost(run: QuadraticRun) -> Figure:
    """Draw the rise of the loss on switching a sign against |W^h| / max|W^h|: weights, bins and equation (5)."""
    figure = Figure(figsize=(6.8, 4.8), layout="constrained")
    ax = figure.subplots()
    size, bins = np.abs(run.hidden[-1]), run.bins
    relative = size / size.max()
    for kind, color, label in _kinds(run):
        ax.plot(relative[kind], run.switch_cost[kind], ".", color=color, alpha=0.35, markersize=5, label=label)
    ax.errorbar(
        bins.centre,
        bins.mean,
        bins.spread,
        fmt="o",
        color=_INK,
        markersize=6,
        capsize=3,
        label="mean ± spread of a bin",
    )
    line = np.array([0.0, 1.0])
    cost = 2 * line * size.max() / (run.lr * run.steps) + 2 * np.diag(run.task.H).mean()
    ax.plot(line, cost, "--", color=_INK, linewidth=1.2, label=r"theory: $2\,|W^h|/(\eta T) + 2\,\overline{H_{ii}}$")
    ax.set(xlabel=r"$|W^h|\,/\,\max |W^h|$", ylabel="rise of the loss on switching the sign", xlim=(-0.02, 1.02))
    ax.axhline(0, color=_INK, linewidth=0.6)
    ax.set_title("The farther a hidden weight has run, the dearer its sign", loc="left", fontsize=11)
    ax.text(0.98, 0.05, f"rank correlation of the bins {bins.rank_correlation:.3f}", ha="right", transform=ax.transAxes)
    tidy(ax, grid="both")
    ax.legend(loc="upper left", fontsize=8.5, frameon=False)
    return figure


def draw_speed(run: QuadraticRun, shown: int = 60) -> Figure:
    """Draw `shown` hidden weights against the step, and each weight's measured against its predicted velocity."""
    figure = Figure(figsize=(11.5, 4.8), layout="constrained")
    course, speed = figure.subplots(1, 2)
    step = np.arange(run.steps + 1)
    for kind, color, label in _kinds(run):
        chosen = np.flatnonzero(kind)[: max(1, round(shown * kind.mean()))]
        lines = course.plot(step, run.hidden[:, chosen], color=color, linewidth=0.9, alpha=0.75)
        for line in lines[:1]:
            line.set_label(label)
    course.set(xlabel="step", ylabel="hidden weight $W^h$", xlim=(0, run.steps))
    course.set_title("Hidden weights diverge in straight lines, or settle", loc="left", fontsize=11)
    tidy(course, grid="both")
    course.legend(loc="upper left", fontsize=8.5, frameon=False)

    reach = 1.08 * float(np.abs(run.predicted).max())
    at_corner = velocity_at(run.task, run.corner, run.lr)
    speed.plot([-reach, reach], [-reach, reach], "--", color=_INK, linewidth=1, label="equal")
    speed.plot(at_corner, run.measured, "x", color="#9a9da5", markersize=4, label="all, if predicted at the corner")
    for kind, color, label in _kinds(run):
        speed.plot(run.predicted[kind], run.measured[kind], "o", color=color, alpha=0.5, markersize=4, label=label)
    speed.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    speed.set(xlabel=r"predicted velocity $-\eta\,H(\bar s - W^*)$, a step", ylabel="measured velocity, a step")
    numbers = summarize(run)
    speed.set_title("The velocity is the averaged gradient", loc="left", fontsize=11)
    speed.text(
        0.97,
        0.05,
        f"r of speeds, diverging weights: {numbers['speed_correlation']:.6f}\n"
        f"if predicted at the corner: {numbers['speed_correlation_at_corner']:.4f}",
        ha="right",
        fontsize=9,
        transform=speed.transAxes,
    )
    tidy(speed, grid="both")
    speed.legend(loc="upper left", fontsize=8.5, frameon=False)
    return figure


def _kinds(run: QuadraticRun) -> list[tuple[np.ndarray, str, str]]:
    diverges = run.diverges
    return [
        (diverges, _DIVERGES, f"{diverges.sum()} weights that diverge"),
        (~diverges, _SETTLES, f"{(~diverges).sum()} weights that settle"),
    ]
