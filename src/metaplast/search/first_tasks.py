"""The Hydra sweeper of `hparams=first_tasks`: chooses m on the first tasks, before the other tasks have been seen.

every candidate for m     first tasks only, tested on their validation data
the chosen m              all tasks, all training data, tested on the test data
(hindsight)               the same for the other candidates, which says what the choice costs
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from metaplast.config.constraints import shown
from metaplast.config.overrides import cli_overrides, override_key
from metaplast.config.targets import WIDTHS_OF
from metaplast.config.validate import n_layers
from metaplast.errors import UserError
from metaplast.private_api import sweep_jobs

M = float | list[float]

FIRST_TASKS = "hydra_plugins.metaplast.FirstTasks"
"""The sweeper's `_target_`; Hydra takes plugins from no other package."""
SET_HERE = ("m", "max_tasks", "eval_split")
"""The settings that this sweeper sets."""


def is_first_tasks(config: Any) -> bool:
    """Whether `config`, with Hydra's section, is that of a multirun that chooses m on the first tasks."""
    return bool(OmegaConf.select(config, "hydra.sweeper._target_") == FIRST_TASKS)


def check_first_tasks(config: DictConfig) -> None:
    """Raise UserError where there is no m to choose, or where a setting to be chosen was given."""
    settings = config.first_tasks
    if not config.strategy.uses_m:
        raise UserError(f"hparams=first_tasks: chooses m, which strategy={config.strategy.name} does not use")
    if config.strategy.task_order == "joint":
        raise UserError(f"hparams=first_tasks: strategy={config.strategy.name} has no first tasks")
    for override in cli_overrides(config):
        if override_key(override) in SET_HERE:
            raise UserError(f"{override}: cannot be given with hparams=first_tasks, which sets {', '.join(SET_HERE)}")
    if not settings.candidates:
        raise UserError("first_tasks.candidates=[]: has to hold at least one m")
    if settings.per_layer and config.model["_target_"] not in WIDTHS_OF:
        raise UserError(f"first_tasks.per_layer=true: the layers of model={config.model.name} are not known; use false")


class FirstTasks(Sweeper):
    """Chooses m and trains with it, for each combination of the other swept settings (usually seeds)."""

    config: DictConfig
    hydra_context: HydraContext
    launcher: Launcher

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra passes, and make the launcher."""
        from hydra.core.plugins import Plugins

        # The jobs are plain runs, to which this sweeper means nothing.
        config.hydra.overrides.hydra.append("hydra.mode=MULTIRUN")
        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        """Choose, train, and report in the directory of the sweep. Raises the error of the first failed job."""
        settings = self.config.first_tasks
        tried = candidates(
            OmegaConf.to_container(settings.candidates, resolve=True),  # type: ignore[arg-type]
            n_layers(self.config) if settings.per_layer else 1,
            settings.n_trials,
            self.config.seed,
        )
        combinations = _combinations(arguments)
        pairs = [(settled, m) for settled in combinations for m in tried]
        first = ["eval_split=validation", f"max_tasks={settings.n_tasks}"]
        validated = self._launch([[*settled, f"m={shown(m)}", *first] for settled, m in pairs], initial=0)

        rows = [
            {"settings": settled, "m": m, "validation_accuracy": job.return_value["average_accuracy"]}
            for (settled, m), job in zip(pairs, validated, strict=True)
        ]
        for settled in combinations:
            choices = [row for row in rows if row["settings"] is settled]
            best = max(choices, key=lambda row: row["validation_accuracy"])  # the first of equals
            for row in choices:
                row["chosen"] = row is best
        whole = [row for row in rows if row["chosen"] or settings.hindsight]
        tested = self._launch([[*row["settings"], f"m={shown(row['m'])}"] for row in whole], initial=len(pairs))
        for row, job in zip(whole, tested, strict=True):
            row["average_accuracy"] = job.return_value["average_accuracy"]
        _report(Path(self.config.hydra.sweep.dir), rows, settings.n_tasks, settings.hindsight)
        return [*validated, *tested]

    def _launch(self, jobs: list[list[str]], initial: int) -> Sequence[JobReturn]:
        returns = self.launcher.launch(jobs, initial_job_idx=initial)
        for job in returns:
            _ = job.return_value  # raises the error of a failed job: without its result no choice is fair
        return returns


def candidates(grid: Sequence[float], n_layers: int, n_trials: int, seed: int) -> Sequence[M]:
    """At most `n_trials` candidates for m: each value of `grid` in all layers, then random ones that differ by layer.

    >>> candidates([0, 1, 2], n_layers=1, n_trials=2, seed=0)
    [0, 1]
    >>> candidates([0, 1], n_layers=2, n_trials=9, seed=0)
    [[0, 0], [1, 1], [1, 0], [0, 1]]
    """
    if n_layers == 1:
        return [*grid][:n_trials]
    from metaplast.data.task_dataset import (
        random_permutation,  # imports torch, for which an invalid command need not wait
    )

    different = [list(layers) for layers in itertools.product(grid, repeat=n_layers) if len(set(layers)) > 1]
    drawn = [different[index] for index in random_permutation(len(different), seed).tolist()]
    return [*([m] * n_layers for m in grid), *drawn][:n_trials]


def _combinations(arguments: Sequence[str]) -> list[list[str]]:
    """Every combination of the other swept settings, without those of this sweeper."""
    ours = ("hparams", "first_tasks", "hydra")
    left = [
        override for override in arguments if override_key(override).partition(".")[0].partition("/")[0] not in ours
    ]
    return sweep_jobs(OverridesParser.create().parse_overrides(left))


def _report(folder: Path, rows: Sequence[dict[str, Any]], n_tasks: int, hindsight: bool) -> None:
    """Print each choice; write hindsight.csv, and with hindsight its picture."""
    from metaplast.report.figures.search import Tried, gap, write_first_tasks_csv, write_first_tasks_figure

    tried = [
        Tried(
            " ".join(row["settings"]), row["m"], row["validation_accuracy"], row.get("average_accuracy"), row["chosen"]
        )
        for row in rows
    ]
    write_first_tasks_csv(folder / "hindsight.csv", tried)
    combinations = [row["settings"] for row in rows]
    for settings in dict.fromkeys(" ".join(settings) for settings in combinations):
        alike = [one for one in tried if one.settings == settings]
        chosen = next(one for one in alike if one.chosen)
        assert chosen.average_accuracy is not None, "what is chosen is trained"
        swept = [words for words in settings.split(" ") if not all(words in others for others in combinations)]
        print(
            f"{' '.join([*swept, f'm={shown(chosen.m)}'])}: chosen of {len(alike)} after {n_tasks} tasks, "
            f"at {100 * chosen.validation_accuracy:.2f} % on their validation data; "
            f"{100 * chosen.average_accuracy:.2f} % on the test data of the whole stream"
        )
        if hindsight:
            best, points = gap(alike)
            print(f"  best in hindsight: m={shown(best.m)}, {points:.2f} points more")
    if hindsight:
        write_first_tasks_figure(folder / "hindsight.png", tried, n_tasks)
    print(f"all of them: {folder / 'hindsight.csv'}")
