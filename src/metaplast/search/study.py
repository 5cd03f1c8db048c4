"""The study of a search: a file in its folder that outlives the process and that several processes may write to.

The file is Optuna's `JournalStorage`: a line for every event, appended under a lock that works on network file systems
too, where SQLite's does not.
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import Study
from optuna.trial import Trial, TrialState

from metaplast.errors import UserError
from metaplast.runs.summary import RunStatus
from metaplast.search.sweeper import STUDY

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
