"""Differences between paired measurements, such as two strategies run with the same seeds, and how certain they are.

Two strategies run with one seed share the data order and the initial weights, so the difference is taken seed by seed:
what both have in common cancels out. The interval is Student's t interval of the mean difference. From six pairs on,
the exact sign-flip test is given, too, which does not assume normally distributed differences. scipy is imported only
when an interval is computed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import repeat
from statistics import fmean, stdev
from typing import TypeVar

Key = TypeVar("Key")

MIN_PAIRS = 3
"""Pairs needed before a difference counts as measured rather than as a hint."""
SIGN_FLIP_PAIRS = range(6, 21)
"""Numbers of pairs for which the exact test is run. With fewer, p cannot fall below 0.05; with more, it takes long."""


@dataclass(frozen=True)
class PairedDifference:
    """Differences of paired values, in their unit.

    >>> difference = paired_difference({0: 91.0, 1: 92.0, 2: 90.5}, {0: 88.0, 1: 88.5, 2: 88.0})
    >>> difference.n, difference.mean
    (3, 3.0)
    >>> print(difference)
    +3.0 [+1.8, +4.2]
    >>> difference.exceeds(1.0), difference.exceeds(2.5), difference.exceeds(5.0)
    (True, None, False)
    """

    values: tuple[float, ...]

    @property
    def n(self) -> int:
        """Number of pairs."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Mean difference; NaN for no pairs."""
        return fmean(self.values) if self.values else math.nan

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Student's t interval of the mean difference: mean ± t · s / √n, n − 1 degrees of freedom.

        (−∞, ∞) for fewer than two pairs, from which no spread can be estimated.

        >>> [round(bound, 4) for bound in PairedDifference((1.0, 2.0, 3.0)).interval()]
        [-0.4841, 4.4841]
        """
        if self.n < 2:
            return -math.inf, math.inf
        from scipy.stats import t

        half = float(t.ppf((1 + confidence) / 2, self.n - 1)) * stdev(self.values) / math.sqrt(self.n)
        return self.mean - half, self.mean + half

    def p_value(self, bound: float = 0.0) -> float | None:
        """Two-sided exact sign-flip test of the hypothesis that the mean difference equals `bound`.

        The share of all 2ⁿ ways to flip the signs of (difference − bound) whose sum is at least as far from 0 as the
        measured one. None outside 6 to 20 pairs.

        >>> PairedDifference((1.0, 2.0, 1.5, 0.5, 1.0, 2.0)).p_value()
        0.03125
        """
        if self.n not in SIGN_FLIP_PAIRS:
            return None
        import numpy as np

        sums = np.zeros(1)
        for value in self.values:
            sums = np.concatenate([sums + (value - bound), sums - (value - bound)])
        measured = abs(math.fsum(value - bound for value in self.values))
        return float((np.abs(sums) >= measured * (1 - 1e-12)).mean())

    def exceeds(self, bound: float = 0.0, confidence: float = 0.95) -> bool | None:
        """Whether the mean difference lies above `bound`: True or False where the interval excludes it, None if unsure.

        None for fewer than three pairs. From six pairs on, the sign-flip test has to exclude `bound` at the same
        confidence.
        """
        if self.n < MIN_PAIRS:
            return None
        low, high = self.interval(confidence)
        p = self.p_value(bound)
        if low <= bound <= high or (p is not None and p > 1 - confidence):
            return None
        return low > bound

    def __str__(self) -> str:
        """Mean and interval to one decimal, or to two digits where that would be 0; the mean alone for one pair."""
        digits = 1 if abs(self.mean) >= 0.05 else 4
        mean = f"{self.mean:+.{digits}f}"
        if self.n < 2:
            return mean
        low, high = self.interval()
        return f"{mean} [{low:+.{digits}f}, {high:+.{digits}f}]"


def paired_difference(measured: Mapping[Key, float], reference: Mapping[Key, float] | float = 0.0) -> PairedDifference:
    """`measured` − `reference` for each key (such as a seed) that both have, in the order of `measured`.

    A number as `reference` is subtracted from every value.

    >>> paired_difference({0: 5.0, 1: 7.0}, {1: 4.0, 2: 1.0}).values
    (3.0,)
    >>> paired_difference({0: 5.0, 1: 7.0}, 4.0).values
    (1.0, 3.0)
    """
    if not isinstance(reference, Mapping):
        reference = dict(zip(measured, repeat(reference), strict=False))
    return PairedDifference(tuple(value - reference[key] for key, value in measured.items() if key in reference))
