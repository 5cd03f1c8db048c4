"""Checks of arguments that come from Python, where no configuration was checked: the schema's, in the same words."""

from typing import Any

from metaplast.config.constraints import problem
from metaplast.config.schema import SETTINGS
from metaplast.config.targets import TARGETS
from metaplast.errors import UserError


def check_arguments(target: str, section: str = "", /, **values: Any) -> None:
    """Raise UserError for the first of `values` that the schema of `target` does not accept.

    `section`, such as "scenario", leads the key in the message. `seed`, which the run gives to every scenario, is known
    without being an argument that a configuration has.

    >>> check_arguments("metaplast.strategies.plugins.lwf.LwF", temperature=0)
    Traceback (most recent call last):
    metaplast.errors.UserError: temperature=0: expected a number > 0, got 0
    """
    for key, value in values.items():
        own = key in TARGETS[target]
        constraint = (TARGETS[target] if own else SETTINGS)[key].constraint
        plain = _plain(value)
        if not constraint.is_valid(plain):
            raise UserError(problem(f"{section}.{key}" if own and section else key, plain, constraint))


def check_divides(key: str, value: int, n_classes: int) -> None:
    """Raise UserError if `value`, that of setting `key`, is not a number of equal parts of `n_classes` classes."""
    if n_classes % value:
        raise UserError(f"{key}={value}: expected a number that divides the {n_classes} classes, got {value}")


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
