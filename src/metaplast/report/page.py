"""The page of a sweep: one HTML file with its pictures, settings and runs, which needs no network and no other file.

`templates/page.html` lays it out, and includes `page.css` and `page.js` beside it. Links are relative to the page. Each
picture is drawn as SVG, with its text in the page's font and its colors readable on light and on dark paper.
"""

import colorsys
import io
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import matplotlib
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metaplast.io import write_text
from metaplast.report.aggregate import Setting, Sweep, percent, text
from metaplast.report.console import heat
from metaplast.report.figures.sweep import (
    CURVES_SIZE,
    DRAWN_METRICS,
    draw_metric,
    draw_setting_curves,
    draw_setting_matrix,
    matrix_size,
    metric_height,
    shown,
)
from metaplast.report.protocol import METRIC_LABELS, common_protocol, metric_text, protocol
from metaplast.report.tables import best, seconds
from metaplast.runs.index import Run
from metaplast.runs.names import ACCURACY_CURVES_PNG, ACCURACY_MATRIX, ACCURACY_MATRIX_PNG, CONFIG, METRICS, SUMMARY
from metaplast.system import train_command

INK = "#222222"
STYLE: Any = {  # matplotlib types its settings by the name of each
    "svg.fonttype": "none",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
}
"""No background; text in another color than the black and white on a heat map, which stay as they are."""
COLOR = re.compile(r"(?<=: )#[0-9a-f]{6}\b")
LONG_NUMBER = re.compile(r"(?<=\d\.\d{3})\d+")


def inline_svg(name: str, about: str, size: tuple[float, float], draw: Callable[[Axes], object]) -> Markup:
    """Draw one pair of axes, and return the picture as an `<svg>` element.

    Args:
        name: unlike that of any other picture on the page; its identifiers begin with it.
        about: what the picture shows, for those who do not see it.
        size: width and height in inches.
        draw: draws on the axes it is given.
    """
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        target = io.StringIO()
        figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = target.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>|font-family: [^;\"]*; ?", "", svg, flags=re.DOTALL)  # the page's hold
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r"(url\(|href=\")#", rf"\1#{name}-", svg)
    svg = COLOR.sub(lambda match: light_and_dark(match[0]), LONG_NUMBER.sub("", svg))
    return Markup(f'<svg role="img" aria-label="{escape(about)}" {svg.removeprefix("<svg ").strip()}')


def light_and_dark(color: str) -> str:
    """Return a color that is the given one on light paper, and one as easily seen on dark paper.

    Grays change sides, so that faint stays faint; other colors are lightened where they are dark. White and black,
    which stand on colored cells, stay.

    >>> light_and_dark("#e6e6e6"), light_and_dark("#0d0887"), light_and_dark("#ffffff")
    ('light-dark(#e6e6e6,#333333)', 'light-dark(#0d0887,#908bf8)', '#ffffff')
    """
    if color in ("#ffffff", "#000000"):
        return color
    hue, lightness, saturation = colorsys.rgb_to_hls(*(int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)))
    on_dark = 0.92 - 0.8 * lightness if saturation < 0.05 else max(lightness, 0.9 - 0.5 * lightness)
    rgb = colorsys.hls_to_rgb(hue, on_dark, saturation)
    return f"light-dark({color},#{''.join(f'{round(255 * part):02x}' for part in rgb)})"


FACTS = {
    "strategy": "strategy",
    "m": "m",
    "scenario": "scenario",
    "n_tasks": "tasks",
    "model": "model",
    "widths": "widths",
    "epochs_per_task": "epochs a task",
    "batch_size": "batch size",
}
"""Entries of summary.json that stand at the head of the page where all runs agree, and their names there."""
PROTOCOL = ("normalization", "optimizer", "task boundary in training", "task label in testing", "tested on")
"""The parts of a `Protocol` as the page names them."""
FILES = (ACCURACY_CURVES_PNG, ACCURACY_MATRIX_PNG, ACCURACY_MATRIX, METRICS, CONFIG, SUMMARY)
"""Files of a run that the page links to."""
MAX_MATRIX = 30
"""The most tasks of a run whose matrix stands on the page; accuracy_matrix.csv holds it in any case."""


