"""From a configuration node to an object: the one place that calls Hydra's `instantiate`, which Hydra 1.4 changes."""

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from metaplast.config.targets import TARGETS
from metaplast.errors import UserError

LABELS = ("name",)
"""What a summary calls the choice; not an argument of its target."""
HYDRA_KEYS = ("_target_", "_args_", "_partial_", "_recursive_", "_convert_")
"""What Hydra's `instantiate` reads itself."""


class Kind(NamedTuple):
    """What a target has to be: known before it is called, since a call may do anything."""

    words: str
    """Completes the sentence "expected …"."""
    is_class: Callable[[type], bool]
    """Whether a class, or the class that a function says it returns, is one."""
    given: tuple[str, ...] = ()
    """Arguments that the run hands over; a function that takes them all by name need not say what it returns."""


def partial(node: DictConfig, kind: Kind | None = None) -> functools.partial[Any]:
    """Return the target of `node` with the node's settings bound, to be called with what only the run knows.

    Nodes inside it that have a target are built; lists and dictionaries arrive as Python's own. Raises UserError where
    the target is missing, cannot be imported, is not of the `kind` given or refuses a setting.

    >>> from omegaconf import OmegaConf
    >>> area = partial(OmegaConf.create({"_target_": "math.dist", "_args_": [[0, 0]], "name": "from the origin"}))
    >>> area([3, 4])
    5.0
    """
    key = _node_key(node)
    if "_target_" not in node:
        raise UserError(f"{key} has no _target_, the function or class to build it with")
    arguments = node.copy()
    arguments._set_parent(node._get_parent())  # interpolations look upwards
    with read_write(arguments), open_dict(arguments):
        for label in LABELS:
            arguments.pop(label, None)
    try:
        if kind is not None:  # before anything inside the node is built
            located = instantiate(OmegaConf.create({"_target_": node["_target_"]}), _partial_=True)
            _check_kind(node, located.func, kind)
        target: functools.partial[Any] = instantiate(arguments, _partial_=True, _convert_="all")
    except InstantiationException as error:
        if error.__cause__ is not None and not isinstance(error.__cause__, ImportError):
            raise error.__cause__ from None  # raised by a target inside the node, so it speaks for itself
        reason = " ".join(str(error.__cause__ or error).split())
        raise UserError(f"{key}._target_={node._get_node('_target_')} cannot be used: {reason}") from error
    return target


def build(node: DictConfig, kind: Kind | None = None, /, **extra: Any) -> Any:
    """Call the target of `node`, of the `kind` given, with the node's settings and with `extra`, passed on untouched.

    Raises UserError where the target does not take a setting, lacks one, or refuses one itself; any other error of the
    target comes as it was raised.
    """
    target = partial(node, kind)
    _check_arguments(node, target, extra)
    return target(**extra)


def _check_kind(node: DictConfig, target: Any, kind: Kind) -> None:
    if inspect.isclass(target):
        fits = kind.is_class(target)
    elif inspect.isfunction(target) or inspect.ismethod(target):
        returned = _returned_classes(target)
        takes = inspect.signature(target).parameters
        fits = all(map(kind.is_class, returned)) if returned else bool(kind.given) and set(kind.given) <= takes.keys()
    else:
        fits = False
    if not fits:
        raise UserError(
            f"{_node_key(node)}._target_={node['_target_']}: expected {kind.words}: a class, or a function whose "
            "return annotation names one; it was not called"
        )


def _returned_classes(function: Callable[..., Any]) -> list[type]:
    """The classes in the return annotation of a function; none where it says nothing."""
    try:
        annotation = get_type_hints(function).get("return", Any)
    except Exception:  # an annotation is any expression
        return []
    annotations = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else [annotation]
    classes = [get_origin(one) or one for one in annotations]
    return [] if Any in classes else [one if inspect.isclass(one) else type(None) for one in classes]


def shared_arguments(strategy: DictConfig, plugin: DictConfig) -> dict[str, Any]:
    """Return the arguments of `plugin`, one of ours, that stand in the section `strategy` under the same names.

    So that conf/strategy/*.yaml states each once, where the user sets it. What `plugin` itself has goes first.
    """
    names = [name for name in TARGETS.get(plugin["_target_"], ()) if name in strategy and name not in plugin]
    values = {name: strategy[name] for name in names}
    return {
        name: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for name, value in values.items()
    }


def _check_arguments(node: DictConfig, target: functools.partial[Any], extra: dict[str, Any]) -> None:
    """Say in terms of the configuration what Python would say as a TypeError of a function that the user never saw."""
    try:
        signature = inspect.signature(target.func)
    except ValueError:  # some built-in functions do not tell
        return
    key, name = _node_key(node), str(node["_target_"])
    passed = target.keywords | extra
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values()):
        for argument in passed:
            if argument not in signature.parameters:
                source = f"{key}.{argument}" if argument in target.keywords else f"{argument}, given to every {key},"
                raise UserError(f"{source} is not taken by {name}, which takes {', '.join(signature.parameters)}")
    try:
        signature.bind(*target.args, **passed)
    except TypeError as error:
        raise UserError(f"{key}: {name} cannot be called: {error}") from None


def _node_key(node: DictConfig) -> str:
    return node._get_full_key(None) or "the configuration"
