"""The result of a search: the best trial and the command that reproduces it, best.json, and a figure of all trials."""

import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from metaplast.config.constraints import shown
from metaplast.config.overrides import override_key
from metaplast.config.schema import GROUPS
from metaplast.io import write_text
from metaplast.runs.index import flatten
from metaplast.search.study import assignments
from metaplast.search.sweeper import NOT_OF_A_RUN
from metaplast.system import train_command

STATES = {TrialState.COMPLETE: "completed", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def reproducing(job: DictConfig, overrides: Sequence[str], loader: ConfigLoader) -> list[str]:
    """The overrides that give a single run the configuration of `job`, which was composed from `overrides`.

    These are the `overrides` that are not about the search, after the choices and before the settings that the search
    added. `job` has Hydra's section.
    """
    line = [o for o in overrides if override_key(o).partition(".")[0].partition("/")[0] not in NOT_OF_A_RUN]
    choices = job.hydra.runtime.choices
    chosen = [o for o in line if override_key(o) in choices]  # settings of other choices do not exist yet
    as_chosen = _compose(job, chosen, loader).hydra.runtime.choices
    line = [*(f"{group}={choices[group]}" for group in GROUPS if choices[group] != as_chosen[group]), *line]
    wanted, have = _leaves(job), _leaves(_compose(job, line, loader))
    for key, value in wanted.items():
        if key not in have or have[key] != value:
            line.append(f"{'' if key in have else '+'}{key}={shown(value)}")
    return line


def command_line(overrides: Sequence[str]) -> str:
    """The command, quoted for a shell.

    >>> command_line(["m=[0.5,1.0]", "seed=1"])
    "python src/train.py 'm=[0.5,1.0]' seed=1"
    """
    return f"{train_command()} {shlex.join(overrides)}"


def _compose(job: DictConfig, line: list[str], loader: ConfigLoader) -> DictConfig:
    return loader.load_configuration(job.hydra.job.config_name, line, run_mode=RunMode.RUN)


def _leaves(config: DictConfig) -> dict[str, Any]:
    sections: Any = OmegaConf.to_container(config, resolve=False)
    return flatten({key: value for key, value in sections.items() if key not in NOT_OF_A_RUN})


def report(study: Study, folder: Path, fixed: Sequence[str], config: DictConfig, loader: ConfigLoader) -> None:
    """Print the best trial of `study` and the line that reproduces it; write best.json and study.png to `folder`."""
    trials = study.get_trials(deepcopy=False)
    counts = Counter(STATES[trial.state] for trial in trials if trial.state in STATES)
    print(f"{folder}: {', '.join(f'{counts[word]} {word}' for word in STATES.values() if counts[word])}")
    if not counts["completed"]:
        return
    best = study.best_trial
    given = [*fixed, *assignments(best.params)]
    line = reproducing(loader.load_sweep_config(config, given), given, loader)
    _write_best(folder / "best.json", best, line, counts)
    _draw(folder / "study.png", folder.name, trials)
    print(f"best average accuracy on validation data: {100 * best.values[0]:.2f} % (trial {best.number})")
    print(f"the same again: {command_line(line)}")
    tested = [override for override in line if not override.startswith("eval_split=")]
    print(f"on test data:   {command_line(tested)}")
    print(f"all trials:     {folder / 'study.png'}")


def _write_best(target: Path, best: FrozenTrial, line: list[str], counts: Mapping[str, int]) -> None:
    content: dict[str, Any] = {
        "average_accuracy": best.values[0],
        "tested_on": "validation",
        "trial": best.number,
        "params": best.params,
        "overrides": line,
        "command": command_line(line),
        "trials": dict(counts),
    }
    write_text(target, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _draw(target: Path, name: str, trials: Sequence[FrozenTrial]) -> None:
    from metaplast.report.figures.search import Point, write_study_figure  # matplotlib

    points = [
        Point(trial.number, trial.state == TrialState.PRUNED, _accuracy(trial), trial.params)
        for trial in trials
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    ]
    log = {
        key
        for trial in trials
        for key, distribution in trial.distributions.items()
        if isinstance(distribution, FloatDistribution | IntDistribution) and distribution.log
    }
    write_study_figure(target, name, points, log)


def _accuracy(trial: FrozenTrial) -> float:
    """The result of a trial; of a pruned one, the average accuracy over the tasks that it trained."""
    return trial.values[0] if trial.values else trial.intermediate_values[max(trial.intermediate_values)]