def write_page(target: Path, sweep: Sweep, title: str) -> None:
    """Write the page of `sweep` to `target`, atomically, under the heading `title`."""
    environment = Environment(
        loader=PackageLoader("metaplast.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html").render(page_content(target.parent, sweep, title))
    write_text(target, page)


def page_content(folder: Path, sweep: Sweep, title: str) -> dict[str, Any]:
    """The variables of the template, for a page in `folder`."""
    anchors = {id(run): f"run-{index}" for index, run in enumerate(sweep.runs)}
    drawn = shown(sweep)
    statuses = [run.status for run in sweep.runs]
    return {
        "title": title,
        "made": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "statuses": {status: statuses.count(status) for status in dict.fromkeys(sorted(statuses))},
        "facts": dict(_facts(sweep)),
        "differing": _differing(sweep),
        "axis": None if sweep.axis is None else sweep.name(sweep.axis),
        "plots": list(_plots(sweep)) if drawn else [],
        "settings": [_setting(index, setting, anchors) for index, setting in enumerate(drawn)],
        "left_out": len(sweep.completed) - len(drawn),
        "table": _table(sweep),
        "keys": [sweep.name(key) for key in sweep.keys],
        "metrics": {label.short_name: label.better for label in METRIC_LABELS.values()},
        "runs": [_run(run, sweep, folder, anchors[id(run)]) for run in sweep.runs],
    }


def _facts(sweep: Sweep) -> Iterator[tuple[str, str]]:
    """What all runs have in common."""
    told = [run.summary for run in sweep.runs if "strategy" in run.summary]
    for key, name in FACTS.items():
        values = {text(summary.get(key)) for summary in told}
        if len(values) == 1 and (value := values.pop()) != "–":
            yield name, value
    measured = [run.summary for run in sweep.runs if run.completed]
    if measured:
        yield from zip(PROTOCOL, common_protocol(measured), strict=True)


def _differing(sweep: Sweep) -> list[str]:
    """The parts of the protocol in which completed runs differ, so that their results are not comparable."""
    each = {protocol(run.summary) for run in sweep.runs if run.completed}
    return [name for name, values in zip(PROTOCOL, zip(*each, strict=True), strict=False) if len(set(values)) > 1]


def _plots(sweep: Sweep) -> Iterator[dict[str, Any]]:
    against = "by setting" if sweep.axis is None else f"against {sweep.name(sweep.axis)}"
    for key, words in DRAWN_METRICS.items():
        title = f"{words.partition(',')[0]} {against}".capitalize()
        size = 4.8, metric_height(sweep)
        yield {"title": title, "svg": inline_svg(key, title, size, partial(draw_metric, sweep=sweep, key=key))}


def _table(sweep: Sweep) -> dict[str, Any]:
    """The table of settings: each cell as its text and the value that it is sorted by."""
    rows = []
    for setting in sweep.settings:
        spreads = [setting.over_seeds(key) for key in METRIC_LABELS]
        rows.append(
            [
                *((text(value), _plain(value)) for value in setting.values.values()),
                (setting.seeds, len(setting.completed)),
                *((percent(spread), _plain(float(spread.mean))) for spread in spreads),
                (seconds(setting), _plain(float(setting.over_seeds("train_seconds").mean))),
            ]
        )
    return {
        "keys": [sweep.name(key) for key in (sweep.settings[0].values if sweep.settings else ())],
        "metrics": [f"{label.head} {label.better}" for label in METRIC_LABELS.values()],
        "rows": rows,
        "best": best(sweep),
    }


def _plain(value: Any) -> Any:
    """A value to sort by; empty where there is none."""
    return "" if value is None or value != value else value


def _setting(index: int, setting: Setting, anchors: Mapping[int, str]) -> dict[str, Any]:
    curves, matrix = (
        inline_svg(f"{draw.__name__}-{index}", f"{about}: {setting.label}", size, partial(draw, setting=setting))
        for about, size, draw in (
            ("Test accuracy on every task over the stream", CURVES_SIZE, draw_setting_curves),
            ("Accuracy matrix, mean over seeds", matrix_size([setting]), draw_setting_matrix),
        )
    )
    return {
        "label": setting.label,
        "seeds": setting.seeds,
        "metrics": [(label.short_name, percent(setting.over_seeds(key))) for key, label in METRIC_LABELS.items()],
        "protocol": " · ".join(common_protocol(run.summary for run in setting.completed).lines),
        "runs": [(text(run.seed), anchors[id(run)], run.status) for run in setting.runs],
        "curves": curves,
        "matrix": matrix,
    }


def _run(run: Run, sweep: Sweep, folder: Path, anchor: str) -> dict[str, Any]:
    place, R = os.path.relpath(run.path, folder), run.summary.get("accuracy_matrix") or []
    alone = {**{key: run.settings.get(key) for key in sweep.keys}, "seed": run.seed}
    values = {sweep.name(key): value for key, value in alone.items()}
    return {
        "name": place,
        "anchor": anchor,
        "status": run.status,
        "error": run.error,
        "values": [(name, text(value), _plain(value)) for name, value in values.items()],
        "metrics": [
            (label.short_name, metric_text(key, value := run.summary.get(key)).removesuffix(" %"), _plain(value))
            for key, label in METRIC_LABELS.items()
        ],
        "protocol": protocol(run.summary),
        "seconds": run.summary.get("train_seconds", ""),
        "tokens": " ".join(_tokens(run, place, values)).lower(),
        "command": train_command(),
        "overrides": None if run.overrides is None else shlex.join(run.overrides),
        "singled_out": shlex.join(
            f"{key.removesuffix('.name')}={value}" for key, value in alone.items() if value is not None
        ),
        "config": run.config,
        "matrix": [[_cell(value) for value in row] for row in R] if len(R) <= MAX_MATRIX else [],
        "versions": run.summary.get("versions") or {},
        "files": [(name, quote(f"{place}/{name}")) for name in FILES if (run.path / name).exists()],
    }


def _tokens(run: Run, place: str, values: Mapping[str, Any]) -> Iterator[str]:
    """The words by which the filter of the page finds a run; those of the form name=value have to match as a whole."""
    yield place
    told = protocol(run.summary)
    named = {
        **values,
        "status": run.status,
        "norm": run.summary.get("norm"),
        "optimizer": told.optimizer,
        "boundary": told.boundary,
        "label": told.label,
        "eval_split": run.summary.get("eval_split"),
    }
    for name, value in named.items():
        yield f"{name}={text(value)}".replace(" ", "")
    yield from (run.overrides or [])
    yield run.error or ""


def _cell(value: float | None) -> tuple[str, str, str]:
    """An accuracy in percent, and the background and text color of its cell."""
    if value is None:
        return "–", "transparent", "inherit"
    style = heat(value)
    paper, ink = style.bgcolor, style.color
    return f"{100 * value:.1f}", paper.triplet.hex if paper and paper.triplet else "", ink.name if ink else ""
