"""What Hydra composes a configuration from: the overrides of a command line, and the resolvers of interpolations.

Resolvers put two sizes, and several arms, side by side in one experiment file; importing this module registers them.

    epochs_per_task: ${by_budget:5,40}                      # budget=cpu, budget=paper
    m: ${by:strategy.name,{meta:1.35,joint_meta:1.35},null} # a value for each name, and one for all others
"""

import re
from pathlib import Path
from typing import Any

from omegaconf import Container, DictConfig, ListConfig, OmegaConf

TYPED_NOW = ("resume", "trust")
"""Settings of this command alone: no part of what a run or a sweep is, and never read from a run directory."""


def cli_overrides(config: DictConfig) -> list[str]:
    """Return every override that `config` was composed with, as it was typed; none if Hydra's section is gone."""
    overrides: list[str] = []
    for kind in ("task", "hydra"):
        node = OmegaConf.select(config, f"hydra.overrides.{kind}")
        if isinstance(node, ListConfig):
            # Unresolved: an override such as "m=${other}" is itself taken for an interpolation.
            overrides += map(str, OmegaConf.to_container(node, resolve=False))  # type: ignore[arg-type]
    return overrides


def override_key(override: str) -> str:
    """Return the key that `override` is about.

    >>> override_key("+model.depth=3"), override_key("~logger")
    ('model.depth', 'logger')
    """
    return override.lstrip("+~").partition("=")[0]


def quote_path(path: Path) -> str:
    """A path as the value of an override, in the quotes of Hydra's grammar where that needs them.

    >>> quote_path(Path("outputs/a")), quote_path(Path("m=1,2"))
    ('outputs/a', '"m=1,2"')
    """
    text = str(path)
    if re.fullmatch(r"(?!(?:null|true|false|nan|inf)$|\.\d)[A-Za-z./][\w./-]*", text, re.ASCII | re.IGNORECASE):
        return text
    # In Hydra's grammar a backslash escapes only where a quote follows.
    escaped = re.sub(r'(\\*)("|\Z)', lambda found: 2 * found[1] + ('\\"' if found[2] else ""), text)
    return f'"{escaped}"'


READS_BUDGET = "${by_budget:"


def by_budget(cpu: Any, paper: Any, *, _root_: Container) -> Any:
    """Return the first value at budget=cpu, the second at budget=paper.

    >>> OmegaConf.create({"budget": "paper", "epochs": "${by_budget:5,40}"}).epochs
    40
    """
    return paper if OmegaConf.select(_root_, "budget") == "paper" else cpu


def by(key: str, values: Any, otherwise: Any, *, _root_: Container) -> Any:
    """Return what `values` has for the value of the setting `key`, or `otherwise`.

    >>> arms = OmegaConf.create({"kind": "ewc", "m": "${by:kind,{meta:1.35},null}"})
    >>> arms.m is None
    True
    """
    return values.get(OmegaConf.select(_root_, key), otherwise)


def has_two_sizes(config: DictConfig) -> bool:
    """Whether any setting of `config`, or of what Hydra is to sweep, hangs on `budget`."""
    return READS_BUDGET in str(OmegaConf.to_container(config, resolve=False))


OmegaConf.register_new_resolver("by_budget", by_budget, replace=True)
OmegaConf.register_new_resolver("by", by, replace=True)
