"""How CPU threads wait."""

import os

import pytest

from metaplast.threads import yield_cores


@pytest.mark.parametrize(
    ("environment", "spin_count"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_threads_yield_unless_the_environment_says_otherwise(
    environment: dict[str, str], spin_count: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", environment)
    yield_cores()
    assert environment.get("GOMP_SPINCOUNT") == spin_count
