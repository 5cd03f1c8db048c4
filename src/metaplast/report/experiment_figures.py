"""The pictures and tables that an experiment asks for by `figures: [NAME, …]`, drawn from its runs' files.

Each has a module of its own below this folder, with `write(folder, sweep)`, which is imported when it is asked for.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import yaml  # type: ignore[import-untyped]

if TYPE_CHECKING:  # the names alone are wanted where a configuration is checked, and that has to be quick
    from metaplast.report.runs import Run
    from metaplast.report.sweep import Sweep

FIGURES = (
    "tasks_by_m",
    "hidden_weights",
    "accuracy_by_width",
    "two_tasks",
    "stream_against_all_at_once",
    "accuracy_table",
    "normalization",
)
"""What `figures` may name."""


def asked_for(runs: "Sequence[Run]") -> list[str]:
    """The figures that any of `runs` names in its config.yaml, each once."""
    named: dict[str, None] = {}
    for run in runs:
        config = yaml.safe_load(run.config) or {}
        named |= dict.fromkeys(name for name in config.get("figures") or [] if name in FIGURES)
    return list(named)


def write_experiment_figures(folder: Path, sweep: "Sweep") -> list[Path]:
    """Write what the completed runs of `sweep` ask for to `folder`, atomically, and return the files."""
    completed = [run for run in sweep.runs if run.completed]
    return [
        path for name in asked_for(completed) for path in import_module(f"metaplast.report.{name}").write(folder, sweep)
    ]
