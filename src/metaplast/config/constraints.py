"""What a value may be: a test, the words that an error needs, and the same as a fragment of JSON Schema."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

LARGEST = 1e30
"""No number of a setting is larger, so that what 32-bit arithmetic makes of it stays finite."""
LARGEST_INTEGER = 2**31 - 1
"""No integer is larger unless its own constraint says so; torch indexes with it."""


class Constraint(NamedTuple):
    """The values that a setting accepts.

    >>> integer(1, 9).description, integer(1, 9).is_valid(0)
    ('an integer from 1 to 9', False)
    """

    description: str
    """Completes the sentence "expected …"."""
    is_valid: Callable[[Any], bool]
    """Whether a value, as plain Python, is accepted."""
    json: Mapping[str, Any]
    """The constraint in JSON Schema, for editors."""
    choices: Sequence[str] = ()
    """The accepted words, where there are only some."""


def integer(low: int, high: int = LARGEST_INTEGER) -> Constraint:
    """Return the constraint for an integer from `low` to `high`, both included; true and 5.0 are not integers."""
    description = f"an integer >= {low}" if high == LARGEST_INTEGER else f"an integer from {low} to {high}"
    return Constraint(
        description,
        lambda value: type(value) is int and low <= value <= high,
        {"type": "integer", "minimum": low, "maximum": high},
    )


def number(description: str, in_range: Callable[[float], bool], **json: float) -> Constraint:
    """Return the constraint for a finite number that is `in_range`.

    `description` completes "a number …", and `json` states the range in the keywords of JSON Schema.
    """
    return Constraint(
        f"a number {description}".rstrip(),
        lambda value: (
            type(value) in (int, float) and math.isfinite(value) and abs(value) <= LARGEST and in_range(value)
        ),
        {"type": "number", "minimum": -LARGEST, "maximum": LARGEST, **json},
    )


def one_of(*choices: str | bool) -> Constraint:
    """Return the constraint for one of a few words."""
    words = [str(choice).lower() for choice in choices]
    return Constraint(
        f"one of {', '.join(words)}",
        lambda value: any(type(value) is type(choice) and value == choice for choice in choices),
        {"enum": list(choices)},
        words,
    )


def list_of(item: Constraint, description: str, length: int | None = None, least: int = 0) -> Constraint:
    """Return the constraint for a list of `length`, or of at least `least`, whose items all satisfy `item`."""
    sizes = {"minItems": least} if length is None else {"minItems": length, "maxItems": length}
    return Constraint(
        description,
        lambda value: (
            isinstance(value, list)
            and length in (None, len(value))
            and len(value) >= least
            and all(item.is_valid(entry) for entry in value)
        ),
        {"type": "array", "items": dict(item.json), **sizes},
    )


def order_of(*words: str) -> Constraint:
    """Return the constraint for a list of some of `words`, at least one and none twice."""
    word = one_of(*words)
    return Constraint(
        f"a list of one or more of {', '.join(words)}, none of them twice",
        lambda value: (
            isinstance(value, list) and bool(value) and all(map(word.is_valid, value)) and len({*value}) == len(value)
        ),
        {"type": "array", "items": dict(word.json), "minItems": 1, "uniqueItems": True},
    )


def either(*constraints: Constraint) -> Constraint:
    """Return the constraint that accepts what any of `constraints` accepts."""
    return Constraint(
        " or ".join(constraint.description for constraint in constraints),
        lambda value: any(constraint.is_valid(value) for constraint in constraints),
        {"anyOf": [dict(constraint.json) for constraint in constraints]},
        [word for constraint in constraints for word in constraint.choices],
    )


NULL = Constraint("null", lambda value: value is None, {"type": "null"})
BOOLEAN = one_of(True, False)
TEXT = Constraint(
    "a text (not empty)",
    lambda value: isinstance(value, str) and value.strip() != "",
    {"type": "string", "pattern": r"\S"},
)
POSITIVE = number("> 0", lambda value: value > 0, exclusiveMinimum=0)
NOT_NEGATIVE = number(">= 0", lambda value: value >= 0, minimum=0)
FRACTION = number("from 0 to 1", lambda value: 0 <= value <= 1, minimum=0, maximum=1)
DEGREES = number("of degrees", lambda _: True)
WIDTHS = list_of(integer(1), "a list of integers >= 1, such as [512,512]")
M = either(NOT_NEGATIVE, list_of(NOT_NEGATIVE, "a list of such (one per weight layer)"))


def describe(value: Any) -> str:
    """Say what a value is, for the end of an error.

    >>> describe("5"), describe(True), describe(-1)
    ("the text '5'", 'true', '-1')
    """
    if isinstance(value, str):
        return f"the text {value!r}"
    if isinstance(value, Mapping):
        return "a section"
    if isinstance(value, list) and not value:
        return "an empty list"
    return shown(value)


def shown(value: Any) -> str:
    """Write a value as it is typed on the command line.

    >>> shown([True, None, 0.5, "a"])
    '[true,null,0.5,a]'
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(shown, value))}]"
    return str(value)


def problem(key: str, value: Any, constraint: Constraint, note: str = "") -> str:
    """Return the line that refuses a value: what was expected, and what came instead.

    >>> problem("seed", -1, integer(0))
    'seed=-1: expected an integer >= 0, got -1'
    """
    return f"{key}={shown(value)}{note}: expected {constraint.description}, got {describe(value)}"
