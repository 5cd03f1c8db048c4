"""The command line that says a job's configuration again, without the search around it.

What a search came to: printed, in best.json, and as a picture; after every call, on all trials of the study.
"""

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

from metaplast.config.overrides import key_of
from metaplast.config.schema import GROUPS
from metaplast.config.validate import shown
from metaplast.io import write_text
from metaplast.runs.index import flatten
from metaplast.search.checks import AROUND
from metaplast.search.space import assignments


def reproducing(job: DictConfig, overrides: Sequence[str], loader: ConfigLoader) -> list[str]:
    """The overrides with which a single run has the configuration of `job`, composed (Hydra's section included) from
    `overrides`.

    They are those of `overrides` that are not about the search, preceded by the choices and followed by the settings
    that the search brought with it.
    """
    line = [override for override in overrides if key_of(override).partition(".")[0].partition("/")[0] not in AROUND]
    choices = job.hydra.runtime.choices
    chosen = [override for override in line if key_of(override) in choices]  # settings may hang on what is not yet
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
    return f"python src/train.py {shlex.join(overrides)}"


def _compose(job: DictConfig, line: list[str], loader: ConfigLoader) -> DictConfig:
    return loader.load_configuration(job.hydra.job.config_name, line, run_mode=RunMode.RUN)


def _leaves(config: DictConfig) -> dict[str, Any]:
    sections: Any = OmegaConf.to_container(config, resolve=False)
    return flatten({key: value for key, value in sections.items() if key not in AROUND})


WORDS = {TrialState.COMPLETE: "completed", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def report(study: Study, folder: Path, fixed: Sequence[str], config: DictConfig, loader: ConfigLoader) -> None:
    """Print the best trial of `study` and the line that reproduces it; write best.json and study.png to `folder`."""
    trials = study.get_trials(deepcopy=False)
    counts = Counter(WORDS[trial.state] for trial in trials if trial.state in WORDS)
    print(f"{folder}: {', '.join(f'{counts[word]} {word}' for word in WORDS.values() if counts[word])}")
    if not counts["completed"]:
        return
    best = study.best_trial
    given = [*fixed, *assignments(best.params)]
    line = reproducing(loader.load_sweep_config(config, given), given, loader)
    _write_best(folder / "best.json", best, line, counts)
    _draw(folder / "study.png", folder.name, trials)
    print(f"best average accuracy on validation data: {100 * best.values[0]:.2f} % (trial {best.number})")
    print(f"the same again: {command_line(line)}")
    tested = [override for override in line if not override.startswith("test_on=")]
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
    """What a trial came to; of a pruned one, the average over the tasks that it got to see."""
    return trial.values[0] if trial.values else trial.intermediate_values[max(trial.intermediate_values)]
