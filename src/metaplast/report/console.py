"""The end of a run on the terminal: accuracy matrix, metrics, protocol, and the run directory."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

from metaplast.report.protocol import METRIC_LABELS, metric_text, protocol, run_title
from metaplast.runs.names import ACCURACY_MATRIX

Cell = float | None
"""An accuracy, a fraction; None or NaN where it was not measured."""

VIRIDIS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""The colors of the pictures' map at 0, 25, 50, 75 and 100 %, as red, green, blue of 255."""

LABEL_WIDTH = 10  # "after task"
CELL_WIDTH = 6  # " 100.0"
PARTS_A_ROW = 10
"""Of a stream, how many parts stand beside each other."""
MAX_ROWS = 30
"""The most tasks that have a row; of more, so many that are evenly spaced."""
ASCII = str.maketrans("·–−↑↓", "|--^v")
"""Letter for letter, since styles are kept by position."""


def print_summary(summary: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the end of a run: accuracy matrix, four metrics, protocol, time and run directory.

    The matrix is colored on a terminal, and plain text elsewhere or under NO_COLOR; where it is wider than the
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
        Text(run_title(summary), "bold"),
        Text(),
        *table(R),
        Text(),
        _metrics(summary),
        Text("↑ more is better, ↓ less is better; forgetting, BWT and FWT in points", "dim"),
        Text(),
        *_protocol(summary),
        Text(f"run directory: {summary['run_dir']}"),
    ]:
        if console.options.ascii_only:
            line.plain = line.plain.translate(ASCII).encode("ascii", "replace").decode()
        console.print(line, soft_wrap=True)  # a folder's name that is broken in two cannot be copied


def heat(fraction: float) -> Style:
    """The color of this accuracy in the pictures as background, and black or white, whichever is read on it."""
    place = min(max(fraction, 0.0), 1.0) * (len(VIRIDIS) - 1)
    below = min(int(place), len(VIRIDIS) - 2)
    share = place - below
    red, green, blue = ((1 - share) * a + share * b for a, b in zip(VIRIDIS[below], VIRIDIS[below + 1], strict=True))
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
    n_tasks, rows = len(R), min(len(R), MAX_ROWS)
    for j in [round(row * (n_tasks - 1) / max(1, rows - 1)) for row in range(rows)]:
        yield Text.assemble((f"{j:>6}", "dim"), "   ", _cell(R[j][j]), "      ", _cell(R[-1][j]))
    yield Text(f"The whole matrix is wider than this terminal; {ACCURACY_MATRIX} holds it.", "dim")


def _cell(value: Cell) -> Text:
    if value is None or math.isnan(value):
        return Text(f"{'–':>{CELL_WIDTH - 1}} ", "dim")
    return Text(f"{100 * value:{CELL_WIDTH - 1}.1f} ", heat(value))


def _metrics(summary: Mapping[str, Any]) -> Text:
    parts = [
        Text.assemble(f"{label.short_name} ", (metric_text(key, summary[key]), "bold"), f" {label.better}")
        for key, label in METRIC_LABELS.items()
    ]
    return Text("   ").join(parts)


def _protocol(summary: Mapping[str, Any]) -> Iterator[Text]:
    first, second, tested_on = protocol(summary).lines
    yield Text(first)
    yield Text(second)
    if summary.get("eval_split") == "validation":
        yield Text(f"{tested_on}, not on the test data")
    seconds, speed = summary["train_seconds"], summary["samples_per_second"]
    yield Text(f"{summary['status']}: trained for {_duration(seconds)} at {speed:,.0f} samples a second")


def _duration(seconds: float) -> str:
    """Seconds in words.

    >>> [_duration(seconds) for seconds in (4.21, 221, 7500)]
    ['4.2 s', '3 min 41 s', '2 h 05 min']
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
