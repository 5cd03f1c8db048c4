"""Keys that nothing reads: a misspelt setting is refused wherever it was written, with the key that was meant.

The arguments of a target are read from its source file: nothing is imported, so nothing takes time.
"""

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from metaplast.config.constraints import shown
from metaplast.config.instantiate import HYDRA_KEYS, LABELS
from metaplast.config.messages import closest
from metaplast.config.overrides import cli_overrides, override_key
from metaplast.config.schema import FROM_THE_RUN, SETTINGS
from metaplast.config.targets import TARGETS
from metaplast.runs.names import OLD_KEYS

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


Parameters = dict[str, str | None]
"""By name, the default as it is written in the source; None where there is no default."""


def parameters(target: str, depth: int = 8) -> Parameters | None:
    """Return what may be passed to `target`, a dotted path, by keyword.

    None where the source does not tell: no Python file, a decorated function, `**kwargs`, or more than `depth`
    re-exports and base classes on the way.

    >>> parameters("fnmatch.translate"), parameters("math.dist"), parameters("no_such_module.f")
    ({'pat': None}, None, None)
    """
    module, _, name = target.rpartition(".")
    path = _file_of(module)
    if path is None or depth == 0:
        return None
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError, ValueError):
        return None
    for node in reversed(tree.body):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return None if node.decorator_list else _arguments(node.args, skip=0)
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _of_class(node, module, depth)
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return parameters(f"{_origin(node, module, path)}.{alias.name}", depth - 1)
    return None


def _of_class(node: ast.ClassDef, module: str, depth: int) -> Parameters | None:
    if node.decorator_list or node.keywords:  # a dataclass, or a metaclass, which may do anything
        return None
    methods = {method.name: method for method in node.body if isinstance(method, ast.FunctionDef)}
    if "__new__" in methods:
        return None
    if "__init__" in methods:
        init = methods["__init__"]
        return None if init.decorator_list else _arguments(init.args, skip=1)
    if len(node.bases) == 1 and isinstance(node.bases[0], ast.Name):
        return parameters(f"{module}.{node.bases[0].id}", depth - 1)
    return None


def _arguments(args: ast.arguments, skip: int) -> Parameters | None:
    if args.kwarg is not None:
        return None
    positional = [*args.posonlyargs, *args.args]
    without = len(positional) - len(args.defaults)
    found: Parameters = {
        arg.arg: ast.unparse(args.defaults[i - without]) if i >= without else None
        for i, arg in enumerate(positional)
        if i >= max(skip, len(args.posonlyargs))
    }
    for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        found[arg.arg] = None if default is None else ast.unparse(default)
    return found


def _origin(node: ast.ImportFrom, module: str, path: Path) -> str:
    """Return the absolute name of the module that `node`, in `module`, imports from."""
    if not node.level:
        return node.module or ""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def _file_of(module: str) -> Path | None:
    first, *rest = module.split(".")
    if not first or (first in sys.modules and getattr(sys.modules[first], "__spec__", None) is None):
        return None
    try:
        spec = importlib.util.find_spec(first)  # of a top-level name, which imports nothing
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    for location in spec.submodule_search_locations or ():
        base = Path(location, *rest)
        for candidate in (base / "__init__.py", base.with_suffix(".py")):
            if candidate.is_file():
                return candidate
    return None
