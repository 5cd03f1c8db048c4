"""The word that was probably meant.

What Hydra and OmegaConf have to say about a command line, in our words: the key, the value, what is allowed.
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from metaplast.config.overrides import override_key
from metaplast.config.reference import choices, groups
from metaplast.errors import UserError
from metaplast.runs.names import OLD_KEYS


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the entry of `known` that `word` begins or is most like, or None.

    Of a dotted key, what stands after the last dot is enough.

    >>> closest("epochs", ["seed", "epochs_per_task"])
    'epochs_per_task'
    >>> closest("optimizer.lr", ["seed", "strategy.optimizer.lr"])
    'strategy.optimizer.lr'
    >>> closest("xyz", ["seed"]) is None
    True
    """
    meant: dict[str, str] = {}
    for key in known:
        meant.setdefault(key, key)
        meant.setdefault(_last(key), key)
    for attempt in (word, _last(word)):
        begun = [candidate for candidate in meant if len(attempt) > 2 and candidate.startswith(attempt)]
        for candidate in begun or difflib.get_close_matches(attempt, meant, n=1, cutoff=0.7):
            return meant[candidate]
    return None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return " (did you mean …?)" to put behind an error, or nothing where no entry of `known` is like `word`."""
    match = closest(word, known)
    return f" (did you mean {match}?)" if match else ""


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def explain(error: BaseException, arguments: Sequence[str], conf: Path) -> str:
    """Return what to tell the user about an error that came up before any run started.

    `arguments` is the command line and `conf` the directory of the configuration.
    """
    cause = error.__cause__
    if isinstance(error, UserError):
        return str(error)
    for argument in arguments:
        if override_key(argument) in OLD_KEYS:
            return f"{argument}: {override_key(argument)} is now {OLD_KEYS[override_key(argument)]}"
    if isinstance(error, MissingConfigException):
        return _no_such_choice(error, arguments)
    if isinstance(error, OverrideParseException):
        return _not_readable(error)
    if isinstance(error, HydraException) and isinstance(cause, ConfigKeyError | ConfigAttributeError):
        return _unknown_key(error, cause)
    special = _old_group(error) or _several_values(error) or _wrong_plus(error, arguments) or _no_name(arguments, conf)
    return special or _said(error, arguments)


def _no_such_choice(error: MissingConfigException, arguments: Sequence[str]) -> str:
    missing = str(error.missing_cfg_file)
    group, _, choice = missing.rpartition("/")
    for argument in arguments:  # a choice may have slashes of its own, as a path has
        key, _, value = argument.partition("=")
        if value and f"{override_key(key)}/{value}" == missing:
            group, choice = override_key(key), value
    if not group:
        return f"{choice}: there is no such file in the configuration directory"
    asker = re.match(r"In '(.*?)'", str(error))
    elsewhere = f" (asked for by {asker[1]}.yaml)" if asker and group not in map(override_key, arguments) else ""
    options = list(error.options or ["nothing"])
    guess = did_you_mean(choice, options)
    return f"{group}={choice}{elsewhere}: there is no such choice{guess}; {group} is one of {', '.join(options)}"


def _not_readable(error: OverrideParseException) -> str:
    override = error.override
    if not re.match(r"\+{0,2}[\w./@$-]+=|~", override):
        return f"{override}: is not KEY=VALUE, such as m=1.3 (no spaces around the =)"
    reason = next(line for line in error.message.splitlines() if not line.startswith("Error parsing"))
    if re.match("Lexer|no viable", reason):
        reason = "quotes or brackets do not match"
    reason = re.sub(r"^.* while evaluating '.*?': ", "", reason)
    reason = re.sub(r"^extraneous input (.*) expecting .*", r"\1 is not expected here", reason)
    return f"{override}: cannot be read: {reason} (a list is [1,2], a text with special characters is '\"a, b\"')"


def _unknown_key(error: HydraException, cause: OmegaConfBaseException) -> str:
    unknown = str(cause.full_key)
    section, _, leaf = unknown.rpartition(".")
    appendable = re.search(r"use \+(.*)", str(error))
    start = f"{appendable[1] if appendable else unknown}: there is no setting {unknown}"
    root = cause.parent_node._get_root() if cause.parent_node is not None else None
    if not isinstance(root, DictConfig):
        return start
    of_hydra = unknown.startswith("hydra.")
    every = [key for key in _keys(root) if (key.partition(".")[0] == "hydra") == of_hydra]
    inside = [key for key in every if key.rpartition(".")[0] == section]
    near = closest(leaf, inside)
    guess = f" (did you mean {near}?)" if near else did_you_mean(unknown, every)
    names = [key.rpartition(".")[2] for key in inside]
    if not names:
        return f"{start}, since {section} is a single value"
    return f"{start}{guess}; {f'{section} has' if section else 'the settings are'} {', '.join(names)}"


def _old_group(error: BaseException) -> str | None:
    """Name the new group where a file overrides one of an earlier release."""
    match = re.search(r"Could not override '(\w+)[@']", str(error))
    if match and match[1] in OLD_KEYS:
        return f"{match[1]}: {match[1]} is now {OLD_KEYS[match[1]]}"
    return None


def _several_values(error: BaseException) -> str | None:
    """Put in words that a single run was given a sweep."""
    match = re.search(r"^Ambiguous value for argument '(.*)'\n|^Sweep parameters '(.*)' requires", str(error))
    if match is None:
        return None
    key, _, values = (match[1] or match[2]).partition("=")
    as_list = f", or write {key}=[{values}] for a list" if match[1] else ""
    return f"{key}={values}: is more than one value; add -m to run each{as_list}"


def _wrong_plus(error: BaseException, arguments: Sequence[str]) -> str | None:
    """Put in words that something was added which is there."""
    there = re.search("An item is already at '(.*?)'|appears more than once|force-add of config groups", str(error))
    if there:
        for argument in arguments:
            if argument.startswith("+") and override_key(argument) in (there[1] or str(error)):
                plain = argument.lstrip("+")
                some = f" (++{plain} where only some choices of a sweep have it)" if "already at" in str(error) else ""
                return f"{argument}: {override_key(argument)} is there already; write {plain}{some}"
    return None


def _no_name(arguments: Sequence[str], conf: Path) -> str | None:
    """Find the override that gives a group something which cannot be the name of a choice, such as null or 3."""
    for argument in arguments:
        key, value = override_key(argument), argument.partition("=")[2]
        if not key and not argument.startswith("-"):
            return f"{argument}: is not KEY=VALUE, such as m=1.3"
        if key in groups(conf) and re.fullmatch(r"null|true|false|[\d.+-]+", value):
            return f"{argument}: there is no such choice; {key} is one of {', '.join(choices(conf, key))}"
    return None


def _keys(node: DictConfig, prefix: str = "") -> list[str]:
    """Return the dotted keys of all settings below `node`."""
    keys = []
    for key in map(str, node):
        child = node._get_node(key)
        below = _keys(child, f"{prefix}{key}.") if isinstance(child, DictConfig) and not child._is_none() else []
        keys += [f"{prefix}{key}", *below]
    return keys


def _said(error: BaseException, arguments: Sequence[str]) -> str:
    """Return the error's own message in a line, led by the key or the arguments that it is about."""
    parts = [error, *([error.__cause__] if isinstance(error.__cause__, OmegaConfBaseException) else [])]
    noise = re.compile(r"(full_key|object_type|reference_type|Config search path|provider|Error merging override).*")
    lines = [line.strip() for part in parts for line in str(part).splitlines()]
    message = " ".join(line for line in lines if line and not noise.match(line)) or type(error).__name__
    if not isinstance(error, HydraException | OmegaConfBaseException):
        message += " (HYDRA_FULL_ERROR=1 shows where)"
    about = re.sub(r"\[(.*?)\]", r".\1", getattr(parts[-1], "full_key", None) or "")
    named = [argument for argument in arguments if about and about.startswith(override_key(argument))]
    return f"{' '.join(named or ([about] if about else arguments))}: {message}"
