"""Checks of the arguments that plugins share: each is one line for the user, before anything is trained.

Checks of the arguments that scenarios share: each is one line for the user, before any data is looked for.
"""

from collections.abc import Callable, Sequence
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


def check_whole(key: str, value: Any, least: int, most: int | None = None) -> None:
    """Raise UserError if `value`, that of setting `key`, is not an integer from `least` to `most` (None: any)."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        allowed = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise UserError(f"{key}={value}: an integer {allowed} is needed.")


def check_divides(key: str, value: Any, n_classes: int) -> None:
    """Raise UserError if `value`, that of setting `key`, is not a number of equal parts of `n_classes` classes."""
    check_whole(key, value, least=1)
    if n_classes % value:
        raise UserError(f"{key}={value}: has to divide the {n_classes} classes.")


def check_word(key: str, value: Any, words: Sequence[str]) -> None:
    """Raise UserError if `value`, that of setting `key`, is none of `words`."""
    if value not in words:
        raise UserError(f"{key}={value}: has to be one of {', '.join(words)}.")


def check_true_or_false(key: str, value: Any) -> None:
    """Raise UserError if `value`, that of setting `key`, is not a boolean."""
    if not isinstance(value, bool):
        raise UserError(f"{key}={value}: has to be true or false.")


def check_order(key: str, value: Any, words: Sequence[str]) -> None:
    """Raise UserError if `value`, that of setting `key`, is not a list of different ones of `words`, at least one."""
    given = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    if not given or any(word not in words or given.count(word) > 1 for word in given):
        raise UserError(f"{key}={value}: a list of one or more of {', '.join(words)}, none of them twice, is needed.")
