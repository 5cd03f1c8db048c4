"""How each claim is judged: from the runs of a sweep, or the numbers that a script wrote, to a verdict.

Accuracies and margins are in percentage points. The tolerances are ours; `claims.yaml` states them with each claim.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any

from metaplast.metrics.intervals import PairedDifference, paired_difference
from metaplast.report.aggregate import Setting, Sweep, percent
from metaplast.report.figures.sweep import setting_curves
from metaplast.reproduction.verdict import (
    Criterion,
    NotComparableError,
    Verdict,
    check_comparable,
    compare,
    judge,
    per_seed,
)
from metaplast.runs.index import Run, Value

TOLERANCE_POINTS = 0.5
"""Points by which a mean may lie below the one before it and still count as not falling."""
ABOVE_CHANCE_POINTS = 10.0
"""Points above chance from which on a task counts as remembered at all."""


def average(run: Run) -> float:
    """Average accuracy over all tasks at the end, in percent."""
    return 100 * float(run.summary["average_accuracy"])


def task_accuracies(run: Run) -> list[float]:
    """The accuracy on each task at the end, in percent."""
    return [100 * float(accuracy) for accuracy in run.summary["accuracy_matrix"][-1]]


def on_task(task: int) -> Callable[[Run], float]:
    """The accuracy on `task` at the end, in percent, as a function of a run."""
    return lambda run: task_accuracies(run)[task]


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


def mean(setting: Setting) -> float:
    """Average accuracy over all tasks, mean over seeds, in percent."""
    return 100 * float(setting.over_seeds("average_accuracy").mean)


def by_m(settings: Sequence[Setting]) -> dict[float, Setting]:
    """Settings by m, ascending; a setting without m counts as m = 0."""
    return dict(sorted((float(str(value(setting, "m") or 0)), setting) for setting in settings))


def rises_with_m(sweep: Sweep) -> Verdict:
    """Average accuracy rises with m from 0 to the best m > 0, which is better than m = 0."""
    settings = by_m(pick(sweep, {}))
    zero, best = min(settings), _best_m(settings)
    gain = compare(settings[best], settings[zero], ["m"], average)
    climb = [settings[m] for m in settings if m <= best]
    steps = [_not_lower(b, a, ["m"]) for a, b in pairwise(climb)]
    return judge(
        [
            Criterion(f"the best m > 0 is {best:g}, {gain.mean:+.1f} points against m = 0", [gain]),
            Criterion(f"by m: {_listed({m: mean(setting) for m, setting in settings.items()})} %", steps),
        ]
    )


def control_gains_less(sweep: Sweep, bnn: Sweep, share: float = 1 / 3) -> Verdict:
    """The full-precision control gains less than `share` of what the binary network (`bnn`) gains by m."""
    control, binary = by_m(pick(sweep, {})), by_m(pick(bnn, {}))
    check_comparable([*control.values(), *binary.values()], ["m", "model.", "strategy."])
    gains = [_by_seed(settings[_best_m(settings)], settings[min(settings)], average) for settings in (control, binary)]
    margin = paired_difference({seed: share * gain for seed, gain in gains[1].items()}, gains[0])
    evidence = f"best m against m = 0: full precision {_mean(gains[0]):+.1f}, binary {_mean(gains[1]):+.1f} points"
    return judge([Criterion(evidence, [margin])])


def table1(sweep: Sweep, near: float = 1.0, clearly: float = 5.0) -> Verdict:
    """Metaplasticity is near EWC (within `near` points, or above), and shuffled importances are `clearly` worse."""
    names = ("finetune", "ewc_shuffled", "ewc", "meta")
    plain, shuffled, ewc, meta = (pick(sweep, {"strategy.name": name})[0] for name in names)

    def ahead(a: Setting, b: Setting, bound: float) -> PairedDifference:
        return _beyond(compare(a, b, ["m", "strategy."], average), bound)

    return judge(
        [
            Criterion(f"metaplasticity {mean(meta):.1f}, EWC {mean(ewc):.1f} %", [ahead(meta, ewc, -near)]),
            Criterion(f"EWC with shuffled importances {mean(shuffled):.1f} %", [ahead(ewc, shuffled, clearly)]),
            Criterion(f"nothing against forgetting {mean(plain):.1f} %", [ahead(meta, plain, clearly)]),
        ]
    )


def joint_is_not_hurt(sweep: Sweep, cost: float = 2.0) -> Verdict:
    """Width hurts neither metaplasticity nor EWC; and where all tasks are learned at once, m costs at most `cost`."""
    criteria = [_width_criterion(sweep, strategy) for strategy in ("meta", "ewc")]
    for plain in pick(sweep, {"strategy.name": "joint"})[-1:]:
        width = value(plain, "model.hidden")
        for setting in pick(sweep, {"strategy.name": "joint_meta", "model.hidden": width}):
            difference = compare(setting, plain, ["m", "strategy."], average)
            said = f"m = 0 {mean(plain):.1f}, m = {value(setting, 'm')} {mean(setting):.1f} %"
            criteria.append(Criterion(f"all at once at {width}: {said}", [_beyond(difference, -cost)]))
    return judge(criteria)


def reaches(sweep: Sweep, average_floor: float, task_floor: float) -> Verdict:
    """The best setting reaches `average_floor` over all tasks and `task_floor` on each; and width does not hurt."""
    best = max(pick(sweep, {}), key=mean)
    lowest = per_seed(best, lambda run: min(task_accuracies(run)))
    said = f"the best mean is {mean(best):.1f} % ({best.label})"
    return judge(
        [
            _width_criterion(sweep, "meta"),
            Criterion(said, [paired_difference(per_seed(best, average), average_floor)]),
            Criterion(f"its lowest task {_mean(lowest):.1f} %", [paired_difference(lowest, task_floor)]),
        ]
    )


def two_data_sets(sweep: Sweep, floors: Mapping[str, float], jump: float = 5.0, last: int = 10) -> Verdict:
    """With m > 0 each data set ends above its floor, and no accuracy jumps between the last epochs."""
    setting = list(by_m(pick(sweep, {})).values())[-1]
    criteria = []
    for task, name in enumerate(json.loads(str(value(setting, "scenario.order")))):
        accuracy = per_seed(setting, on_task(task))
        said = f"{name} {_mean(accuracy):.1f} % (needed {floors[name]:g})"
        criteria.append(Criterion(said, [paired_difference(accuracy, floors[name])]))
    jumps = largest_jumps(setting, last)
    if not jumps:
        raise NotComparableError("no run measured two epochs, between which accuracy could jump")
    said = f"largest jump in the last {last} epochs {max(jumps.values()):.1f} points"
    return judge([*criteria, Criterion(said, [paired_difference(dict.fromkeys(jumps, jump), jumps)])])


def largest_jumps(setting: Setting, last: int) -> dict[Any, float]:
    """By seed, the largest change of an accuracy, in points, between two of the `last` measured epochs; none for one.

    Only tasks whose training has begun count, and of these all have by the last task.
    """
    epochs, stacks = setting_curves(setting)
    return {seed: float((100 * curves[-last:]).diff(dim=0).abs().max()) for seed, curves in stacks if len(epochs) > 1}


def keeps_more(sweep: Sweep, n_classes: int = 10) -> Verdict:
    """In every variant, with m > 0 both the first task and the average are above those of m = 0.

    The first task also has to end clearly above chance: 1 in `n_classes`, or in the classes of a task where the network
    is told the task and may answer only these.
    """
    criteria = []
    for name, (plain, with_m) in _pairs(sweep).items():
        first = [per_seed(setting, on_task(0)) for setting in (plain, with_m)]
        averages = [percent(setting.over_seeds("average_accuracy")) for setting in (plain, with_m)]
        chance = 100 / n_classes
        if value(with_m, "scenario.incremental") == "task":
            chance *= float(str(value(with_m, "scenario.n_tasks")))
        gains = [compare(with_m, plain, ["m"], measure) for measure in (on_task(0), average)]
        said = f"first task {_mean(first[0]):.1f} → {_mean(first[1]):.1f} %, average {averages[0]} → {averages[1]} %"
        kept = paired_difference(first[1], chance + ABOVE_CHANCE_POINTS)
        criteria.append(Criterion(f"{name}: {said}" if name else said, gains))
        criteria.append(Criterion(f"first task ends at {_mean(first[1]):.1f} % (chance {chance:g})", [kept]))
    return judge(criteria)


def matches_halves(sweep: Sweep, cost: float = 2.0) -> Verdict:
    """One network is, on each of two data sets, within `cost` points of a half-size one that learns it alone."""
    [both] = pick(sweep, {"scenario.name": "mnist_usps"})
    criteria = []
    for task, (data, name) in enumerate([("MNIST", "mnist_part"), ("USPS", "usps_part")]):
        half = pick(sweep, {"scenario.name": name})[0]
        check_comparable([both, half], ["scenario.", "model."])
        together, alone = per_seed(both, on_task(task)), per_seed(half, average)
        said = f"{data}: {_mean(together):.1f} %, half-size network alone {_mean(alone):.1f} %"
        criteria.append(Criterion(said, [_beyond(paired_difference(together, alone), -cost)]))
    return judge(criteria)


def streamed_ends_closer(sweep: Sweep) -> Verdict:
    """With m the network that saw the data in parts ends closer to the one that had all at once than without m."""
    gaps = {}
    at_once, in_parts = (
        by_m([setting for setting in pick(sweep, {}) if (value(setting, "scenario.n_parts") == 1) is whole])
        for whole in (True, False)
    )
    check_comparable([*at_once.values(), *in_parts.values()], ["m", "scenario.n_parts"])
    for m in at_once:
        gaps[m] = _by_seed(at_once[m], in_parts[m], average)
    said = (
        f"accuracy lost by seeing the data in parts, by m: {_listed({m: _mean(gap) for m, gap in gaps.items()})} points"
    )
    return judge([Criterion(said, [paired_difference(gaps[min(gaps)], gaps[max(gaps)])])])


def every_run(rows: Sequence[Mapping[str, Any]], floors: Mapping[str, float]) -> Verdict:
    """Each key of `floors` is above its floor, over the seeds of the rows; rows without a seed are of one run.

    The rows of one run, such as its layers, are margins each. An undefined correlation (None) counts as 0.
    """
    if not rows:
        raise NotComparableError("no numbers were written")
    criteria = []
    for key, floor in floors.items():
        margins = [{row.get("seed", 0): float(row.get(key) or 0)} for row in rows]
        if all("seed" in row for row in rows):
            margins = [dict(pair for margin in margins for pair in margin.items())]
        said = ", ".join("undefined" if row.get(key) is None else f"{row[key]:.4g}" for row in rows)
        said = f"{key.replace('_', ' ')}: {said} (needed {floor:g})"
        criteria.append(Criterion(said, [paired_difference(margin, floor) for margin in margins]))
    return judge(criteria)


def choice_is_near(rows: Sequence[Mapping[str, str]], points: float = 2.0) -> Verdict:
    """The m chosen on the first tasks is, on the whole stream, within `points` of the best m in hindsight.

    `rows` are those of hindsight.csv: one for each m tried, per combination of `settings` (which differ in the seed),
    accuracies as fractions.
    """
    margins, said = {}, []
    for settings in dict.fromkeys(row["settings"] for row in rows):
        accuracy = {row["m"]: 100 * float(row["average_accuracy"]) for row in rows if row["settings"] == settings}
        [chosen] = [row["m"] for row in rows if row["settings"] == settings and row["chosen"] == "true"]
        best = max(accuracy, key=accuracy.__getitem__)
        said.append(
            f"chosen m = {chosen} {accuracy[chosen]:.1f} %, best in hindsight m = {best} {accuracy[best]:.1f} %"
        )
        margins[settings] = points - (accuracy[best] - accuracy[chosen])
    return judge([Criterion("; ".join(said), [paired_difference(margins)])])


def show(sweep: Sweep) -> Verdict:
    """Nothing to judge: the range of the averages."""
    settings = sorted(pick(sweep, {}), key=mean, reverse=True)
    best, worst = settings[0], settings[-1]
    evidence = f"from {mean(worst):.1f} ({worst.label}) to {mean(best):.1f} % ({best.label}), {len(settings)} settings"
    return Verdict("measured", evidence, min(len(per_seed(setting, average)) for setting in settings))


def _width_criterion(sweep: Sweep, strategy: str) -> Criterion:
    settings = dict(sorted((_width(setting), setting) for setting in pick(sweep, {"strategy.name": strategy})))
    steps = [_not_lower(b, a, ["model.hidden", "m"]) for a, b in pairwise(settings.values())]
    if not steps:  # a single width cannot fall
        [only] = settings.values()
        steps = [paired_difference(per_seed(only, lambda run: TOLERANCE_POINTS))]
    evidence = _listed({width: mean(setting) for width, setting in settings.items()})
    return Criterion(f"{strategy} by width: {evidence} %", steps)


def _not_lower(later: Setting, earlier: Setting, apart_from: Sequence[str]) -> PairedDifference:
    return _beyond(compare(later, earlier, apart_from, average), -TOLERANCE_POINTS)


def _beyond(difference: PairedDifference, bound: float) -> PairedDifference:
    """How far each difference lies above `bound`."""
    return PairedDifference(tuple(value - bound for value in difference.values))


def _by_seed(a: Setting, b: Setting, measure: Callable[[Run], float]) -> dict[Any, float]:
    first, second = per_seed(a, measure), per_seed(b, measure)
    return {seed: first[seed] - second[seed] for seed in first if seed in second}


def _best_m(settings: Mapping[float, Setting]) -> float:
    return max((m for m in settings if m > 0), key=lambda m: mean(settings[m]))


def _pairs(sweep: Sweep) -> dict[str, tuple[Setting, Setting]]:
    """By all else that differs, the settings of the least and of the largest m."""
    groups: dict[str, list[Setting]] = {}
    for setting in pick(sweep, {}):
        rest = ", ".join(f"{sweep.name(key)} {found}" for key, found in setting.values.items() if key != "m")
        groups.setdefault(rest, []).append(setting)
    ordered = {name: list(by_m(group).values()) for name, group in groups.items()}
    return {name: (group[0], group[-1]) for name, group in ordered.items() if len(group) > 1}


def _width(setting: Setting) -> int:
    return int(json.loads(str(value(setting, "model.hidden")))[0])


def _mean(by_seed: Mapping[Any, float]) -> float:
    return fmean(by_seed.values())


def _listed(numbers: Mapping[Any, float]) -> str:
    return ", ".join(f"{key:g}: {number:.1f}" for key, number in numbers.items())
