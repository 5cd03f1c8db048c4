"""What one value may be, as a test and as the words that an error needs."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """What one setting may be.

    >>> integer(1).says, integer(1).accepts(0)
    ('an integer >= 1', False)
    """

    says: str
    """Completes the sentence "it has to be …"."""
    accepts: Callable[[Any], bool]
    """Whether a value, as plain Python, is allowed."""
    choices: Sequence[str] = ()
    """The words that are allowed, where there are only some."""


def integer(low: int, high: float = math.inf) -> Rule:
    """Return the rule for an integer from `low` to `high`, both allowed; true and 5.0 are no integers."""
    says = f"an integer >= {low}" if high == math.inf else f"an integer from {low} to {high}"
    return Rule(says, lambda value: type(value) is int and low <= value <= high)


def number(says: str, in_range: Callable[[float], bool]) -> Rule:
    """Return the rule for a number that is finite and `in_range`; `says` completes "a number …"."""
    return Rule(
        f"a number {says}", lambda value: type(value) in (int, float) and math.isfinite(value) and in_range(value)
    )


def one_of(*choices: str | bool) -> Rule:
    """Return the rule for one of a few words."""
    words = [str(choice).lower() for choice in choices]
    return Rule(
        f"one of {', '.join(words)}",
        lambda value: any(type(value) is type(choice) and value == choice for choice in choices),
        words,
    )


def list_of(rule: Rule, says: str, length: int | None = None) -> Rule:
    """Return the rule for a list, of `length` if given, whose items all keep to `rule`."""
    return Rule(
        says,
        lambda value: (
            isinstance(value, list) and length in (None, len(value)) and all(rule.accepts(item) for item in value)
        ),
    )


def either(*rules: Rule) -> Rule:
    """Return the rule that accepts what any of `rules` accepts."""
    return Rule(" or ".join(rule.says for rule in rules), lambda value: any(rule.accepts(value) for rule in rules))


NULL = Rule("null", lambda value: value is None)
BOOLEAN = one_of(True, False)
TEXT = Rule("a text (not empty)", lambda value: isinstance(value, str) and value.strip() != "")
POSITIVE = number("> 0", lambda value: value > 0)
NOT_NEGATIVE = number(">= 0", lambda value: value >= 0)
WIDTHS = list_of(integer(1), "a list of integers >= 1, such as [512,512]")
