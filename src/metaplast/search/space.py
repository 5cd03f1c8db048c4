"""The search space: ranges and choices in Hydra's grammar, as Optuna's distributions.

interval(0, 4)                      any number from 0 to 4
tag(log, interval(1e-3, 1e-1))      the same by orders of magnitude
int(interval(1, 8))                 whole numbers
choice(16, 32), 16,32, range(1, 5)  one of these, in no order
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from metaplast.errors import UserError

NEVER = {
    "eval_split": "a search looks at validation data alone",
    "seed": "a search would choose the luckiest one",
}
"""Settings that cannot be searched, and why."""


class Plan(NamedTuple):
    """The parts of a command line."""

    fixed: list[str]
    """Overrides that all trials share."""
    space: dict[str, BaseDistribution]
    """The distribution of each key."""


def plan(ready: Mapping[str, str | None], given: Sequence[str]) -> Plan:
    """Divide the overrides `given` on the command line into fixed ones and a search space, which extends `ready`.

    A range on the command line replaces that in `ready`, a single value fixes the key; null in `ready` leaves it out.
    Raises UserError where there is nothing to search, and for settings that cannot be searched.
    """
    parser = OverridesParser.create()
    space: dict[str, BaseDistribution] = {}
    for key, words in ready.items():
        if words is not None:
            [override] = parser.parse_overrides([f"{key}={words}"])
            if not override.is_sweep_override():
                raise UserError(f"search.space.{key}={words}: expected a range, such as interval(0,4), or null")
            space[key] = _distribution(override)
    fixed = []
    for override in parser.parse_overrides(list(given)):
        key = override.get_key_element().lstrip("+")
        if override.is_sweep_override():
            space[key] = _distribution(override)
        else:
            space.pop(key, None)
            fixed.append(str(override.input_line))
    for key, reason in NEVER.items():
        if key in space:
            raise UserError(f"{key}: cannot be searched, since {reason}")
    if not space:
        raise UserError("search.space: is empty; give a range, such as 'm=interval(0,4)'")
    return Plan(fixed, space)


def assignments(params: Mapping[str, Any]) -> list[str]:
    """The overrides that set the parameters of a trial, to the last digit.

    >>> assignments({"m": 1.25, "model.hidden": "[16,16]"})
    ['m=1.25', 'model.hidden=[16,16]']
    """
    return [f"{key}={value}" for key, value in params.items()]


def _distribution(override: Override) -> BaseDistribution:
    sweep = override.value()
    if isinstance(sweep, IntervalSweep):
        low, high, log = sweep.start, sweep.end, "log" in sweep.tags
        if low is None or high is None or low > high or (log and low <= 0):
            raise UserError(
                f"{override.input_line}: expected an interval from a lower to a higher number, with log from above 0"
            )
        if type(low) is type(high) is int:  # as int(interval(…)) makes them
            return IntDistribution(low, high, log=log)
        return FloatDistribution(low, high, log=log)
    if isinstance(sweep, ChoiceSweep | RangeSweep):
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    raise UserError(f"{override.input_line}: a search takes interval(), choice() and range(), or values with commas")
