"""The quadratic binary task as an experiment: train through the signs, compare with the theory, draw figures.

Predictions use H and W* only, measurements the trajectory of the hidden weights only; see
:mod:`metaplast.studies.quadratic` for the derivation. The drawing functions return a matplotlib figure to be saved.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from scipy.stats import rankdata

from metaplast.report.figures.style import tidy
from metaplast.studies.quadratic import (
    Array,
    QuadraticTask,
    binary_optimum,
    cube_optimum,
    random_task,
    sign,
    switch_cost,
    train_through_signs,
    velocity_at,
)

N_BINS = 15
"""Bins of |W^h| / max|W^h| in the paper's figure."""
SPEED_CORRELATION_NEEDED = 0.99
RANK_CORRELATION_NEEDED = 0.9


def correlation(x: Array, y: Array) -> float:
    """Pearson's r of two (n,) arrays; NaN where it is undefined (fewer than two points, or one of them constant).

    >>> correlation(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]))
    1.0
    """
    if x.size < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def rank_correlation(x: Array, y: Array) -> float:
    """Spearman's ρ of two (n,) arrays, ties at their mean rank; NaN where it is undefined, as for :func:`correlation`.

    >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([1.0, 10.0, 11.0]))
    1.0
    """
    return correlation(rankdata(x), rankdata(y))


@dataclass(frozen=True, eq=False)
class SizeBins:
    """Values averaged over bins of equal width in |W^h| / max|W^h|, each array of shape (bins,)."""

    center: Array
    """Middle of each bin, in (0, 1)."""
    mean: Array
    """Mean value in each bin; NaN in an empty bin."""
    spread: Array
    """Standard deviation in each bin; NaN in an empty bin."""
    count: NDArray[np.int64]
    """Weights in each bin."""

    @property
    def rank_correlation(self) -> float:
        """Spearman's ρ of bin and bin mean, over the bins with at least one weight."""
        filled = self.count > 0
        return rank_correlation(self.center[filled], self.mean[filled])


def bin_by_size(hidden: Array, values: Array, bins: int = N_BINS) -> SizeBins:
    """Average `values` (n,) over bins of equal width in |`hidden`| / max|`hidden`|, the last including its upper edge.

    >>> bin_by_size(np.array([0.1, -0.2, 4.0]), np.array([1.0, 3.0, 9.0]), bins=2).mean
    array([2., 9.])
    """
    size = np.abs(hidden)
    index = np.minimum((bins * size / size.max()).astype(np.int64), bins - 1)
    members = [values[index == b] for b in range(bins)]
    return SizeBins(
        center=(np.arange(bins) + 0.5) / bins,
        mean=np.array([m.mean() if m.size else np.nan for m in members]),
        spread=np.array([m.std() if m.size else np.nan for m in members]),
        count=np.array([m.size for m in members]),
    )


