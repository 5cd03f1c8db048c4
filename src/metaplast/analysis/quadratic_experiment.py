"""The quadratic binary task as an experiment: train through the signs, measure, and lay the theory beside it.

What is predicted comes from H and W* alone, what is measured from the trajectory of the hidden weights alone; the
derivation that links them opens :mod:`metaplast.analysis.quadratic`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from metaplast.analysis.quadratic import (
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
    """Values averaged over equal bins of |W^h| / max|W^h|, each array of shape (bins,)."""

    centre: Array
    """Middle of each bin, in (0, 1)."""
    mean: Array
    """Mean value in each bin; NaN in an empty one."""
    spread: Array
    """Standard deviation in each bin; NaN in an empty one."""
    count: NDArray[np.int64]
    """Weights in each bin."""

    @property
    def rank_correlation(self) -> float:
        """Spearman's ρ of bin and bin mean, over the bins that hold a weight."""
        filled = self.count > 0
        return rank_correlation(self.centre[filled], self.mean[filled])


def bin_by_size(hidden: Array, values: Array, bins: int = N_BINS) -> SizeBins:
    """Average `values` (n,) over equal bins of |`hidden`| / max|`hidden`| (n,); the largest weight is in the last bin.

    >>> bin_by_size(np.array([0.1, -0.2, 4.0]), np.array([1.0, 3.0, 9.0]), bins=2).mean
    array([2., 9.])
    """
    size = np.abs(hidden)
    index = np.minimum((bins * size / size.max()).astype(np.int64), bins - 1)
    members = [values[index == b] for b in range(bins)]
    return SizeBins(
        centre=(np.arange(bins) + 0.5) / bins,
        mean=np.array([m.mean() if m.size else np.nan for m in members]),
        spread=np.array([m.std() if m.size else np.nan for m in members]),
        count=np.array([m.size for m in members]),
    )


@dataclass(frozen=True, eq=False)
class QuadraticRun:
    """One training of n hidden weights through their signs, with what the theory says of it.

    Measurements use the second half of training, when the weights that started the wrong way have turned round.
    """

    task: QuadraticTask
    lr: float
    """η, > 0."""
    hidden: Array
    """Hidden weights at each step, shape (steps + 1, n), steps ≥ 2."""
    cube_optimum: Array
    """s̄, where the theory says that the binary weights average to, shape (n,)."""
    corner: Array
    """The corner of the cube that s̄ leads to and no switch improves, shape (n,)."""

    @property
    def steps(self) -> int:
        """Steps trained."""
        return len(self.hidden) - 1

    @property
    def predicted(self) -> Array:
        """Velocity per step by the theory, −η ∇L(s̄): shape (n,), 0 for weights that are to settle."""
        return velocity_at(self.task, self.cube_optimum, self.lr)

    @property
    def measured(self) -> Array:
        """Velocity per step over the second half of training: shape (n,)."""
        half = self.steps // 2
        velocity: Array = (self.hidden[-1] - self.hidden[half]) / (self.steps - half)
        return velocity

    @property
    def diverges(self) -> NDArray[np.bool_]:
        """Whether each weight kept its sign throughout the second half, as those that diverge do: shape (n,)."""
        signs = sign(self.hidden[self.steps // 2 :])
        kept: NDArray[np.bool_] = (signs == signs[-1]).all(axis=0)
        return kept

    @property
    def predicted_to_diverge(self) -> NDArray[np.bool_]:
        """Whether the theory has each weight diverge, |s̄_i| = 1: shape (n,)."""
        at_a_face: NDArray[np.bool_] = np.abs(self.cube_optimum) == 1
        return at_a_face

    @property
    def switch_cost(self) -> Array:
        """Rise of the loss on switching each final sign alone: shape (n,)."""
        return switch_cost(self.task, sign(self.hidden[-1]))

    @property
    def predicted_cost(self) -> Array:
        """Average switch cost of the weights that diverge by the theory, 2 |v_i| / η + 2 H_ii: shape (n,)."""
        cost: Array = 2 * np.abs(self.predicted) / self.lr + 2 * np.diag(self.task.H)
        return cost

    @property
    def bins(self) -> SizeBins:
        """Switch cost against the size of the hidden weight, in 15 bins."""
        return bin_by_size(self.hidden[-1], self.switch_cost)


def run_task(task: QuadraticTask, start: Array, lr: float, steps: int) -> QuadraticRun:
    """Train hidden weights from `start` (n,) for `steps` ≥ 2 steps, and find the optima that the theory needs."""
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
    """Train the paper's two weights, of which one diverges and one settles.

    >>> run_plane().cube_optimum.round(3).tolist()
    [1.0, 0.64]
    """
    H = np.array([[2.4047, 0.2158], [0.2158, 0.7733]])
    return run_task(QuadraticTask(H, np.array([1.5, 0.5])), start=np.array([0.01, 0.02]), lr=0.35, steps=500)


def summarize(run: QuadraticRun) -> dict[str, float | int | bool]:
    """Numbers of one run. Correlations are over the weights that diverged, and of speeds |v| unless said.

    The sign of a velocity alone makes a correlation high, so that of the speeds is the stricter one.
    """
    diverges = run.diverges
    measured, predicted = run.measured[diverges], run.predicted[diverges]
    at_corner = velocity_at(run.task, run.corner, run.lr)[diverges]
    speed_correlation = correlation(np.abs(predicted), np.abs(measured))
    bin_rank_correlation = run.bins.rank_correlation
    return {
        "diverged": int(diverges.sum()),
        "settled": int((~diverges).sum()),
        "foretold": int((diverges == run.predicted_to_diverge).sum()),
        "speed_correlation": speed_correlation,
        "velocity_correlation": correlation(predicted, measured),
        "speed_ratio": float(np.abs(measured).sum() / np.abs(predicted).sum()) if diverges.any() else float("nan"),
        "speed_correlation_at_corner": correlation(np.abs(at_corner), np.abs(measured)),
        "velocity_correlation_at_corner": correlation(at_corner, measured),
        "bin_rank_correlation": bin_rank_correlation,
        "weight_rank_correlation": rank_correlation(np.abs(run.hidden[-1]), run.switch_cost),
        "cost_correlation": correlation(run.predicted_cost[diverges], run.switch_cost[diverges]),
        "held": speed_correlation >= SPEED_CORRELATION_NEEDED and bin_rank_correlation >= RANK_CORRELATION_NEEDED,
    }
