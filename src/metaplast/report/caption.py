"""What a run was and what came out, in the words that every table and figure of it uses.

A `summary` is what summary.json holds; DESIGN.md lists its keys.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple


class Score(NamedTuple):
    """One of the four figures of an accuracy matrix, ready to be shown."""

    name: str
    short_name: str
    value: str
    """In percent; a dash where it is not defined."""
    better: str
    """An arrow: ↑ where a higher value is better, ↓ where a lower one is."""


def heading(summary: Mapping[str, Any]) -> str:
    """Name the run: strategy, m where it is used, scenario, model and seed.

    >>> heading({"strategy": "meta", "m": 1.3, "scenario": "pmnist", "model": "bnn", "seed": 0})
    'meta · m = 1.3 · pmnist · bnn · seed 0'
    """
    m = summary["m"]
    parts = [summary["strategy"], *([] if m is None else [f"m = {m_text(m)}"]), summary["scenario"], summary["model"]]
    return " · ".join([*parts, f"seed {summary['seed']}"])


def scores(summary: Mapping[str, Any]) -> list[Score]:
    """Average accuracy, forgetting, backward and forward transfer of a run, in percent; None or NaN becomes a dash.

    >>> [score.value for score in scores({"average_accuracy": 0.927, "forgetting": 0.041,
    ...                                   "backward_transfer": -0.04, "forward_transfer": None})]
    ['92.7 %', '4.1', '−4.0', '–']
    """
    return [
        Score("average accuracy", "average accuracy", _percent(summary["average_accuracy"], ".1f", " %"), "↑"),
        Score("forgetting", "forgetting", _percent(summary["forgetting"], ".1f"), "↓"),
        Score("backward transfer", "BWT", _percent(summary["backward_transfer"], "+.1f"), "↑"),
        Score("forward transfer", "FWT", _percent(summary["forward_transfer"], "+.1f"), "↑"),
    ]


def m_text(m: float | list[float]) -> str:
    """Write m, one number or one a layer, as figures have it.

    >>> m_text(1.0), m_text([0, 1.35])
    ('1', '0, 1.35')
    """
    return ", ".join(f"{value:g}" for value in m) if isinstance(m, list) else f"{m:g}"


def _percent(fraction: float | None, spec: str, unit: str = "") -> str:
    if fraction is None or math.isnan(fraction):
        return "–"
    value = round(100 * fraction, 1) + 0.0  # no minus before a zero
    return f"{value:{spec}}{unit}".replace("-", "−")