@dataclass(frozen=True, eq=False)
class QuadraticRun:
    """One training of n hidden weights through their signs, with the predictions of the theory.

    Measurements use the second half of training, after the weights with the wrong initial sign have flipped.
    """

    task: QuadraticTask
    lr: float
    """η, > 0."""
    hidden: Array
    """Hidden weights at each step, shape (steps + 1, n), steps ≥ 2."""
    cube_optimum: Array
    """s̄, the predicted average of the binary weights, shape (n,)."""
    corner: Array
    """The corner near s̄ that no single flip improves, shape (n,)."""

    @property
    def steps(self) -> int:
        """Steps trained."""
        return len(self.hidden) - 1

    @property
    def predicted(self) -> Array:
        """Predicted velocity per step, −η ∇L(s̄): shape (n,), 0 for weights that converge."""
        return velocity_at(self.task, self.cube_optimum, self.lr)

    @property
    def measured(self) -> Array:
        """Measured velocity per step over the second half of training: shape (n,)."""
        half = self.steps // 2
        velocity: Array = (self.hidden[-1] - self.hidden[half]) / (self.steps - half)
        return velocity

    @property
    def diverges(self) -> NDArray[np.bool_]:
        """Whether each weight kept its sign throughout the second half of training: shape (n,)."""
        signs = sign(self.hidden[self.steps // 2 :])
        constant: NDArray[np.bool_] = (signs == signs[-1]).all(axis=0)
        return constant

    @property
    def predicted_to_diverge(self) -> NDArray[np.bool_]:
        """Whether the theory predicts that each weight diverges, |s̄_i| = 1: shape (n,)."""
        at_a_face: NDArray[np.bool_] = np.abs(self.cube_optimum) == 1
        return at_a_face

    @property
    def switch_cost(self) -> Array:
        """Increase of the loss when each final sign alone is flipped: shape (n,)."""
        return switch_cost(self.task, sign(self.hidden[-1]))

    @property
    def predicted_cost(self) -> Array:
        """Predicted average cost of a flip, for weights that diverge, 2 |v_i| / η + 2 H_ii: shape (n,)."""
        cost: Array = 2 * np.abs(self.predicted) / self.lr + 2 * np.diag(self.task.H)
        return cost

    @property
    def bins(self) -> SizeBins:
        """Cost of a flip by size of the hidden weight, in 15 bins."""
        return bin_by_size(self.hidden[-1], self.switch_cost)


def run_task(task: QuadraticTask, start: Array, lr: float, steps: int) -> QuadraticRun:
    """Train hidden weights from `start` (n,) for `steps` ≥ 2 steps, and compute the optima of the theory."""
    optimum = cube_optimum(task)
    hidden = train_through_signs(task, start, lr, steps)
    return QuadraticRun(task, lr, hidden, cube_optimum=optimum, corner=binary_optimum(task, optimum))


def run_random(dimension: int = 500, steps: int = 1000, lr: float = 0.01, seed: int = 1) -> QuadraticRun:
    """Train on the paper's random task from θ_0 ~ 0.01·N(0, 1).

    >>> run = run_random(dimension=40, steps=200)
    >>> bool((run.diverges == run.predicted_to_diverge).all())
    True
    """
    rng = np.random.default_rng(seed)
    task = random_task(dimension, rng)
    return run_task(task, 0.01 * rng.standard_normal(dimension), lr, steps)


def run_plane() -> QuadraticRun:
    """Train the paper's two weights, of which one diverges and one converges.

    >>> run_plane().cube_optimum.round(3).tolist()
    [1.0, 0.64]
    """
    H = np.array([[2.4047, 0.2158], [0.2158, 0.7733]])
    return run_task(QuadraticTask(H, np.array([1.5, 0.5])), start=np.array([0.01, 0.02]), lr=0.35, steps=500)


def summarize(run: QuadraticRun) -> dict[str, float | int | bool]:
    """Numbers of one run. Correlations are over the weights that diverged.

    The correlation of speeds |v| is stricter than that of velocities, in which the sign alone gives a high value.
    """
    diverges = run.diverges
    measured, predicted = run.measured[diverges], run.predicted[diverges]
    at_corner = velocity_at(run.task, run.corner, run.lr)[diverges]
    speed_correlation = correlation(np.abs(predicted), np.abs(measured))
    bin_rank_correlation = run.bins.rank_correlation
    return {
        "diverged": int(diverges.sum()),
        "settled": int((~diverges).sum()),
        "predicted": int((diverges == run.predicted_to_diverge).sum()),
        "speed_correlation": speed_correlation,
        "velocity_correlation": correlation(predicted, measured),
        "speed_ratio": float(np.abs(measured).sum() / np.abs(predicted).sum()) if diverges.any() else float("nan"),
        "speed_correlation_at_corner": correlation(np.abs(at_corner), np.abs(measured)),
        "velocity_correlation_at_corner": correlation(at_corner, measured),
        "bin_rank_correlation": bin_rank_correlation,
        "weight_rank_correlation": rank_correlation(np.abs(run.hidden[-1]), run.switch_cost),
        "cost_correlation": correlation(run.predicted_cost[diverges], run.switch_cost[diverges]),
        "passed": speed_correlation >= SPEED_CORRELATION_NEEDED and bin_rank_correlation >= RANK_CORRELATION_NEEDED,
    }


_DIVERGES = "#c8553d"
_CONVERGES = "#33658a"
_GOLD = "#f2b632"
_INK = "#2b2d33"
_HOLLOW: dict[str, Any] = {"markerfacecolor": "white", "markersize": 7}
_X, _Y = (-1.7, 4.6), (-1.7, 2.1)
"""Limits of the landscape, which show W* and a dozen steps."""


def draw_plane(run: QuadraticRun) -> Figure:
    """Draw two hidden weights over the contours of the loss and against the step, from a run of dimension 2.

    Raises ValueError for another dimension.
    """
    if run.task.optimum.size != 2:
        raise ValueError(f"run: expected 2 weights, got {run.task.optimum.size}")
    figure = Figure(figsize=(12, 4.9), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=[1.6, 1])
    _draw_landscape(figure.add_subplot(grid[:, 0]), run)
    figure.legend(loc="outside lower center", ncols=6, fontsize=9, frameon=False)
    diverging, converging = (figure.add_subplot(grid[row, 1]) for row in range(2))
    _draw_course(diverging, run, weight=0, steps=run.steps, color=_DIVERGES)
    diverging.set_title("Weight 1 diverges", loc="left", fontsize=11)
    _draw_course(converging, run, weight=1, steps=min(60, run.steps), color=_CONVERGES)
    converging.set_title(f"Weight 2 converges: its sign averages {run.cube_optimum[1]:.2f}", loc="left", fontsize=11)
    converging.set_xlabel("step")
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
    ax.plot(*run.hidden.T, "o", color=_DIVERGES, markersize=3.5, label="hidden weights $W^h$ at each step")
    ax.plot(*run.hidden[0], "o", label="initial hidden weights", **_HOLLOW, markeredgecolor=_DIVERGES)
    ax.set(xlim=_X, ylim=_Y, aspect="equal", xlabel="weight 1", ylabel="weight 2")
    ax.set_title("The optimum of weight 1 is beyond the range of a sign", loc="left", fontsize=11)


def _loss_on_grid(task: QuadraticTask, x: Array, y: Array) -> Array:
    away = np.stack([x, y], axis=-1) - task.optimum
    loss: Array = np.einsum("...i,ij,...j->...", away, task.H, away) / 2
    return loss


def _draw_course(ax: Axes, run: QuadraticRun, weight: int, steps: int, color: str) -> None:
    step = np.arange(steps + 1)
    velocity = run.predicted[weight]
    ax.plot(step, run.hidden[: steps + 1, weight], color=color, linewidth=2, label="trained")
    ax.plot(step, velocity * step, "--", color=_INK, linewidth=1.2, label=f"theory: {abs(velocity):.3f} per step")
    ax.set(ylabel="hidden weight $W^h$", xlim=(0, steps))
    ax.legend(loc="upper left", fontsize=8.5, frameon=False, ncols=2)
    ax.margins(y=0.25)
    tidy(ax, grid="both")


def draw_switch_cost(run: QuadraticRun) -> Figure:
    """Draw the increase of the loss on a sign flip against |W^h| / max|W^h|: weights, bins and equation (5)."""
    figure = Figure(figsize=(6.8, 4.8), layout="constrained")
    ax = figure.subplots()
    size, bins = np.abs(run.hidden[-1]), run.bins
    relative = size / size.max()
    for kind, color, label in _kinds(run):
        ax.plot(relative[kind], run.switch_cost[kind], ".", color=color, alpha=0.35, markersize=5, label=label)
    ax.errorbar(
        bins.center,
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
    ax.set(xlabel=r"$|W^h|\,/\,\max |W^h|$", ylabel="increase of the loss on a sign flip", xlim=(-0.02, 1.02))
    ax.axhline(0, color=_INK, linewidth=0.6)
    ax.set_title("The larger a hidden weight, the more a sign flip costs", loc="left", fontsize=11)
    ax.text(0.98, 0.05, f"rank correlation of the bins {bins.rank_correlation:.3f}", ha="right", transform=ax.transAxes)
    tidy(ax, grid="both")
    ax.legend(loc="upper left", fontsize=8.5, frameon=False)
    return figure


def draw_speed(run: QuadraticRun, shown: int = 60) -> Figure:
    """Draw `shown` hidden weights against the step, and measured against predicted velocities of all weights."""
    figure = Figure(figsize=(11.5, 4.8), layout="constrained")
    course, speed = figure.subplots(1, 2)
    step = np.arange(run.steps + 1)
    for kind, color, label in _kinds(run):
        chosen = np.flatnonzero(kind)[: max(1, round(shown * kind.mean()))]
        lines = course.plot(step, run.hidden[:, chosen], color=color, linewidth=0.9, alpha=0.75)
        for line in lines[:1]:
            line.set_label(label)
    course.set(xlabel="step", ylabel="hidden weight $W^h$", xlim=(0, run.steps))
    course.set_title("Hidden weights diverge linearly or converge", loc="left", fontsize=11)
    tidy(course, grid="both")
    course.legend(loc="upper left", fontsize=8.5, frameon=False)

    reach = 1.08 * float(np.abs(run.predicted).max())
    at_corner = velocity_at(run.task, run.corner, run.lr)
    speed.plot([-reach, reach], [-reach, reach], "--", color=_INK, linewidth=1, label="equal")
    speed.plot(at_corner, run.measured, "x", color="#9a9da5", markersize=4, label="all, predicted at the corner")
    for kind, color, label in _kinds(run):
        speed.plot(run.predicted[kind], run.measured[kind], "o", color=color, alpha=0.5, markersize=4, label=label)
    speed.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    speed.set(xlabel=r"predicted velocity $-\eta\,H(\bar s - W^*)$ per step", ylabel="measured velocity per step")
    numbers = summarize(run)
    speed.set_title("The velocity equals the averaged gradient", loc="left", fontsize=11)
    speed.text(
        0.97,
        0.05,
        f"r of speeds, diverging weights: {numbers['speed_correlation']:.6f}\n"
        f"predicted at the corner: {numbers['speed_correlation_at_corner']:.4f}",
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
        (~diverges, _CONVERGES, f"{(~diverges).sum()} weights that converge"),
    ]
