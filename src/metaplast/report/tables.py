"""The tables of a sweep: sweep.csv, a row for each run; the settings on the terminal; accuracy_table.csv and .md.

Rich prints and the standard library writes CSV; pandas would shorten neither, and cost half a second at each start.
"""

import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from metaplast.io import write_text
from metaplast.report.aggregate import Setting, Spread, Sweep, percent, text
from metaplast.report.protocol import METRIC_LABELS, common_protocol
from metaplast.runs.index import Run
from metaplast.runs.tables import to_csv

NO_COLUMN = {
    *("status", "error", "run_dir", "overrides"),  # columns of our own
    *("versions", "wandb", "accuracy_matrix", "accuracy_before_training"),  # more than one value
}
"""Entries of summary.json that are no column of sweep.csv."""
FILE_WIDTH = 160
"""Columns of the table in a file or a pipe."""
ASCII = str.maketrans("·–−↑↓±γ", "|--^v~g")


def write_sweep_csv(target: Path, sweep: Sweep) -> None:
    """Write one row a run to `target`, atomically.

    Columns: the run directory (relative to the file), status, error, the entries of summary.json without the matrix,
    the other settings of config.yaml that differ between the runs, and the overrides. Metrics are fractions with all
    their digits; unknown values are empty; lists, true and false are as in JSON.
    """
    rows = [_row(run, target.parent, sweep) for run in sweep.runs]
    columns = list(dict.fromkeys(column for row in rows for column in row if column != "overrides"))
    columns.append("overrides")
    fields = ([_field(row.get(column)) for column in columns] for row in rows)
    write_text(target, to_csv([columns, *fields]))


def print_sweep(sweep: Sweep, console: Console | None = None) -> None:
    """Print the table of settings, their protocol, and every run that is not completed.

    On a terminal narrower than the table its columns are folded; elsewhere lines are as long as they need to be.
    """
    console = console or Console()
    say = _ascii if console.options.ascii_only else str
    if sweep.settings:
        wide = console if console.is_terminal else Console(file=console.file, width=max(console.width, FILE_WIDTH))
        wide.print(_table(sweep, say))
    for line in [*_protocols(sweep), *_unfinished(sweep)]:
        line.plain = say(line.plain)
        console.print(line, soft_wrap=True)


def best(sweep: Sweep) -> int | None:
    """The index of the setting with the highest average accuracy; None if there are not two to compare."""
    means = [float(setting.over_seeds("average_accuracy").mean) for setting in sweep.settings]
    measured = [(mean, index) for index, mean in enumerate(means) if not math.isnan(mean)]
    return max(measured)[1] if len(measured) > 1 else None


def seconds(setting: Setting) -> str:
    """Mean seconds of training of a run."""
    mean = float(setting.over_seeds("train_seconds").mean)
    return "–" if math.isnan(mean) else f"{mean:.1f}"


def _row(run: Run, folder: Path, sweep: Sweep) -> dict[str, Any]:
    said = {key: value for key, value in run.summary.items() if key not in NO_COLUMN}
    # A key's value is the configuration's own; summary.json says it again for some, by their last part.
    rest = {key: run.settings.get(key) for key in sweep.keys if sweep.name(key) not in said}
    head = {"run": os.path.relpath(run.path, folder), "status": run.status, "error": run.error}
    return {**head, **said, **rest, "overrides": run.overrides}


def _field(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict | bool) else value


def _table(sweep: Sweep, say: Callable[[str], str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0))
    for key in sweep.settings[0].values:
        table.add_column(say(sweep.name(key)))
    for head in ["seeds", *(f"{label.head} {label.better}" for label in METRIC_LABELS.values()), "s a run"]:
        table.add_column(say(head), justify="right")
    highest = best(sweep)
    for index, setting in enumerate(sweep.settings):
        cells = [
            *map(text, setting.values.values()),
            setting.seeds,
            *(percent(setting.over_seeds(key)) for key in METRIC_LABELS),
            seconds(setting),
        ]
        table.add_row(*map(say, cells), style="bold" if index == highest else None)
    return table


def _protocols(sweep: Sweep) -> Iterator[Text]:
    measured = {s.label: common_protocol(run.summary for run in s.completed) for s in sweep.completed}
    if not measured:
        return
    yield Text("mean ± standard deviation over seeds; forgetting, BWT and FWT in points", "dim")
    alike = len(set(measured.values())) == 1
    for name, told in list(measured.items())[: 1 if alike else None]:
        yield Text(("" if alike else f"{name}: ") + " · ".join(told.lines))


def _unfinished(sweep: Sweep) -> Iterator[Text]:
    left = [run for run in sweep.runs if not run.completed]
    if left:
        yield Text(f"{len(left)} of {len(sweep.runs)} runs are not completed:")
    for run in left:
        why = f": {run.error.strip().splitlines()[0]}" if run.error and run.error.strip() else ""
        yield Text.assemble("  ", (run.status, "bold"), f" {run.path}{why}")
    for run in sweep.runs:
        if run.completed and not run.settings:
            yield Text(f"{run.path} is completed, but left no config.yaml, so that it is in no row")


def _ascii(words: str) -> str:
    return words.translate(ASCII).encode("ascii", "replace").decode()


def write_accuracy_table(folder: Path, sweep: Sweep) -> list[Path]:
    """Write the accuracy on each task at the end, for every setting with a completed run, and return both files."""
    settings = sweep.completed
    targets = [folder / "accuracy_table.csv", folder / "accuracy_table.md"]
    write_text(targets[0], _csv(settings))
    write_text(targets[1], markdown_table(settings))
    return targets


def markdown_table(settings: list[Setting]) -> str:
    """The accuracy on each task at the end and their average, a row a setting, mean ± sd over seeds, in percent.

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
    rows: list[list[Any]] = [["setting", "task", "mean", "sd", "seeds"]]
    for setting in settings:
        for task, spread in [*enumerate(_tasks(setting)), ("average", setting.over_seeds("average_accuracy"))]:
            rows.append([setting.label, task, float(spread.mean), float(spread.sd), spread.n])
    return to_csv(rows)


def _tasks(setting: Setting) -> list[Spread]:
    """The last row of the accuracy matrix, over seeds, task by task."""
    matrix = setting.over_seeds("accuracy_matrix")
    return [Spread(mean, sd, matrix.n) for mean, sd in zip(matrix.mean[-1], matrix.sd[-1], strict=True)]
