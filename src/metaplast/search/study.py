"""The study of a search: a file in its folder that outlives the process, and that several processes may write to.

The file is a journal (Optuna's `JournalStorage`): a line for every event, appended under a lock that also holds on
network file systems, where SQLite's does not.
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
from optuna.trial import FrozenTrial, Trial, TrialState

from metaplast.errors import UserError
from metaplast.runs.status import RunStatus
from metaplast.search.checks import JOURNAL

INSTEAD_OF = "instead_of"
"""Attribute of a trial that does again what was cut off: the number of the other."""
SETTINGS = "settings"
"""Attribute of a study: what all of its trials have in common."""


def open_study(folder: Path, settings: Mapping[str, Any]) -> Study:
    """Open the study in `folder`, or begin one. `settings` are those of section `search`."""
    optuna.logging.set_verbosity(logging.WARNING)
    path = str((folder / JOURNAL).absolute())
    storage = JournalStorage(JournalFileBackend(path, JournalFileOpenLock(path)))
    return optuna.create_study(
        study_name="search", storage=storage, direction="maximize", load_if_exists=True, pruner=_pruner(settings)
    )


def mend_journal(folder: Path) -> None:
    """Drop a last line that a full disk or a power cut left unfinished; it would make what follows unreadable."""
    path = folder / JOURNAL
    if path.exists():
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)


def hold_to(study: Study, common: Mapping[str, Any], folder: Path) -> None:
    """Raise UserError if the trials of `study` had other settings than `common`; a study without any takes them on."""
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
    """The next trial. What is proposed is a pure function of `seed` and the trials before, however they were run."""
    started = [trial for trial in study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]
    index = sum(INSTEAD_OF not in trial.user_attrs for trial in started)
    study.sampler = _sampler(settings, int(np.random.SeedSequence([seed, index]).generate_state(1)[0]))
    return study.ask(dict(space))


def tell(study: Study, number: int, summary: Mapping[str, Any] | None) -> None:
    """Close trial `number` by what its run came to; None: it failed."""
    status, value = (summary or {}).get("status"), (summary or {}).get("average_accuracy")
    if status == RunStatus.PRUNED:
        study.tell(number, state=TrialState.PRUNED)
    elif status == RunStatus.COMPLETED and value is not None:
        study.tell(number, value)
    else:
        study.tell(number, state=TrialState.FAIL)


def do_again(study: Study, trial: FrozenTrial) -> None:
    """Close a trial that was cut off, and put its parameters first in line."""
    study.tell(trial.number, state=TrialState.FAIL)
    study.enqueue_trial(trial.params, user_attrs={INSTEAD_OF: trial.number})


def numbers(study: Study, *states: TrialState) -> list[int]:
    """The numbers of the trials in one of `states`."""
    return [trial.number for trial in study.get_trials(deepcopy=False, states=states)]


def _sampler(settings: Mapping[str, Any], seed: int) -> BaseSampler:
    if settings["sampler"] == "random":
        return RandomSampler(seed=seed)
    return TPESampler(seed=seed, n_startup_trials=settings["n_startup_trials"])


def _pruner(settings: Mapping[str, Any]) -> BasePruner:
    if settings["pruner"] == "none":
        return NopPruner()
    return MedianPruner(n_startup_trials=settings["n_startup_trials"])
