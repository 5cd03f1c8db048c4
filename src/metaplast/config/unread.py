"""Keys that nothing reads: a misspelt setting is refused wherever it was written, with the key that was meant."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from metaplast.config.constraints import shown
from metaplast.config.instantiate import HYDRA_KEYS, LABELS
from metaplast.config.messages import closest
from metaplast.config.overrides import cli_overrides, override_key
from metaplast.config.schema import FROM_THE_RUN, SETTINGS
from metaplast.config.signatures import parameters
from metaplast.config.targets import TARGETS
from metaplast.runs.old_keys import OLD_KEYS

NAMED = ("scenario", "model", "strategy", "logger")
"""Sections whose label is read: summaries and errors show it."""
CHANGED_BY_RESUME = ("trainer", "logger")
"""Sections that a resumed run takes from the command line; all others were checked when the run was started."""

Targets = Mapping[str, tuple[str, list[str] | None]]
"""By section, its `_target_` and what that takes; None where its source does not tell."""


def unread_keys(config: DictConfig) -> Iterator[str]:
    """Yield a line for each key of `config` that neither the schema, nor a target, nor an interpolation reads."""
    whole = OmegaConf.to_container(config, resolve=False)
    assert isinstance(whole, dict)
    tree = {str(key): value for key, value in whole.items() if key != "hydra"}
    references, targets = _references(whole), dict(_targets(tree))
    typed = {override_key(override): override for override in cli_overrides(config)}
    known = [
        *SETTINGS,
        *_shared(targets),
        *(f"{place}.{name}" for place in targets for name in targets[place][1] or ()),
    ]
    resumed = isinstance(tree.get("resume"), str)
    replaced = {place: target for place, (target, _) in targets.items() if f"{place}._target_" in typed}
    for place, target in replaced.items():
        yield from _left_over(tree, place, target, targets, typed)
    for key, value in _leaves(tree):
        if key not in typed and any(key.startswith(f"{place}.") for place in replaced):
            continue
        if any(f"{key}.".startswith(f"{place}.") and place not in targets for place in FROM_THE_RUN):
            continue  # the missing target is refused by itself
        if resumed and key.partition(".")[0] not in CHANGED_BY_RESUME:
            continue
        reason = _why_unread(key, targets, references)
        if reason is not None and key in OLD_KEYS:
            yield f"{typed.get(key, f'{key}={shown(value)}')}: {key} is now {OLD_KEYS[key]}"
            continue
        if reason is None:
            yield from _broken_references(config, key, value, known)
            continue
        section = key.rpartition(".")[0]
        siblings = [name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == section]
        guess = _guess(key, siblings, known)
        takes = f"; {section} takes {', '.join(siblings)}" if section and siblings else ""
        yield f"{typed.get(key, f'{key}={shown(value)}')}: {reason}{guess}{takes}"


def _left_over(
    tree: Mapping[str, Any], place: str, target: str, targets: Targets, typed: Mapping[str, str]
) -> Iterator[str]:
    """Refuse, in one line, what the choice has for its own target and the one on the command line does not take."""
    keys = [key for key, _ in _leaves(tree) if key.startswith(f"{place}.") and key not in typed]
    left = [key for key in keys if _why_unread(key, targets, (set(), set())) is not None]
    if left:
        names = " and ".join(key.removeprefix(f"{place}.") for key in left)
        yield f"{typed[f'{place}._target_']}: does not take {names}; remove with {' '.join(f'~{key}' for key in left)}"


def _guess(key: str, siblings: list[str], known: list[str]) -> str:
    section, _, leaf = key.rpartition(".")
    match = next((name for name in known if name.rpartition(".")[2] == leaf), None)
    if match is None and (sibling := closest(leaf, siblings)):
        match = f"{section}.{sibling}" if section else sibling
    match = match or (None if siblings else closest(key, known))
    return f" (did you mean {match}?)" if match else ""


def _why_unread(key: str, targets: Targets, references: tuple[set[str], set[str]]) -> str | None:
    """Return why nothing reads `key`, None where something does."""
    place = max((place for place in targets if key.startswith(f"{place}.")), key=len, default=None)
    if place is not None:
        target, accepted = targets[place]
        name = re.split(r"[.\[]", key.removeprefix(f"{place}."))[0]
        if name in FROM_THE_RUN.get(place, ()):
            return f"the run itself gives {name} to {target}"
        if accepted is None or name in (*accepted, *LABELS, *HYDRA_KEYS):
            return None
        return f"nothing reads it, since {target} does not take {name}"
    section, _, leaf = key.rpartition(".")
    words, sections = references
    if key in SETTINGS or key == "strategy.plugins" or any(key.startswith(f"{setting}.") for setting in SETTINGS):
        return None
    if (section in NAMED and leaf in LABELS) or key in _shared(targets) or key in words:
        return None
    if any(key.startswith(f"{referenced}.") for referenced in sections):
        return None
    return f"nothing reads {key}"


def _shared(targets: Targets) -> list[str]:
    """Return the keys of the section strategy that are arguments of our own plugins."""
    plugins = [target for place, (target, _) in targets.items() if place.startswith("strategy.plugins[")]
    return [f"strategy.{name}" for target in plugins for name in TARGETS.get(target, ())]


def _targets(node: Any, place: str = "") -> Iterator[tuple[str, tuple[str, list[str] | None]]]:
    """Yield every section below `node` that has a `_target_`."""
    if isinstance(node, dict):
        target = node.get("_target_")
        if place and isinstance(target, str):
            yield place, (target, _accepted(place, target))
        for key, value in node.items():
            yield from _targets(value, f"{place}.{key}" if place else str(key))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from _targets(value, f"{place}[{i}]")


def _accepted(place: str, target: str) -> list[str] | None:
    if target in TARGETS:
        return [*TARGETS[target]]
    found = parameters(target)
    return None if found is None else [name for name in found if name not in FROM_THE_RUN.get(place, ())]


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the key and the value of everything below `node` that is no section and no list of sections."""
    if isinstance(node, dict) and (node or not key):
        for name, value in node.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list) and any(isinstance(item, dict) for item in node):
        for i, value in enumerate(node):
            yield from _leaves(value, f"{key}[{i}]")
    else:
        yield key, node


def _references(tree: Any) -> tuple[set[str], set[str]]:
    """Return the keys that interpolations name, and those that are interpolated as they are, with all below them."""
    words: set[str] = set()
    sections: set[str] = set()
    for _, value in _leaves(tree):
        for text in map(str, value if isinstance(value, list) else [value]):
            if "${" in text:
                words.update(re.findall(r"[A-Za-z_][\w.]*(?:\[\d+\])?", text))
                sections.update(re.findall(r"\$\{([A-Za-z_][\w.]*)\}", text))
    return words, sections


def _broken_references(config: DictConfig, key: str, value: Any, known: list[str]) -> Iterator[str]:
    """Refuse an interpolation of a key that is not there; of known settings the check of the value says so."""
    text = str(value)
    for selected in re.findall(r"\$\{oc\.select:([\w.]+)\}", text):
        if OmegaConf.select(config, selected) is None and not _is_there(config, selected):
            yield f"{key}={shown(value)}: there is no setting {selected}"
            return
    if "${" in text and "${hydra" not in text and key not in known:
        try:
            OmegaConf.select(config, key)
        except OmegaConfBaseException as error:
            yield f"{key}={shown(value)}: {str(error).splitlines()[0]}"


def _is_there(config: DictConfig, key: str) -> bool:
    section, _, leaf = key.rpartition(".")
    node = OmegaConf.select(config, section) if section else config
    return isinstance(node, DictConfig) and leaf in map(str, node)
