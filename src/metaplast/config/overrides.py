"""The overrides of a command line, as Hydra keeps them beside the configuration that it composed from them."""

import re
from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf

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
