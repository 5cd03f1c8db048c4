"""What a verdict rests on: criteria measured seed by seed, between runs that may be compared.

A claim asks for one or more criteria, such as "metaplasticity is at most 1 point below EWC". Each is measured seed by
seed as a margin: how far the result lies on the claimed side of the tolerance. A criterion is met where the 95 %
interval of the mean margin lies above 0 (`metaplast.metrics.intervals`), which takes at least three seeds. With fewer
seeds the verdict says only which way the numbers point. Runs are compared only if they agree in everything but what the
claim varies; else the claim is *not comparable*.
"""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from metaplast.metrics.intervals import MIN_PAIRS, PairedDifference, paired_difference
from metaplast.report.aggregate import Setting
from metaplast.report.protocol import common_protocol
from metaplast.runs.index import Run

NO_CONDITION = ("seed", "eval_every_n_epochs", "eval_every_n_epochs", "plots")
"""Settings in which compared runs may always differ: pairs share the seed, and the others change no result."""


class NotComparableError(Exception):
    """The runs differ in more than what the claim compares, or share no seed; the message says in what."""


class Verdict(NamedTuple):
    """What became of a claim, and what that rests on."""

    outcome: str
    """held, held in part, did not hold, undecided, measured (nothing is claimed), not comparable; or, for fewer than
    three seeds, `one seed: points this way`, `too few seeds: points the other way` and so on."""
    evidence: str
    """What was measured, in a sentence or two, with numbers."""
    n: int = 0
    """Number of seeds that every criterion rests on."""
    margin: str = ""
    """The smallest margin with its interval; empty where there is none."""


class Criterion(NamedTuple):
    """One thing that a claim asks for: every margin has to be above 0."""

    evidence: str
    margins: Sequence[PairedDifference]

    @property
    def smallest(self) -> PairedDifference:
        """The margin on which the criterion depends most."""
        return min(self.margins, key=lambda margin: margin.interval()[0] if margin.n >= MIN_PAIRS else margin.mean)

    @property
    def n(self) -> int:
        """Seeds of the margin that has the fewest."""
        return min(margin.n for margin in self.margins)

    @property
    def passed(self) -> bool | None:
        """Whether the intervals put all margins above 0; None where they leave it open."""
        decided = [margin.exceeds() for margin in self.margins]
        return False if False in decided else None if None in decided else True

    @property
    def points_this_way(self) -> bool:
        """Whether all mean margins are above 0, certain or not."""
        return all(margin.mean > 0 for margin in self.margins)

    def __str__(self) -> str:
        """The evidence, with `not met` or `uncertain` before it and the interval of the smallest margin behind it."""
        if self.n < MIN_PAIRS:
            return self.evidence if self.points_this_way else f"not met: {self.evidence}"
        prefix = {True: "", False: "not met: ", None: "uncertain: "}[self.passed]
        return f"{prefix}{self.evidence} (margin {self.smallest})"


def judge(criteria: Sequence[Criterion]) -> Verdict:
    """Combine criteria into a verdict.

    >>> margins = [PairedDifference((8.0, 9.0, 10.0)), PairedDifference((-3.0, -2.0, -3.0))]
    >>> verdict = judge([Criterion("rises", margins[:1]), Criterion("ends at 94 %", margins[1:])])
    >>> verdict.outcome, verdict.n, verdict.margin
    ('held in part', 3, '-2.7 [-4.1, -1.2]')
    >>> verdict.evidence
    'rises (margin +9.0 [+6.5, +11.5]); not met: ends at 94 % (margin -2.7 [-4.1, -1.2])'
    >>> judge([Criterion("rises", [PairedDifference((9.0,))])]).outcome
    'one seed: points this way'
    """
    if not criteria or not all(criterion.n for criterion in criteria):
        raise NotComparableError("the runs share no seed")
    n = min(criterion.n for criterion in criteria)
    if n < MIN_PAIRS:
        this_way = [criterion.points_this_way for criterion in criteria]
        where = "this way" if all(this_way) else "this way in part" if any(this_way) else "the other way"
        outcome = f"{'one seed' if n == 1 else 'too few seeds'}: points {where}"
    else:
        passed = [criterion.passed for criterion in criteria]
        if all(passed):
            outcome = "held"
        elif any(passed):
            outcome = "held in part"
        else:
            outcome = "did not hold" if False in passed else "undecided"
    smallest = Criterion("", [margin for criterion in criteria for margin in criterion.margins]).smallest
    return Verdict(outcome, "; ".join(map(str, criteria)), n, str(smallest) if n >= MIN_PAIRS else "")


def compare(a: Setting, b: Setting, apart_from: Sequence[str], measure: Callable[[Run], float]) -> PairedDifference:
    """Return `measure` of the runs of `a` less that of the runs of `b`, paired by seed.

    `apart_from` are the beginnings of the settings' names in which the two may differ, since that is the comparison.

    Raises:
        NotComparableError: if they differ in another setting or in their normalization.
    """
    check_comparable([a, b], apart_from)
    return paired_difference(per_seed(a, measure), per_seed(b, measure))


def check_comparable(settings: Sequence[Setting], apart_from: Sequence[str]) -> None:
    """Raise NotComparableError if runs differ in settings whose names do not begin with any of `apart_from`."""
    runs = [run for setting in settings for run in setting.completed]
    allowed = (*NO_CONDITION, *apart_from)
    keys = [key for key in dict.fromkeys(key for run in runs for key in run.settings) if not key.startswith(allowed)]
    values = {key: list(dict.fromkeys(str(run.settings.get(key)) for run in runs)) for key in keys}
    values["normalization"] = list(dict.fromkeys(common_protocol([run.summary]).normalization for run in runs))
    differing = [f"{key} {' against '.join(found)}" for key, found in values.items() if len(found) > 1]
    if differing:
        raise NotComparableError(f"the runs compared differ in {', '.join(differing)}")


def per_seed(setting: Setting, measure: Callable[[Run], float]) -> dict[Any, float]:
    """`measure` of each completed run, by seed; runs of one seed are averaged."""
    seeds = dict.fromkeys(run.seed for run in setting.completed)
    return {seed: fmean(measure(run) for run in setting.completed if run.seed == seed) for seed in seeds}
