"""How CPU threads wait, and for how long."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from metaplast import threads
from metaplast.threads import hold_cores, waited_for_cores, yield_cores


@pytest.mark.parametrize(("policy", "spin_count"), [(yield_cores, "1000"), (hold_cores, "100000")])
@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, None), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "none")],
)
def test_threads_wait_as_asked_unless_the_environment_says_otherwise(
    policy: Callable[[], None],
    spin_count: str,
    environment: dict[str, str],
    expected: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "environ", dict(environment))
    monkeypatch.setattr(threads, "waited_for_cores", lambda: 0.0)
    policy()
    assert os.environ.get("GOMP_SPINCOUNT", "none") == (expected or spin_count)


def test_cores_are_held_only_where_the_system_tells_who_waits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(threads, "_OWN_THREADS", tmp_path / "nothing")
    assert waited_for_cores() is None
    hold_cores()
    assert os.environ == {"GOMP_SPINCOUNT": "1000"}


@pytest.mark.parametrize("content", ["", "12", "a b c"])
def test_a_file_that_says_nothing_is_no_answer(content: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "schedstat").write_text(content)
    monkeypatch.setattr(threads, "_OWN_THREADS", tmp_path)
    assert waited_for_cores() is None


def test_waits_of_all_threads_are_summed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, waited in (("1", 1_500_000_000), ("2", 500_000_000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "schedstat").write_text(f"99 {waited} 7\n")
    monkeypatch.setattr(threads, "_OWN_THREADS", tmp_path)
    assert waited_for_cores() == 2.0


@pytest.mark.skipif(waited_for_cores() is None, reason="the system does not count who waits")
def test_threads_that_share_a_core_wait_for_it() -> None:
    """Two threads of this process, bound to one core, that both have something to do without the interpreter's lock."""
    from hashlib import sha256

    before, cores = waited_for_cores(), os.sched_getaffinity(0)
    data = bytes(30_000_000)

    def work() -> None:
        os.sched_setaffinity(0, {min(cores)})  # of this thread alone
        sha256(data).digest()

    workers = [threading.Thread(target=work) for _ in range(2)]
    waited = []

    def watch() -> None:
        while any(worker.is_alive() for worker in workers):
            waited.append(waited_for_cores() or 0.0)

    for worker in workers:
        worker.start()
    watch()
    assert before is not None
    assert max(waited) > before
