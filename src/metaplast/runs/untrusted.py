"""A configuration that lies in a run directory is data: it names no code but ours, and reading it costs little.

Run directories are exchanged between people. What such a directory may have built when it is resumed or looked at is
listed here name by name; anything else has to be trusted by name on the command line (`trust=my_lab.negatives`).
"""

import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from metaplast.errors import UserError
from metaplast.io import read_regular
from metaplast.runs.names import translate_old_keys

_SCENARIOS = "metaplast.scenarios"
_MODELS = "metaplast.nn.models"
_PLUGINS = "metaplast.strategies.plugins"

SHIPPED: Mapping[str, frozenset[str]] = {
    "scenario": frozenset(
        {
            f"{_SCENARIOS}.cifar10_features",
            f"{_SCENARIOS}.cifar100_features",
            f"{_SCENARIOS}.cifar10_stream",
            f"{_SCENARIOS}.digits_stream",
            f"{_SCENARIOS}.fashion_mnist_stream",
            f"{_SCENARIOS}.mnist_usps",
            f"{_SCENARIOS}.permuted_digits",
            f"{_SCENARIOS}.permuted_fashion_mnist",
            f"{_SCENARIOS}.permuted_mnist",
            f"{_SCENARIOS}.rotated_mnist",
            f"{_SCENARIOS}.split_digits",
            f"{_SCENARIOS}.split_fashion_mnist",
            f"{_SCENARIOS}.split_mnist",
            f"{_SCENARIOS}.whole_datasets",
        }
    ),
    "model": frozenset(f"{_MODELS}.{name}" for name in ("bcnn", "bnn", "mlp", "vgg")),
    "optimizer": frozenset({"metaplast.optim.MetaplasticAdam", "metaplast.optim.MetaplasticSGD"}),
    "plugin": frozenset(
        {
            f"{_PLUGINS}.der.DER",
            f"{_PLUGINS}.ewc.AvalancheEWC",
            f"{_PLUGINS}.ewc.EWC",
            f"{_PLUGINS}.ewc.ewc_plugin",
            f"{_PLUGINS}.gem.AGEM",
            f"{_PLUGINS}.gem.GEM",
            f"{_PLUGINS}.lwf.LwF",
            f"{_PLUGINS}.mas.MAS",
            f"{_PLUGINS}.replay.Replay",
            f"{_PLUGINS}.rwalk.RWalk",
            f"{_PLUGINS}.si.SI",
        }
    ),
}
"""By what it is: every name that a run directory may give as a `_target_`, in full."""

CONFIG_BYTES = 256 * 1024
"""A configuration of ours has about 3,000 bytes."""
CONFIG_NODES = 20_000
CONFIG_DEPTH = 32
CONFIG_TEXT = 16 * 1024
"""Characters of one value."""
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)


def is_dotted_name(value: Any) -> bool:
    """Whether `value` is the full name of a function or class, such as "my_lab.negatives"."""
    return isinstance(value, str) and _DOTTED.fullmatch(value) is not None


def names_trusted(trust: Any) -> list[str]:
    """The names in the setting `trust`: a name, a list of names, or nothing.

    >>> names_trusted("my_lab.negatives"), names_trusted(None)
    (['my_lab.negatives'], [])
    """
    return [trust] if isinstance(trust, str) else list(trust or [])


def read_config_text(path: Path) -> str:
    """Read the text of a config.yaml that anybody may have written, once it is known to be cheap to parse.

    Raises:
        OSError: if it cannot be read, is no regular file of its folder, or is too large.
        ValueError: if it is no YAML, or has aliases, tags, or too many or too deeply nested values.
    """
    text = read_regular(path, CONFIG_BYTES, within=path.parent).decode()
    _check_events(text)
    return text


def load_saved_config(path: Path, trust: Collection[str] = ()) -> DictConfig:
    """Read the config.yaml of a run: plain values, and names of ours, those of older versions translated.

    Args:
        path: the file.
        trust: further names that may be built, as the user has typed them now.

    Raises:
        UserError: if it cannot be read, or holds an interpolation, a section of Hydra's or a name that is not trusted.
    """
    try:
        content = OmegaConf.load(io.StringIO(read_config_text(path)))
    except (OSError, ValueError, RecursionError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"its {path.name} cannot be read: {_in_a_line(error)}") from error
    if not isinstance(content, DictConfig) or content._is_none():
        raise UserError(f"its {path.name} holds no settings")
    try:
        plain = OmegaConf.to_container(content, resolve=False)
        assert isinstance(plain, dict)
        translate_old_keys(plain)
        plain = _Checked(trust).value((), plain)
    except UserError as error:
        raise UserError(f"its {path.name}: {error}") from None
    checked: DictConfig = OmegaConf.create(plain)
    return checked


