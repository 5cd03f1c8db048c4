"""Constraints: exactly the values that they say."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaplast.config.constraints import (
    BOOLEAN,
    LARGEST,
    NOT_NEGATIVE,
    NULL,
    POSITIVE,
    TEXT,
    WIDTHS,
    Constraint,
    either,
    integer,
    list_of,
    one_of,
)

ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers()))


@given(st.integers(), st.integers(0, 10), st.integers(10, 20))
def test_an_integer_is_accepted_between_its_bounds(value: int, low: int, high: int) -> None:
    assert integer(low, high).is_valid(value) == (low <= value <= high)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_finite_number_is_accepted_by_its_sign(value: float) -> None:
    assert NOT_NEGATIVE.is_valid(value) == (0 <= value <= LARGEST)
    assert POSITIVE.is_valid(value) == (0 < value <= LARGEST)


@pytest.mark.parametrize("constraint", [integer(0), NOT_NEGATIVE, POSITIVE])
@pytest.mark.parametrize("value", [True, float("nan"), float("inf"), "1", None, [1]])
def test_what_is_no_number_is_not_accepted_as_one(constraint: Constraint, value: Any) -> None:
    assert not constraint.is_valid(value)


@given(ANYTHING)
def test_words_are_accepted_by_value_and_type(value: Any) -> None:
    assert one_of("auto", True).is_valid(value) == (value == "auto" or value is True)
    assert BOOLEAN.is_valid(value) == isinstance(value, bool)
    assert TEXT.is_valid(value) == (isinstance(value, str) and value.strip() != "")


@given(st.lists(st.integers(-2, 5)))
def test_a_list_is_accepted_if_each_item_and_the_length_are(value: list[int]) -> None:
    assert WIDTHS.is_valid(value) == all(item >= 1 for item in value)
    assert list_of(integer(1), "two", length=2).is_valid(value) == (WIDTHS.is_valid(value) and len(value) == 2)


@given(ANYTHING)
def test_either_accepts_what_one_of_its_constraints_accepts(value: Any) -> None:
    assert either(integer(1), NULL).is_valid(value) == (integer(1).is_valid(value) or value is None)
