"""Runs as they lie on the disk: what each was asked to do, how it stands, and what came out.

A run that is going on, was cut off or failed is a run too; only what it left is less.
"""

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
from metaplast.io import open_regular, read_regular
from metaplast.runs.journal import SWEEP, Job, Journal
from metaplast.runs.summary import SUMMARY_BYTES, is_labels
from metaplast.runs.untrusted import read_config_text

Value = str | int | float | bool | None
"""What a setting comes to; a list is its JSON text, so that it can be compared and shown."""

LOCK = ".lock"
"""The file that a run's process holds as long as it lives."""
LOST = "not completed, and no process here holds its directory: it was killed, or runs on another machine"


@dataclass(frozen=True)
class Run:
    """One run directory, read."""

    path: Path
    status: str
    """completed, failed, interrupted, running, starting (nothing written), lost (held by no process) or unreadable;
    of a job of a sweep also queued or killed."""
    error: str | None
    """Why it is not completed, where that is known."""
    summary: Mapping[str, Any]
    """What summary.json holds; empty where there is none."""
    settings: Mapping[str, Value]
    """What config.yaml sets, by dotted key, as far as a result may hang on it; empty where there is none."""
    config: str
    """The text of config.yaml."""

    @property
    def completed(self) -> bool:
        """Whether it came to its end, so that its figures count."""
        return self.status == "completed"

    @property
    def seed(self) -> Any:
        """The seed; None where the run left nothing that says it."""
        return self.summary.get("seed", self.settings.get("seed"))

    @property
    def overrides(self) -> list[str] | None:
        """The command line's overrides, as they were typed; None where the run did not keep them."""
        return self.summary.get("overrides")


def find_runs(directories: Sequence[Path]) -> list[Run]:
    """Read every run in and below `directories`, each once, 2 before 10.

    Raises:
        UserError: if one of them is no directory, or if there is no run at all.
    """
    for directory in directories:
        if not directory.is_dir():
            raise UserError(f"{directory} is no directory; give one that holds runs")
    found: dict[Path, Path] = {}
    jobs: dict[Path, tuple[Path, Job]] = {}
    for directory in directories:
        for path in _run_directories(directory):
            found.setdefault(path.resolve(), path)
        for sweep_dir in _sweep_directories(directory):
            for job in Journal(sweep_dir).jobs():
                jobs.setdefault((sweep_dir / job.directory).resolve(), (sweep_dir / job.directory, job))
    if not found and not jobs:
        raise UserError(
            f"{', '.join(map(str, directories))}: no run there or below (a run's directory holds summary.json)"
        )
    runs = [_told(read_run(path), jobs[key][1] if key in jobs else None) for key, path in found.items()]
    runs += [_unborn(path, job) for key, (path, job) in jobs.items() if key not in found]
    return sorted(runs, key=lambda run: natural_order(str(run.path)))


def read_run(path: Path) -> Run:
    """Read one run directory; what cannot be read makes the run `unreadable`, and its error says why."""
    try:
        summary = _summary(path / "summary.json")
        config = read_config_text(path / "config.yaml") if os.path.lexists(path / "config.yaml") else ""
        settings = deciding(yaml.load(config, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {})
        status, error = summary.get("status", "starting"), summary.get("error")
    except (OSError, ValueError, AttributeError, TypeError, RecursionError, yaml.YAMLError) as failure:
        return Run(path, "unreadable", f"{type(failure).__name__}: {' '.join(str(failure).split())}", {}, {}, "")
    if status in ("starting", "running") and not held(path):
        status, error = "lost", LOST
    if status == "completed" and not summary.get("accuracy_matrix"):
        status, error = "unreadable", "summary.json calls it completed, but holds no accuracy matrix"
    return Run(path, status, error, summary, settings, config)


def held(run_dir: Path) -> bool:
    """Whether a process holds the lock of `run_dir`; asked with a shared lock, which is let go at once."""
    try:
        with open_regular(run_dir / LOCK, 1 << 20, within=run_dir) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no such file, or no leave to read it
        return False
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


def deciding(config: Mapping[str, Any]) -> dict[str, Value]:
    """Leaves of a configuration that a result may hang on: not where files are, nor who is told; m only where used.

    The seed is said once: a plugin that was handed it is the same plugin in every run.

    >>> deciding({"seed": 3, "strategy": {"plugins": [{"_target_": "mine.Plugin", "seed": 3}]}})
    {'seed': 3, 'strategy.plugins': '[{"_target_": "mine.Plugin"}]'}
    """
    once = {key: _without_seed(value, config.get("seed")) for key, value in config.items()}
    leaves = {key: value for key, value in flatten(once).items() if _matters(key)}
    return leaves if leaves.get("strategy.uses_m", True) else leaves | {"m": None}


def _without_seed(node: Any, seed: Any) -> Any:
    """What is in `node`, but for entries named seed that are the run's own."""
    if isinstance(node, Mapping):
        return {key: _without_seed(value, seed) for key, value in node.items() if (key, value) != ("seed", seed)}
    return [_without_seed(value, seed) for value in node] if isinstance(node, list) else node


def _matters(key: str) -> bool:
    if key.startswith(("logger.", "trainer.", "search.", "first_tasks.")):
        return key == "trainer.precision"
    return key not in ("data_dir", "resume", "trust", "budget", "figures", "diagnostics")


def _told(run: Run, job: Job | None) -> Run:
    """The run as the journal of its sweep knows it, where a process could not say itself how it ended."""
    if job is None or run.status not in ("starting", "lost") or job.status not in ("failed", "killed"):
        return run
    return replace(run, status=job.status, error=job.error)


def _unborn(path: Path, job: Job) -> Run:
    """A job of a sweep that left no run: it has not started, or ended before it had a directory."""
    status = "starting" if job.status == "running" else job.status
    return Run(path, status, job.error, {"overrides": list(job.overrides)}, {}, "")


def _run_directories(top: Path) -> Iterator[Path]:
    return (folder for folder, _, is_run in _folders(top) if is_run)


def _sweep_directories(top: Path) -> Iterator[Path]:
    return (folder for folder, files, _ in _folders(top) if SWEEP in files)


def _folders(top: Path) -> Iterator[tuple[Path, list[str], bool]]:
    """Each folder in and below `top`, its files, and whether it is a run's, whose own folders hold no runs."""
    for folder, below, files in os.walk(top):
        alone = len(below) + len(files) == 1
        is_run = "summary.json" in files or (LOCK in files and ("config.yaml" in files or alone))
        if is_run:
            below.clear()
        yield Path(folder), files, is_run


def _summary(path: Path) -> dict[str, Any]:
    """What summary.json holds; ValueError where it is not of the form that reports rely on."""
    if not os.path.lexists(path):
        return {}
    summary = json.loads(read_regular(path, SUMMARY_BYTES, within=path.parent))
    if not isinstance(summary, dict):
        raise ValueError(f"{path.name}: expected an object, got {type(summary).__name__}")
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
