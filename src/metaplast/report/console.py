"""What a run says on the terminal when it ends: the matrix, its four figures, the settings behind them, the folder."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

from metaplast.report.protocol import conditions, heading, scores

Cell = float | None
"""An accuracy, a fraction; None or NaN where it was not measured."""

HEAT = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""The colours of the figure's map (viridis) at 0, 25, 50, 75 and 100 %, as red, green, blue of 255."""

LABEL_WIDTH = 10  # "after task"
CELL_WIDTH = 6  # " 100.0"
PARTS_A_ROW = 10
"""Of a stream, how many parts stand beside each other."""
ASCII = str.maketrans("·–−↑↓", "|--^v")
"""Letter for letter, since styles are kept by position."""


def print_summary(summary: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the end of a run: accuracy matrix, four figures, settings, time and run directory.

    The matrix is coloured on a terminal, and plain text elsewhere or under NO_COLOR; where it is wider than the
    terminal, each task has a row instead: its accuracy when learned and at the end. The one column of a stream, whose
    parts share a test, is broken into rows of ten.

    Args:
        summary: what summary.json holds (DESIGN.md lists the keys), and `run_dir`.
        console: where to print; by default standard output.
    """
    console = console or Console()
    R: list[list[Cell]] = summary["accuracy_matrix"]
    fits = LABEL_WIDTH + CELL_WIDTH * len(R) <= console.width
    table = _stream if len(R[0]) == 1 < len(R) else _matrix if fits else _tasks
    for line in [
        Text(heading(summary), "bold"),
        Text(),
        *table(R),
        Text(),
        _scores(summary),
        Text("↑ more is better, ↓ less is better; forgetting, BWT and FWT in points", "dim"),
        Text(),
        *_settings(summary),
        Text(f"run directory: {summary['run_dir']}"),
    ]:
        if console.options.ascii_only:
            line.plain = line.plain.translate(ASCII).encode("ascii", "replace").decode()
        console.print(line, soft_wrap=True)  # a folder's name that is broken in two cannot be copied


def heat(fraction: float) -> Style:
    """Background in the colour of the figure's map at this accuracy, and black or white, whichever is read on it."""
    place = min(max(fraction, 0.0), 1.0) * (len(HEAT) - 1)
    below = min(int(place), len(HEAT) - 2)
    share = place - below
    red, green, blue = ((1 - share) * a + share * b for a, b in zip(HEAT[below], HEAT[below + 1], strict=True))
    return Style(color="black" if fraction > 0.55 else "white", bgcolor=Color.from_rgb(red, green, blue))


def _matrix(R: list[list[Cell]]) -> Iterator[Text]:
    yield Text(f"{'':{LABEL_WIDTH}}  test accuracy on task, %", "dim")
    yield Text("after task" + "".join(f"{j:>{CELL_WIDTH - 1}} " for j in range(len(R))), "dim")
    for i, row in enumerate(R):
        yield Text.assemble((f"{i:>{LABEL_WIDTH - 1}} ", "dim"), *(_cell(value) for value in row))


def _stream(R: list[list[Cell]]) -> Iterator[Text]:
    yield Text(f"{'':{LABEL_WIDTH}}  test accuracy after each part, %", "dim")
    columns = range(min(len(R), PARTS_A_ROW))
    yield Text("after part" + "".join(f"{f'+{j}':>{CELL_WIDTH - 1}} " for j in columns), "dim")
    for i in range(0, len(R), PARTS_A_ROW):
        cells = (_cell(row[0]) for row in R[i : i + PARTS_A_ROW])
        yield Text.assemble((f"{i:>{LABEL_WIDTH - 1}} ", "dim"), *cells)


def _tasks(R: list[list[Cell]]) -> Iterator[Text]:
    yield Text("test accuracy, %: of each task when it was learned and at the end", "dim")
    yield Text("  task  learned  at the end", "dim")
    for j, at_the_end in enumerate(R[-1]):
        yield Text.assemble((f"{j:>6}", "dim"), "   ", _cell(R[j][j]), "      ", _cell(at_the_end))
    yield Text("The whole matrix is wider than this terminal; accuracy_matrix.csv holds it.", "dim")


def _cell(value: Cell) -> Text:
    if value is None or math.isnan(value):
        return Text(f"{'–':>{CELL_WIDTH - 1}} ", "dim")
    return Text(f"{100 * value:{CELL_WIDTH - 1}.1f} ", heat(value))


def _scores(summary: Mapping[str, Any]) -> Text:
    parts = [
        Text.assemble(f"{score.short_name} ", (score.value, "bold"), f" {score.better}") for score in scores(summary)
    ]
    return Text("   ").join(parts)


def _settings(summary: Mapping[str, Any]) -> Iterator[Text]:
    told = conditions(summary)
    yield Text(f"norm {told.normalization} · optimizer {told.optimizer}")
    boundary, label = (_yes(summary[key]) for key in ("task_boundary_used", "task_label_used"))
    yield Text(f"task boundary used in training: {boundary} · task label used in testing: {label}")
    if summary.get("eval_split") == "validation":
        yield Text(f"tested on {told.tested_on}, not on the test data")
    seconds, speed = summary["train_seconds"], summary["samples_per_second"]
    yield Text(f"{summary['status']}: trained for {_duration(seconds)} at {speed:,.0f} samples a second")


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _duration(seconds: float) -> str:
    """Read seconds as a person would say them.

    >>> [_duration(seconds) for seconds in (4.21, 221, 7500)]
    ['4.2 s', '3 min 41 s', '2 h 05 min']
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
