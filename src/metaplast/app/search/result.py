"""What a search came to: printed, in best.json, and as a picture; after every call, on all trials of the study."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from metaplast.app.search.command_line import command_line, reproducing
from metaplast.app.search.space import assignments
from metaplast.atomic import write_text

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
    from metaplast.report.study_figure import Point, write_study_figure  # matplotlib

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