def targets_in(config: Any) -> Iterator[str]:
    """Every `_target_` in a configuration, as plain values.

    >>> list(targets_in({"model": {"_target_": "my_lab.net", "parts": [{"_target_": "my_lab.part"}]}}))
    ['my_lab.net', 'my_lab.part']
    """
    for key, value in config.items() if isinstance(config, Mapping) else enumerate(config):
        if key == "_target_" and isinstance(value, str):
            yield value
        elif isinstance(value, Mapping | list):
            yield from targets_in(value)


class _Checked:
    """Checks values by the place where they stand, and returns them."""

    def __init__(self, trust: Collection[str]) -> None:
        self.trust = frozenset(trust)

    def value(self, place: tuple[str, ...], value: Any) -> Any:
        if isinstance(value, Mapping):
            return self._section(place, value)
        if isinstance(value, list):
            return [self.value((*place, str(index)), item) for index, item in enumerate(value)]
        if isinstance(value, str):
            self._text(place, value)
        elif value is not None and not isinstance(value, bool | int | float):
            raise UserError(
                f"{_key(place)}: expected a number, a text, a list or a section, got {type(value).__name__}"
            )
        return value

    def _section(self, place: tuple[str, ...], section: Mapping[Any, Any]) -> dict[Any, Any]:
        if place == () and "hydra" in section:
            raise UserError("hydra: expected no section of Hydra's own in the configuration of a run, got one")
        target = section.get("_target_")
        if "_target_" in section:
            target = self._target(place, target)
        for key in section:
            if isinstance(key, str):
                self._text(place, key)
            special = isinstance(key, str) and key.startswith("_") and key.endswith("_") and key != "_target_"
            if special and target not in self.trust:
                raise UserError(f"{_key((*place, key))}: expected no instruction to Hydra in a saved configuration")
        return {
            key: target if key == "_target_" else self.value((*place, str(key)), item) for key, item in section.items()
        }

    def _target(self, place: tuple[str, ...], name: object) -> str:
        key = _key((*place, "_target_"))
        if not isinstance(name, str) or not is_dotted_name(name):
            raise UserError(f"{key}={_quoted(name)}: expected the name of a function or class")
        if name in self.trust:
            return name
        kind = _kind(place)
        if kind is None:
            raise UserError(f"{key}={name}: expected a value: nothing is built here{_opt_in(name)}")
        if name not in SHIPPED[kind]:
            raise UserError(f"{key}={name}: expected a {kind} of metaplast{_opt_in(name)}")
        return name

    @staticmethod
    def _text(place: tuple[str, ...], text: str) -> None:
        if "${" in text:
            raise UserError(f"{_key(place)}={_quoted(text)}: expected a value, got an interpolation")


def _kind(place: tuple[str, ...]) -> str | None:
    """What is built from the section at `place`, if anything."""
    if len(place) == 3 and place[:2] == ("strategy", "plugins"):
        return "plugin"
    return {("scenario",): "scenario", ("model",): "model", ("strategy", "optimizer"): "optimizer"}.get(place)


def _opt_in(name: str) -> str:
    return f"; if you know this code and want it to run, add trust={name} (a script: --trust {name})"


def _check_events(text: str) -> None:
    """Look through a YAML document without building anything; ValueError for what a configuration never holds."""
    nodes = depth = 0
    for event in _events(text):
        if isinstance(event, yaml.events.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ValueError("expected no anchors and aliases (& and *)")
        if isinstance(event, yaml.events.NodeEvent):
            if nodes == 0 and not isinstance(event, yaml.events.MappingStartEvent):
                raise ValueError("expected settings, KEY: VALUE, got none")
            nodes += 1
            if getattr(event, "tag", None) is not None and event.tag != "!":
                raise ValueError(f"expected no tags, got {_quoted(event.tag)}")
        if len(getattr(event, "value", None) or "") > CONFIG_TEXT:
            raise ValueError(f"expected values of at most {CONFIG_TEXT:,} characters, got a longer one")
        depth += isinstance(event, yaml.events.CollectionStartEvent)
        depth -= isinstance(event, yaml.events.CollectionEndEvent)
        if nodes > CONFIG_NODES or depth > CONFIG_DEPTH:
            raise ValueError(f"expected at most {CONFIG_NODES:,} values and {CONFIG_DEPTH} levels, got more")


def _events(text: str) -> Iterator[Any]:
    try:
        yield from yaml.parse(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ValueError(_in_a_line(error)) from error


def _key(place: Sequence[str]) -> str:
    """Where a value stands, as Hydra writes it: strategy.plugins[0].alpha."""
    parts = (f"[{part}]" if part.isdecimal() else f".{_quoted(part)}" for part in place)
    return "".join(parts).lstrip(".") or "the configuration"


def _quoted(value: Any) -> str:
    """A value as one short printable word."""
    text: str = ascii(value)[1:-1] if isinstance(value, str) else ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _in_a_line(error: BaseException) -> str:
    said: str = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= 300 else said[:297] + "..."
