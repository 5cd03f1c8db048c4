"""Checks of the arguments that scenarios share: each is one line for the user, before any data is looked for."""

from collections.abc import Sequence
from typing import Any

from metaplast.errors import UserError


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
