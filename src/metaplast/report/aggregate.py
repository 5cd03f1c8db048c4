"""Groups the runs of a sweep into settings, and averages what they measured over seeds.

A setting is all runs that differ in the seed alone; its label names what tells it from the other settings.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metaplast.runs.index import Run, Value, natural_order


class Spread(NamedTuple):
    """Mean and spread of a quantity, of any shape, over seeds."""

    mean: Tensor
    sd: Tensor
    """Standard deviation of a sample (n − 1); NaN for one seed."""
    n: int
    """Seeds."""


def over_seeds(values: Iterable[tuple[Any, Tensor]]) -> Spread:
    """Mean and spread over seeds of pairs (seed, quantity), all quantities of one shape.

    Runs of the same seed are averaged first, since they are not independent. Without any run, mean and sd are NaN.
    """
    seeds: dict[Any, list[Tensor]] = {}
    for seed, value in values:
        seeds.setdefault(seed, []).append(value)
    if not seeds:
        return Spread(torch.tensor(math.nan), torch.tensor(math.nan), 0)
    stack = torch.stack([torch.stack(alike).mean(0) for alike in seeds.values()])
    sd = stack.std(0) if len(stack) > 1 else torch.full_like(stack[0], math.nan)
    return Spread(stack.mean(0), sd, len(stack))


def numbers(value: Any) -> Tensor:
    """A number or nested lists of them, as float64; None becomes NaN."""
    if isinstance(value, list):
        return torch.stack([numbers(item) for item in value])
    return torch.tensor(math.nan if value is None else value, dtype=torch.float64)


def percent(spread: Spread) -> str:
    """A fraction over seeds in percent: mean ± standard deviation, the mean alone for one seed, a dash for none.

    >>> one = torch.tensor(0.5)
    >>> percent(Spread(torch.tensor(0.8234), torch.tensor(0.0101), 3)), percent(Spread(one, torch.tensor(torch.nan), 1))
    ('82.3 ± 1.0', '50.0')
    """
    mean, sd = 100 * float(spread.mean), 100 * float(spread.sd)
    if math.isnan(mean):
        return "–"
    words = f"{round(mean, 1) + 0.0:.1f}".replace("-", "−")  # no minus before a zero
    return words if math.isnan(sd) else f"{words} ± {sd:.1f}"


NAMES = ("strategy.name", "scenario.name", "model.name")
"""Choices whose name stands for the settings of their section that follow from it; that of a strategy also for m."""


@dataclass(frozen=True)
class Setting:
    """Runs that differ in the seed alone."""

    values: Mapping[str, Value]
    """What tells it from the other settings of the sweep, by dotted key."""
    label: str
    runs: Sequence[Run]

    @property
    def completed(self) -> list[Run]:
        """The runs whose results count."""
        return [run for run in self.runs if run.completed]

    @property
    def seeds(self) -> str:
        """The number of seeds, and how many of them are completed: 5, or 3 of 5."""
        done, asked = len({run.seed for run in self.completed}), len({run.seed for run in self.runs})
        return str(asked) if done == asked else f"{done} of {asked}"

    def over_seeds(self, key: str) -> Spread:
        """Mean and spread of an entry of summary.json over the completed runs; None becomes NaN."""
        return over_seeds((run.seed, numbers(run.summary.get(key))) for run in self.completed)


@dataclass(frozen=True)
class Sweep:
    """Runs, grouped into settings."""

    runs: Sequence[Run]
    keys: Sequence[str]
    """The keys that differ between the runs, names first, then m; neither the seed nor what follows from a name."""
    settings: Sequence[Setting]
    axis: str | None
    """The key on the horizontal axis: m, or else the first one with numbers; None if there is none."""

    def series(self) -> dict[str, list[Setting]]:
        """The settings of each line against `axis`, by what tells the lines apart ("" for a single one)."""
        return self.grouped_without(self.axis)

    def grouped_without(self, key: str | None) -> dict[str, list[Setting]]:
        """The settings by the label of what tells them apart besides `key`."""
        groups: dict[str, list[Setting]] = {}
        for setting in self.settings:
            rest = {name: value for name, value in setting.values.items() if name != key}
            groups.setdefault(label(rest, self.keys), []).append(setting)
        return groups

    @property
    def completed(self) -> list[Setting]:
        """The settings that have a completed run."""
        return [setting for setting in self.settings if setting.completed]

    def name(self, key: str) -> str:
        """A key as it is shown: its last part, where that is unmistakable."""
        return short(key, self.keys)


def make_sweep(runs: Sequence[Run]) -> Sweep:
    """Group `runs` into settings; those without a configuration belong to none."""
    known = [run for run in runs if run.settings]
    keys = varying([run.settings for run in known])
    shown = keys or [key for key in ("strategy.name", "m") if any(run.settings.get(key) is not None for run in known)]
    groups: dict[tuple[Value, ...], list[Run]] = {}
    for run in known:
        groups.setdefault(tuple(run.settings.get(key) for key in shown), []).append(run)
    settings = []
    for group in sorted(groups, key=lambda values: [_rank(value) for value in values]):
        values = dict(zip(shown, group, strict=True))
        settings.append(Setting(values, label(values, shown), groups[group]))
    return Sweep(runs, keys, settings, _axis(keys, settings))


def varying(settings: Sequence[Mapping[str, Value]]) -> list[str]:
    """The keys whose value differs between runs: names first, then m, then the others in their order.

    The seed is not among them, nor a setting of a strategy (or m), scenario or model that follows from its name.

    >>> varying([{"strategy.name": "ewc", "strategy.lambda": 5, "seed": 0, "epochs_per_task": 1},
    ...          {"strategy.name": "meta", "m": 1.35, "seed": 0, "epochs_per_task": 2}])
    ['strategy.name', 'epochs_per_task']
    """
    keys = dict.fromkeys(key for run in settings for key in run if key != "seed")
    differing = [key for key in keys if len({run.get(key) for run in settings}) > 1]
    names = [key for key in NAMES if key in differing]
    others = [key for key in differing if key not in names and not any(_follows(settings, name, key) for name in names)]
    return names + sorted(others, key=lambda key: key != "m")


def label(values: Mapping[str, Value], keys: Sequence[str]) -> str:
    """Settings in a line; those that a run does not have are left out.

    >>> label({"strategy.name": "meta", "m": 1.5, "strategy.ewc_lambda": None}, [])
    'meta · m = 1.5'
    """
    parts = [
        text(value) if key in NAMES else f"{short(key, keys)} = {text(value)}"
        for key, value in values.items()
        if value is not None
    ]
    return " · ".join(parts) or " · ".join(f"no {short(key, keys)}" for key in values)


def short(key: str, keys: Sequence[str]) -> str:
    """The last part of a dotted key, or all of it where another of `keys` ends alike; of a name, its section.

    >>> short("model.hidden", []), short("strategy.name", []), short("a.lr", ["a.lr", "b.lr"])
    ('hidden', 'strategy', 'a.lr')
    """
    if key in NAMES:
        return key.partition(".")[0]
    last = key.rpartition(".")[2]
    return key if any(other != key and other.rpartition(".")[2] == last for other in keys) else last


def text(value: Any) -> str:
    """A value as it is shown; a dash for none.

    >>> text(None), text(True), text(1e-7), text(2.0), text([64, 64])
    ('–', 'yes', '1e-07', '2', '64, 64')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def is_number(value: Value) -> bool:
    """Whether a value is a number; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _follows(settings: Sequence[Mapping[str, Value]], name: str, key: str) -> bool:
    section = name.partition(".")[0]
    if not key.startswith(f"{section}.") and (section, key) != ("strategy", "m"):
        return False
    pairs = {(run.get(name), run.get(key)) for run in settings}
    return len(pairs) == len({value for value, _ in pairs})


def _axis(keys: Sequence[str], settings: Sequence[Setting]) -> str | None:
    for key in keys:
        values = {setting.values[key] for setting in settings} - {None}
        if len(values) > 1 and all(map(is_number, values)):
            return key
    return None


def _rank(value: Value) -> tuple[int, float, list[tuple[int, str]]]:
    """Sort key: missing values, then numbers, then words."""
    if value is None:
        return 0, 0.0, []
    return (1, float(value), []) if isinstance(value, int | float) else (2, 0.0, natural_order(value))
