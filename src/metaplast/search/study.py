"""The study of a search and its space of settings.

The study is a file in its folder that outlives the process and that several processes may write to: Optuna's
`JournalStorage`, a line for every event, appended under a lock that works on network file systems too, where SQLite's
does not.

The space is given in Hydra's grammar, and becomes Optuna's distributions:

    interval(0, 4)                      any number from 0 to 4
    tag(log, interval(1e-3, 1e-1))      the same by orders of magnitude
    int(interval(1, 8))                 whole numbers
    choice(16, 32), 16,32, range(1, 5)  one of these, in no order
"""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import Study
from optuna.trial import Trial, TrialState

from metaplast.errors import UserError
from metaplast.runs.summary import RunStatus
from metaplast.search.sweeper import STUDY

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


INSTEAD_OF = "instead_of"
"""Attribute of a trial that repeats an interrupted one: the number of that one."""
SETTINGS = "settings"
"""Attribute of a study: the settings that all its trials share."""


def open_study(folder: Path, settings: Mapping[str, Any]) -> Study:
    """Open the study in `folder`, or create one. `settings` are those of section `search`."""
    optuna.logging.set_verbosity(logging.WARNING)
    path = str((folder / STUDY).absolute())
    storage = JournalStorage(JournalFileBackend(path, JournalFileOpenLock(path)))
    return optuna.create_study(
        study_name="search", storage=storage, direction="maximize", load_if_exists=True, pruner=_pruner(settings)
    )


def repair_journal(folder: Path) -> None:
    """Drop an unfinished last line, as a full disk leaves it; it would make the lines after it unreadable."""
    path = folder / STUDY
    if path.exists():
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)


def check_settings(study: Study, common: Mapping[str, Any], folder: Path) -> None:
    """Raise UserError if the trials of `study` had other settings than `common`; a new study stores them."""
    before = study.user_attrs.get(SETTINGS)
    if before is None:
        study.set_user_attr(SETTINGS, dict(common))
        return
    for key in {**before, **common}:
        if before.get(key) != common.get(key):
            raise UserError(
                f"{key}={common.get(key)}: the study in {folder} was made with {key}={before.get(key)}; "
                "give this one a search.name of its own"
            )


def ask(study: Study, settings: Mapping[str, Any], space: Mapping[str, BaseDistribution], seed: int) -> Trial:
    """The next trial. Its parameters are a pure function of `seed` and the trials before, however those were run."""
    started = [trial for trial in study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]
    index = sum(INSTEAD_OF not in trial.user_attrs for trial in started)
    study.sampler = _sampler(settings, int(np.random.SeedSequence([seed, index]).generate_state(1)[0]))
    return study.ask(dict(space))


def tell(study: Study, number: int, summary: Mapping[str, Any] | None) -> None:
    """Close trial `number` with the summary of its run; None: it failed."""
    status, value = (summary or {}).get("status"), (summary or {}).get("average_accuracy")
    if status == RunStatus.PRUNED:
        study.tell(number, state=TrialState.PRUNED)
    elif status == RunStatus.COMPLETED and value is not None:
        study.tell(number, value)
    else:
        study.tell(number, state=TrialState.FAIL)


def run_again(study: Study, number: int) -> None:
    """Close an interrupted trial, and queue its parameters as the next one."""
    study.tell(number, state=TrialState.FAIL)
    study.enqueue_trial(study.get_trials(deepcopy=False)[number].params, user_attrs={INSTEAD_OF: number})


def finished(study: Study) -> int:
    """The number of trials with a result, completed or pruned."""
    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))


def _sampler(settings: Mapping[str, Any], seed: int) -> BaseSampler:
    if settings["sampler"] == "random":
        return RandomSampler(seed=seed)
    return TPESampler(seed=seed, n_startup_trials=settings["n_startup_trials"])


def _pruner(settings: Mapping[str, Any]) -> BasePruner:
    if settings["pruner"] == "none":
        return NopPruner()
    return MedianPruner(n_startup_trials=settings["n_startup_trials"])
