"""How a run and its figures are worded."""

import math
from typing import Any

import pytest

from metaplast.report.caption import heading, scores


@pytest.mark.parametrize(
    ("m", "expected"),
    [
        (None, "meta · pmnist · bnn · seed 0"),
        (0, "meta · m = 0 · pmnist · bnn · seed 0"),
        (1.35, "meta · m = 1.35 · pmnist · bnn · seed 0"),
        ([1.3, 0.5, 2.0], "meta · m = 1.3, 0.5, 2 · pmnist · bnn · seed 0"),
    ],
)
def test_m_is_named_where_it_is_used(summary: dict[str, Any], m: Any, expected: str) -> None:
    assert heading(summary | {"m": m}) == expected


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0417, "+4.2"), (-0.0417, "−4.2"), (-0.0001, "+0.0"), (None, "–"), (math.nan, "–")]
)
def test_transfer_is_shown_with_its_sign_and_what_is_undefined_as_a_dash(
    summary: dict[str, Any], value: float | None, shown: str
) -> None:
    assert [score.value for score in scores(summary | {"backward_transfer": value})][2] == shown
