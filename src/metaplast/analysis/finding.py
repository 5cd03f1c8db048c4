"""What came of a claim: a verdict, the sentence behind it, and the few questions that verdicts ask of a sweep."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from metaplast.report.runs import Value
from metaplast.report.sweep import Setting, Sweep

Verdict = Literal["held", "held in part", "did not hold", "measured"]
"""`measured`: there is no claim to judge, only numbers to show."""


class Finding(NamedTuple):
    """A verdict and what it rests on."""

    verdict: Verdict
    found: str
    """What was measured, in a sentence or two, with numbers."""


class Part(NamedTuple):
    """One thing that a claim asks for."""

    held: bool
    found: str


def judged(parts: Sequence[Part]) -> Finding:
    """Put parts together: held if all are, did not hold if none is; those that are not say so.

    >>> judged([Part(True, "rises by 9 points"), Part(False, "ends at 94 %")])
    Finding(verdict='held in part', found='rises by 9 points; not met: ends at 94 %')
    """
    held = sum(part.held for part in parts)
    verdict: Verdict = "held" if held == len(parts) else "held in part" if held else "did not hold"
    return Finding(verdict, "; ".join(part.found if part.held else f"not met: {part.found}" for part in parts))


def value(setting: Setting, key: str) -> Value:
    """The value of the configuration's `key` in a setting, whether the sweep varies it or not."""
    return setting.runs[0].settings.get(key)


def pick(sweep: Sweep, values: Mapping[str, Value]) -> list[Setting]:
    """The settings of a sweep with a completed run that have these values of the configuration."""
    return [
        setting
        for setting in sweep.settings
        if setting.completed and all(value(setting, key) == wanted for key, wanted in values.items())
    ]


def mean(setting: Setting, key: str = "average_accuracy") -> float:
    """Mean over seeds of an entry of summary.json, in percent."""
    return 100 * float(setting.over_seeds(key).mean)


def task_accuracies(setting: Setting) -> list[float]:
    """Mean over seeds of the accuracy on each task at the end, in percent."""
    return [100 * float(accuracy) for accuracy in setting.over_seeds("accuracy_matrix").mean[-1]]


def by_m(settings: Sequence[Setting]) -> dict[float, float]:
    """Average accuracy in percent by m, ascending; a setting without m counts as m = 0."""
    found = {float(str(value(setting, "m") or 0)): mean(setting) for setting in settings}
    return dict(sorted(found.items()))
