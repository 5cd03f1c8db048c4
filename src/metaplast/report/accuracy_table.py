"""accuracy_table.csv and .md: the accuracy on each task at the end, a row for every setting (the paper's Table 1)."""

import csv
import io
import math
from collections.abc import Iterator
from pathlib import Path

from metaplast.atomic import write_text
from metaplast.report.over_seeds import Spread, percent
from metaplast.report.sweep import Setting, Sweep


def write(folder: Path, sweep: Sweep) -> list[Path]:
    """Write both forms of the table of all settings of `sweep` that have a completed run."""
    settings = [setting for setting in sweep.settings if setting.completed]
    targets = [folder / "accuracy_table.csv", folder / "accuracy_table.md"]
    write_text(targets[0], _csv(settings))
    write_text(targets[1], markdown_table(settings))
    return targets


def markdown_table(settings: list[Setting]) -> str:
    """A row a setting: the accuracy on each task after the last and their average, mean ± sd over seeds, in percent.

    `settings` have a completed run each; tasks that a setting does not have are left empty.
    """
    columns = max(len(_tasks(setting)) for setting in settings)
    head = ["setting", *(f"task {task}" for task in range(columns)), "average", "seeds"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for setting in settings:
        tasks = [percent(task) for task in _tasks(setting)]
        cells = [*tasks, *[""] * (columns - len(tasks)), percent(setting.over_seeds("average_accuracy"))]
        lines.append([setting.label.replace("|", "/"), *cells, setting.seeds])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _csv(settings: list[Setting]) -> str:
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(["setting", "task", "mean", "sd", "seeds"])
    for setting in settings:
        for task, spread in [*enumerate(_tasks(setting)), ("average", setting.over_seeds("average_accuracy"))]:
            writer.writerow([setting.label, task, *_digits(spread), spread.n])
    return content.getvalue()


def _tasks(setting: Setting) -> list[Spread]:
    """The last row of the accuracy matrix, over seeds, task by task."""
    matrix = setting.over_seeds("accuracy_matrix")
    return [Spread(mean, sd, matrix.n) for mean, sd in zip(matrix.mean[-1], matrix.sd[-1], strict=True)]


def _digits(spread: Spread) -> Iterator[str]:
    return ("" if math.isnan(float(value)) else repr(float(value)) for value in (spread.mean, spread.sd))
