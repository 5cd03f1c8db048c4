"""Finds run directories and reads them: settings, status and results, also of runs that are going on or have failed."""

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from metaplast.errors import UserError
from metaplast.io import NO_FLOCK, exclusive_lock, open_regular, read_regular
from metaplast.runs.journal import Job, Journal
from metaplast.runs.names import CONFIG, LOCK, OLD_KEYS, OLD_TARGETS, SUMMARY, SWEEP, translate_old_keys
from metaplast.runs.summary import (
    SUMMARY_BYTES,
    RunStatus,
    check_format,
    damaged_file,
    file_digest,
    is_labels,
    parse_summary,
)
from metaplast.runs.untrusted import read_config_text

Value = str | int | float | bool | None
"""The value of a setting; a list is its JSON text, so that it can be compared and shown."""

LOST = "not completed, and no process here holds its directory: it was killed, or runs on another machine"


@dataclass(frozen=True)
class Run:
    """One run directory, read."""

    path: Path
    status: RunStatus
    error: str | None
    """Why it is not completed, where that is known."""
    summary: Mapping[str, Any]
    """The content of summary.json; empty if there is none."""
    settings: Mapping[str, Value]
    """The settings in config.yaml that can change a result, by dotted key; empty if there is none."""
    config: str
    """The text of config.yaml."""

    @property
    def completed(self) -> bool:
        """Whether its results count."""
        return self.status is RunStatus.COMPLETED

    @property
    def seed(self) -> Any:
        """The seed; None if no file says it."""
        return self.summary.get("seed", self.settings.get("seed"))

    @property
    def overrides(self) -> list[str] | None:
        """The overrides of the command line as typed; None if the run did not keep them."""
        return self.summary.get("overrides")


def find_runs(directories: Sequence[Path]) -> list[Run]:
    """Read every run in and below `directories`, each once, in natural order (2 before 10).

    Raises:
        UserError: if one of them is no directory, or if there is no run at all.
    """
    for directory in directories:
        if not directory.is_dir():
            raise UserError(f"{directory} is no directory; give one that holds runs")
    found: dict[Path, Path] = {}
    jobs: dict[Path, tuple[Path, Job]] = {}
    for directory in directories:
        for folder, files, is_run in _folders(directory):
            if is_run:
                found.setdefault(folder.resolve(), folder)
            if SWEEP in files:
                for job in Journal(folder).jobs():
                    jobs.setdefault((folder / job.directory).resolve(), (folder / job.directory, job))
    if not found and not jobs:
        raise UserError(
            f"{', '.join(map(str, directories))}: no run there or below (a run's directory holds {SUMMARY})"
        )
    runs = [_with_job_status(read_run(path), jobs[key][1] if key in jobs else None) for key, path in found.items()]
    runs += [_without_directory(path, job) for key, (path, job) in jobs.items() if key not in found]
    return sorted(runs, key=lambda run: natural_order(str(run.path)))


def read_run(path: Path) -> Run:
    """Read one run directory; one whose files cannot be read has the status `unreadable`, and its error says why."""
    try:
        summary = _summary(path / SUMMARY)
        has_config = os.path.lexists(path / CONFIG)
        if has_config and summary.get("config") not in (None, file_digest(path / CONFIG)):
            raise ValueError(f"{CONFIG} is not the one that the run had (damaged, edited or of another run)")
        if (name := damaged_file(path, summary)) is not None:
            raise ValueError(f"{name} is not as the run left it (damaged or edited)")
        config = read_config_text(path / CONFIG) if has_config else ""
        parsed = yaml.load(config, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}
        if any(word in config for word in (*(f"{key.rpartition('.')[2]}:" for key in OLD_KEYS), *OLD_TARGETS)):
            translate_old_keys(parsed)
            config = yaml.safe_dump(parsed, sort_keys=False)
        translate_old_keys(summary)
        settings = relevant_settings(parsed)
        status, error = RunStatus(summary.get("status", RunStatus.STARTING)), summary.get("error")
        check_format(path, summary)
    except (OSError, ValueError, AttributeError, TypeError, RecursionError, yaml.YAMLError, UserError) as failure:
        words = " ".join(str(failure).split())
        error = words if isinstance(failure, UserError) else f"{type(failure).__name__}: {words}"
        return Run(path, RunStatus.UNREADABLE, error, {}, {}, "")
    if status in (RunStatus.STARTING, RunStatus.RUNNING) and not is_locked(path):
        status, error = RunStatus.LOST, LOST
    if status is RunStatus.COMPLETED and not summary.get("accuracy_matrix"):
        status, error = RunStatus.UNREADABLE, f"{SUMMARY} calls it completed, but holds no accuracy matrix"
    return Run(path, status, error, summary, settings, config)


def is_locked(run_dir: Path) -> bool:
    """Whether a process holds the lock of `run_dir`; asked with a shared lock, which is released at once."""
    try:
        with open_regular(run_dir / LOCK, 1 << 20, within=run_dir) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:  # no such file, no permission, or no flock here
        return error.errno in NO_FLOCK and exclusive_lock(run_dir / LOCK).exists()
    return False


