"""What a run is called in W&B: words from which a person knows it among a thousand, and finds its sweep."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from metaplast.app.overrides import key_of
from metaplast.report.caption import heading

LONGEST = 128
"""Characters of a name that W&B takes."""
SAID = ("strategy", "m", "scenario", "model", "seed", "data_dir", "resume")
"""Settings that every name says in its own words, or that are no matter of what is run."""


def labels(
    summary: Mapping[str, Any], overrides: Sequence[str], experiment: str | None, sweep_dir: str | None
) -> dict[str, Any]:
    """Name, group, tags and notes of a run.

    Args:
        summary: what summary.json holds when a run starts.
        overrides: the command line's, those of a sweep included.
        experiment: the choice of that name, if there is one.
        sweep_dir: the folder of the sweep that the run belongs to, if it does.

    >>> run = {"strategy": "meta", "m": 1.3, "scenario": "pmnist", "model": "bnn", "seed": 0}
    >>> found = labels(run, ["m=1.3", "batch_size=50"], None, "outputs/multirun/2026-11-24/10-00-00")
    >>> found["name"], found["group"], found["notes"]
    ('meta · m = 1.3 · pmnist · bnn · seed 0 · batch_size=50', '2026-11-24 10-00-00', 'm=1.3 batch_size=50')
    """
    others = [override for override in overrides if _tells(key_of(override))]
    name = " · ".join([heading(summary), *others])
    return {
        "name": name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…",
        "group": None if sweep_dir is None else sweep_name(sweep_dir),
        "tags": [summary["strategy"], summary["scenario"], summary["model"], *([experiment] if experiment else [])],
        "notes": " ".join(overrides) or None,
    }


def labels_of_job(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Name, group, tags and notes of the run that this process was told to make; its overrides are in `summary`."""
    if not HydraConfig.initialized():
        return labels(summary, [], None, None)
    hydra = HydraConfig.get()
    sweep_dir = hydra.sweep.dir if hydra.mode == RunMode.MULTIRUN else None
    return labels(summary, summary["overrides"], hydra.runtime.choices.get("experiment"), sweep_dir)


def sweep_name(sweep_dir: str) -> str:
    """Name a sweep by its folder: the last one, and the one above where that is a date.

    >>> sweep_name("outputs/multirun/2026-11-24/10-00-00"), sweep_name("outputs/m and seeds/")
    ('2026-11-24 10-00-00', 'm and seeds')
    """
    *_, above, last = ["", *(part for part in sweep_dir.split("/") if part)]
    return f"{above} {last}" if re.fullmatch(r"\d{4}-\d{2}-\d{2}", above) else last


def _tells(key: str) -> bool:
    return key not in SAID and key.partition(".")[0].partition("/")[0] not in ("logger", "trainer", "hydra")
