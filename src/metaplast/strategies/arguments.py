"""Checks of the arguments that plugins share: each is one line for the user, before anything is trained."""

from collections.abc import Callable
from math import isfinite
from typing import Any, get_args

from metaplast.errors import UserError


def check_choice(key: str, value: str, choices: Any) -> None:
    """Raise UserError where `value` is none of the `choices`, a Literal."""
    if value not in get_args(choices):
        raise UserError(f"{key}={value}: choose from {', '.join(get_args(choices))}")


def check_number(key: str, value: Any, says: str, fits: Callable[[float], bool]) -> None:
    """Raise UserError where `value` is no finite number or does not fit, in words that `says` gives."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or not fits(value):
        raise UserError(f"{key}={value}: {says} is needed")


def check_not_negative(key: str, value: Any) -> None:
    """Raise UserError where `value` is no number >= 0."""
    check_number(key, value, "a number >= 0", lambda number: number >= 0)


def check_share(key: str, value: Any) -> None:
    """Raise UserError where `value` is no number from 0 to 1."""
    check_number(key, value, "a number from 0 to 1", lambda number: 0 <= number <= 1)


def check_count(key: str, value: Any, says: str = "an integer >= 1") -> None:
    """Raise UserError where `value` is no whole number >= 1."""
    check_number(key, value, says, lambda number: number >= 1 and number == int(number))