def flatten(config: Mapping[str, Any], above: str = "") -> dict[str, Value]:
    """Return the leaves of a configuration by dotted key.

    >>> flatten({"m": 1.5, "model": {"hidden": [64, 64]}})
    {'m': 1.5, 'model.hidden': '[64, 64]'}
    """
    leaves: dict[str, Value] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            leaves |= flatten(value, f"{above}{key}.")
        else:
            leaves[f"{above}{key}"] = json.dumps(value) if isinstance(value, list) else value
    return leaves


def natural_order(words: str) -> list[tuple[int, str]]:
    """Sort key by which the whole numbers in words count as numbers.

    >>> sorted(["run 10", "run 9", "[512]", "[64]"], key=natural_order)
    ['[64]', '[512]', 'run 9', 'run 10']
    """
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", words)]


def relevant_settings(config: Mapping[str, Any]) -> dict[str, Value]:
    """The settings that can change a result, by dotted key: no paths and no logger, and m only where it is used.

    A copy of the run's seed, such as an argument of a plugin, is left out: it is no difference between seeds.

    >>> relevant_settings({"seed": 3, "strategy": {"plugins": [{"_target_": "mine.Plugin", "seed": 3}]}})
    {'seed': 3, 'strategy.plugins': '[{"_target_": "mine.Plugin"}]'}
    """
    once = {key: _without_seed(value, config.get("seed")) for key, value in config.items()}
    leaves = {key: value for key, value in flatten(once).items() if _is_relevant(key)}
    return leaves if leaves.get("strategy.uses_m", True) else leaves | {"m": None}


def _without_seed(node: Any, seed: Any) -> Any:
    """`node` without entries named seed that repeat the run's."""
    if isinstance(node, Mapping):
        return {key: _without_seed(value, seed) for key, value in node.items() if (key, value) != ("seed", seed)}
    return [_without_seed(value, seed) for value in node] if isinstance(node, list) else node


def _is_relevant(key: str) -> bool:
    if key.startswith(("logger.", "trainer.", "search.", "first_tasks.")):
        return key == "trainer.precision"
    return key not in ("data_dir", "resume", "trust", "budget", "figures", "plots", "diagnostics")


def _with_job_status(run: Run, job: Job | None) -> Run:
    """The run with the status in the journal of its sweep, where its own files do not say how it ended."""
    ended = (RunStatus.FAILED, RunStatus.KILLED)
    if job is None or run.status not in (RunStatus.STARTING, RunStatus.LOST) or job.status not in ended:
        return run
    return replace(run, status=job.status, error=job.error)


def _without_directory(path: Path, job: Job) -> Run:
    """The run of a job that has no directory: it has not started, or ended before it had one."""
    status = RunStatus.STARTING if job.status is RunStatus.RUNNING else job.status
    return Run(path, status, job.error, {"overrides": list(job.overrides)}, {}, "")


def _folders(top: Path) -> Iterator[tuple[Path, list[str], bool]]:
    """Each folder in and below `top`, its files, and whether it is that of a run, below which no runs are sought."""
    for folder, below, files in os.walk(top):
        alone = len(below) + len(files) == 1
        is_run = SUMMARY in files or (LOCK in files and (CONFIG in files or alone))
        if is_run:
            below.clear()
        yield Path(folder), files, is_run


def _summary(path: Path) -> dict[str, Any]:
    """What summary.json holds; ValueError where it is not of the form that reports rely on."""
    if not os.path.lexists(path):
        return {}
    summary = parse_summary(read_regular(path, SUMMARY_BYTES, within=path.parent))
    for key, fits in _FORMS.items():
        if summary.get(key) is not None and not fits(summary[key]):
            raise ValueError(f"{path.name}: {key}: expected another kind of value")
    if summary.get("status") == "completed" and summary.get("accuracy_matrix"):
        if summary.get("average_accuracy") is None:
            raise ValueError(f"{path.name}: average_accuracy: expected a number, got nothing")
        summary = {**dict.fromkeys(_SCORES), **summary}
    return summary


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_matrix(value: Any) -> bool:
    """Whether a value is a list of rows, all of one length, of numbers and nulls."""
    return (
        isinstance(value, list)
        and all(isinstance(row, list) and row and len(row) == len(value[0]) for row in value)
        and (not value or len(value[0]) in (1, len(value)))
        and all(cell is None or _is_number(cell) for row in value for cell in row)
    )


_SCORES = ("average_accuracy", "forgetting", "backward_transfer")
_FORMS: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(
        ("status", "strategy", "scenario", "model", "error", "run_dir"), lambda value: isinstance(value, str)
    ),
    **dict.fromkeys(
        (*_SCORES, "forward_transfer", "train_seconds", "samples_per_second", "n_tasks", "seed"), _is_number
    ),
    "versions": lambda value: isinstance(value, dict),
    "wandb": is_labels,
    "overrides": lambda value: isinstance(value, list) and all(isinstance(part, str) for part in value),
    "accuracy_matrix": _is_matrix,
    "accuracy_before_training": lambda value: (
        isinstance(value, list) and all(part is None or _is_number(part) for part in value)
    ),
}
"""What reports take for granted of values in summary.json, where they are there."""
