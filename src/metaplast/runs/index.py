"""Runs as they lie on the disk: what each was asked to do, how it stands, and what came out.

A run that is going on, was cut off or failed is a run too; only what it left is less.
"""

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from metaplast.errors import UserError
from metaplast.runs.journal import SWEEP, Job, Journal
from metaplast.runs.old_keys import OLD_KEYS, OLD_TARGETS, translate_old_keys

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
        summary = json.loads(_text(path / "summary.json") or "{}")
        config = _text(path / "config.yaml")
        parsed = yaml.load(config, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}
        if any(key.rpartition(".")[2] in config for key in (*OLD_KEYS, *OLD_TARGETS)):
            translate_old_keys(parsed)
            config = yaml.safe_dump(parsed, sort_keys=False)
        translate_old_keys(summary)
        settings = deciding(parsed)
        status, error = summary.get("status", "starting"), summary.get("error")
    except (OSError, ValueError, AttributeError, TypeError, yaml.YAMLError) as failure:
        return Run(path, "unreadable", f"{type(failure).__name__}: {failure}", {}, {}, "")
    if status in ("starting", "running") and not held(path):
        status, error = "lost", LOST
    if status == "completed" and not summary.get("accuracy_matrix"):
        status, error = "unreadable", "summary.json calls it completed, but holds no accuracy matrix"
    return Run(path, status, error, summary, settings, config)


def held(run_dir: Path) -> bool:
    """Whether a process holds the lock of `run_dir`; asked with a shared lock, which is let go at once."""
    try:
        with (run_dir / LOCK).open("rb") as lock:
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
    return key not in ("data_dir", "resume", "budget", "plots", "diagnostics")


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


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
