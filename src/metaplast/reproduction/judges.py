"""What came of a claim: a verdict, the sentence behind it, and the few questions that verdicts ask of a sweep.

How each claim is judged: from the runs of its sweep, or the numbers that its script wrote, to a finding.

Accuracies are in percent. The tolerances are ours, and stated with each claim (`metaplast.reproduction.claims`).
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from metaplast.report.aggregate import Setting, Sweep, percent
from metaplast.report.figures.sweep import setting_curves
from metaplast.runs.index import Value

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


SLACK = 0.5
"""Points by which a mean may lie below the one before it and still count as not falling."""


def rises_with_m(sweep: Sweep) -> Finding:
    """Average accuracy rises with m from 0 to its best, which is not m = 0."""
    accuracy = by_m(pick(sweep, {}))
    best = max(accuracy, key=accuracy.__getitem__)
    climb = [accuracy[m] for m in accuracy if m <= best]
    return judged(
        [
            Part(
                best > 0, f"the best m is {best:g}, {accuracy[best] - accuracy[min(accuracy)]:.1f} points above m = 0"
            ),
            Part(all(b >= a - SLACK for a, b in pairwise(climb)), f"by m: {_listed(accuracy)} %"),
        ]
    )


def control_gains_less(sweep: Sweep, bnn: Sweep, share: float = 1 / 3) -> Finding:
    """The full-precision control gains less than `share` of what the binary network (`bnn`) gains by m."""
    gains = {name: _gain(by_m(pick(one, {}))) for name, one in (("full precision", sweep), ("binary", bnn))}
    found = f"best m against m = 0: full precision {gains['full precision']:+.1f}, binary {gains['binary']:+.1f} points"
    return judged([Part(gains["full precision"] < share * gains["binary"], found)])


def table1(sweep: Sweep, near: float = 1.0, clearly: float = 5.0) -> Finding:
    """Metaplasticity is near EWC (within `near` points, or above), and shuffled importances are `clearly` worse."""
    names = ("finetune", "ewc_shuffled", "ewc", "meta")
    accuracy = {name: mean(pick(sweep, {"strategy.name": name})[0]) for name in names}
    meta, ewc, shuffled, plain = (accuracy[name] for name in ("meta", "ewc", "ewc_shuffled", "finetune"))
    return judged(
        [
            Part(meta >= ewc - near, f"metaplasticity {meta:.1f}, EWC {ewc:.1f} %"),
            Part(shuffled <= ewc - clearly, f"EWC with shuffled importances {shuffled:.1f} %"),
            Part(meta >= plain + clearly, f"nothing against forgetting {plain:.1f} %"),
        ]
    )


def does_not_fall_with_width(sweep: Sweep, strategy: str = "meta") -> Finding:
    """From each width to the next, the average accuracy of `strategy` does not fall."""
    accuracy = dict(sorted((_width(setting), mean(setting)) for setting in pick(sweep, {"strategy.name": strategy})))
    rises = all(b >= a - SLACK for a, b in pairwise(accuracy.values()))
    return judged([Part(rises, f"{strategy} by width: {_listed(accuracy)} %")])


def joint_is_not_hurt(sweep: Sweep, cost: float = 2.0) -> Finding:
    """`does_not_fall_with_width`; and where all tasks are learned at once, m costs at most `cost` points."""
    parts = [Part(fall.verdict == "held", fall.found) for fall in (does_not_fall_with_width(sweep),)]
    for plain in pick(sweep, {"strategy.name": "joint"})[-1:]:
        width = value(plain, "model.hidden")
        with_m = pick(sweep, {"strategy.name": "joint_meta", "model.hidden": width})
        for setting in with_m:
            found = f"all at once at {width}: m = 0 {mean(plain):.1f}, m = {value(setting, 'm')} {mean(setting):.1f} %"
            parts.append(Part(mean(setting) >= mean(plain) - cost, found))
    return judged(parts)


def reaches(sweep: Sweep, average: float, every: float) -> Finding:
    """The best setting reaches `average` over all tasks, and `every` on each; and width does not hurt."""
    best = max(pick(sweep, {}), key=mean)
    tasks = task_accuracies(best)
    width = does_not_fall_with_width(sweep)
    return judged(
        [
            Part(width.verdict == "held", width.found),
            Part(mean(best) >= average, f"the best mean is {mean(best):.1f} % ({best.label})"),
            Part(min(tasks) >= every, f"its lowest task {min(tasks):.1f} %"),
        ]
    )


def two_data_sets(sweep: Sweep, floors: Mapping[str, float], jump: float = 5.0, last: int = 10) -> Finding:
    """With m > 0 each data set ends at its floor or above, and between the last epochs no accuracy jumps."""
    setting = max(pick(sweep, {}), key=lambda one: float(str(value(one, "m") or 0)))
    names = [name.strip(' "') for name in str(value(setting, "scenario.order")).strip("[]").split(",")]
    parts = [
        Part(accuracy >= floors[name], f"{name} {accuracy:.1f} % (needed {floors[name]:g})")
        for name, accuracy in zip(names, task_accuracies(setting), strict=True)
    ]
    largest = largest_jump(setting, last)
    return judged([*parts, Part(largest <= jump, f"largest jump in the last {last} epochs {largest:.1f} points")])


def largest_jump(setting: Setting, last: int) -> float:
    """The largest change of an accuracy, in points, between two of the `last` measured epochs of any run; NaN for none.

    Only tasks whose training has begun count, and of these all have by the last task.
    """
    epochs, stacks = setting_curves(setting)
    steps = [(100 * curves[-last:]).diff(dim=0).abs().max() for _, curves in stacks if len(epochs) > 1]
    return float(max(steps)) if steps else math.nan


def keeps_more(sweep: Sweep) -> Finding:
    """With m > 0 more is left of the first task than with m = 0, and the average is higher, in every variant."""
    parts = []
    for name, (plain, with_m) in _pairs(sweep).items():
        first = [task_accuracies(setting)[0] for setting in (plain, with_m)]
        averages = [percent(setting.over_seeds("average_accuracy")) for setting in (plain, with_m)]
        found = f"first task {first[0]:.1f} → {first[1]:.1f} %, average {averages[0]} → {averages[1]} %"
        held = first[1] > first[0] and mean(with_m) > mean(plain)
        parts.append(Part(held, f"{name}: {found}" if name else found))
    return judged(parts)


def matches_halves(sweep: Sweep, cost: float = 2.0) -> Finding:
    """One network comes, on each of two data sets, within `cost` points of a half-size one that learns it alone."""
    [both] = pick(sweep, {"scenario.name": "mnist_usps"})
    alone = [mean(pick(sweep, {"scenario.name": name})[0]) for name in ("mnist_part", "usps_part")]
    return judged(
        [
            Part(together >= half - cost, f"{name}: {together:.1f} %, half-size network alone {half:.1f} %")
            for name, together, half in zip(("MNIST", "USPS"), task_accuracies(both), alone, strict=True)
        ]
    )


def streamed_ends_closer(sweep: Sweep) -> Finding:
    """With m the network that saw the data in parts ends closer to the one that had all at once than without m."""
    gaps = {}
    for m in by_m(pick(sweep, {})):
        arms = [setting for setting in pick(sweep, {}) if float(str(value(setting, "m") or 0)) == m]
        at_once = [mean(setting) for setting in arms if value(setting, "scenario.n_parts") == 1]
        in_parts = [mean(setting) for setting in arms if value(setting, "scenario.n_parts") != 1]
        gaps[m] = at_once[0] - in_parts[0]
    found = f"all at once less in parts, by m: {_listed(gaps)} points"
    return judged([Part(gaps[max(gaps)] < gaps[min(gaps)], found)])


def every_run(rows: Sequence[Mapping[str, Any]], floors: Mapping[str, float]) -> Finding:
    """In every row of numbers each key of `floors` is at its floor or above; a number that is missing is not."""
    parts = []
    for key, floor in floors.items():
        numbers = [row.get(key) for row in rows]
        held = bool(rows) and all(number is not None and number >= floor for number in numbers)
        said = ", ".join("undefined" if number is None else f"{number:.4g}" for number in numbers)
        parts.append(Part(held, f"{key.replace('_', ' ')}: {said} (needed {floor:g})"))
    return judged(parts)


def choice_is_near(rows: Sequence[Mapping[str, str]], points: float = 2.0) -> Finding:
    """The m chosen on the first tasks comes, on the whole stream, within `points` of the best in hindsight.

    `rows` are those of hindsight.csv: one for each m tried, per combination of `settings`, accuracies as fractions.
    """
    parts = []
    for settings in dict.fromkeys(row["settings"] for row in rows):
        accuracy = {row["m"]: 100 * float(row["average_accuracy"]) for row in rows if row["settings"] == settings}
        [chosen] = [row["m"] for row in rows if row["settings"] == settings and row["chosen"] == "true"]
        best = max(accuracy, key=accuracy.__getitem__)
        found = f"chosen m = {chosen} {accuracy[chosen]:.1f} %, best in hindsight m = {best} {accuracy[best]:.1f} %"
        parts.append(Part(accuracy[best] - accuracy[chosen] <= points, found))
    return judged(parts)


def shown(sweep: Sweep) -> Finding:
    """Nothing to judge: the settings, by their averages."""
    settings = sorted(pick(sweep, {}), key=mean, reverse=True)
    best, worst = settings[0], settings[-1]
    return Finding(
        "measured",
        f"from {mean(worst):.1f} ({worst.label}) to {mean(best):.1f} % ({best.label}), {len(settings)} settings",
    )


def _pairs(sweep: Sweep) -> dict[str, tuple[Setting, Setting]]:
    """By all else that differs, the settings of the least and of the largest m."""
    groups: dict[str, list[Setting]] = {}
    for setting in pick(sweep, {}):
        rest = ", ".join(f"{sweep.name(key)} {found}" for key, found in setting.values.items() if key != "m")
        groups.setdefault(rest, []).append(setting)
    ordered = {name: sorted(group, key=lambda one: float(str(value(one, "m") or 0))) for name, group in groups.items()}
    return {name: (group[0], group[-1]) for name, group in ordered.items() if len(group) > 1}


def _gain(accuracy: Mapping[float, float]) -> float:
    return max(accuracy.values()) - accuracy[min(accuracy)]


def _width(setting: Setting) -> int:
    return int(str(value(setting, "model.hidden")).strip("[]").split(",")[0])


def _listed(numbers: Mapping[Any, float]) -> str:
    return ", ".join(f"{key:g}: {number:.1f}" for key, number in numbers.items())
