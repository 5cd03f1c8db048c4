"""How CPU threads wait, and for how long.

What a training process asks of its machine does happen, in a process of its own, since it stays.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from metaplast import system as threads
from metaplast.system import available_cpus, default_threads, hold_cores, threads_per_job, waited_for_cores, yield_cores


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


@pytest.mark.parametrize(("environment", "then"), [({}, "1000"), ({"GOMP_SPINCOUNT": "100000"}, "100000")])
def test_who_has_held_cores_can_yield_them_but_for_what_the_environment_said(
    environment: dict[str, str], then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(environment))
    monkeypatch.setattr(threads, "_chosen", None)
    monkeypatch.setattr(threads, "waited_for_cores", lambda: 0.0)
    hold_cores()
    assert os.environ["GOMP_SPINCOUNT"] == "100000"
    yield_cores()
    assert os.environ["GOMP_SPINCOUNT"] == then


def test_cores_are_held_only_where_the_system_tells_who_waits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(threads, "_OWN_THREADS", tmp_path / "nothing")
    assert waited_for_cores() is None
    hold_cores()
    assert os.environ == {"GOMP_SPINCOUNT": "1000"}


@pytest.mark.parametrize("content", ["", "12", "a b c", "0 0 0"], ids=["empty", "short", "no number", "switched off"])
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


def test_a_thread_that_has_ended_counts_no_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "schedstat").write_text("99 1000000000 7\n")
    (tmp_path / "2").mkdir()
    monkeypatch.setattr(threads, "_OWN_THREADS", tmp_path)
    assert waited_for_cores() == 1.0


@pytest.mark.skipif(waited_for_cores() is None, reason="the system does not count who waits")
def test_threads_that_share_a_core_wait_for_it() -> None:
    """Two threads of this process, bound to one core, that both have something to do without the interpreter's lock."""
    core, together = min(os.sched_getaffinity(0)), threading.Barrier(2)
    data, waited = bytes(60_000_000), []

    def own() -> int:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1])

    def work() -> None:
        os.sched_setaffinity(0, {core})  # of this thread alone
        together.wait()
        before = own()
        sha256(data).digest()
        waited.append(own() - before)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert max(waited) > 1_000_000  # ns; a thread that runs is let go after some milliseconds


FAULTS = """
import resource, sys, torch
from metaplast.system import keep_freed_memory
assert keep_freed_memory()
def some_steps(n):
    for _ in range(n):
        arrays = [torch.ones(400_000) for _ in range(8)]; del arrays
some_steps(5)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
some_steps(50)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def answer(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_memory_that_is_freed_is_kept_and_costs_no_page_faults() -> None:
    # Without it they cost nothing or 150,000, as the heap happens to lie.
    assert int(answer(FAULTS)) < 5_000


FLAGS = """
from pathlib import Path
from metaplast.system import keep_freed_memory
assert keep_freed_memory()
_, *heap = Path("/proc/self/smaps").read_text().split("[heap]")  # in two parts, if only one is aligned
print(*(line for part in heap for line in part.splitlines()[:30] if line.startswith("VmFlags")))
"""


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").is_dir(), reason="no large pages to ask for")
def test_large_pages_are_asked_for_behind_the_kept_memory() -> None:
    assert "hg" in answer(FLAGS).split()


def test_a_limit_of_addresses_is_left_alone() -> None:
    code = "import resource; resource.setrlimit(resource.RLIMIT_DATA, (2**31, 2**31))" + FLAGS
    assert "hg" not in answer(code).split()


V2, V1 = "0::{}\n", "7:memory:/a\n4:cpu,cpuacct:{}\n0::/\n"


@pytest.mark.parametrize(
    ("groups", "files", "cpus"),
    [
        (V2.format("/"), {"cpu.max": "200000 100000"}, 2),
        (V2.format("/"), {"cpu.max": "250000 100000"}, 2),
        (V2.format("/"), {"cpu.max": "50000 100000"}, 1),  # half a CPU
        (V2.format("/"), {"cpu.max": "max 100000"}, 8),
        (V2.format("/"), {"cpu.max": "9900000 100000"}, 8),  # more than there are
        (V2.format("/pod/box"), {"pod/cpu.max": "300000 100000", "pod/box/cpu.max": "max 100000"}, 3),
        (V2.format("/pod/box"), {"cpu.max": "200000 100000"}, 2),  # a path as the host sees it
        (V1.format("/"), {"cpu,cpuacct/cpu.cfs_quota_us": "400000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 4),
        (V1.format("/d"), {"cpu,cpuacct/d/cpu.cfs_quota_us": "-1", "cpu,cpuacct/d/cpu.cfs_period_us": "100000"}, 8),
        (V1.format("/"), {"cpu,cpuacct/cpu.cfs_quota_us": "400000", "cpu,cpuacct/cpu.cfs_period_us": "0"}, 8),
        (V2.format("/"), {"cpu.max": "a b c"}, 8),
        (V2.format("/"), {}, 8),
        ("", {"cpu.max": "200000 100000"}, 8),
        (None, {}, 8),
    ],
)
def test_the_cpu_quota_of_a_container_limits_the_cpus(
    groups: str | None, files: dict[str, str], cpus: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(threads, "_OWN_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(threads, "_CGROUPS", tmp_path / "fs")
    if groups is not None:
        (tmp_path / "cgroup").write_text(groups)
    for name, content in files.items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(content + "\n")
    assert available_cpus() == cpus


@pytest.mark.parametrize(
    ("asked", "expected", "in_a_job"),
    [(None, 8, 4), ("1", 1, 1), (" 3 ", 3, 3), ("6,2", 6, 4), ("0", 8, 4), ("many", 8, 4), ("", 8, 4), ("16", 16, 4)],
)
def test_omp_num_threads_is_the_number_of_threads_unless_the_configuration_has_one(
    asked: str | None, expected: int, in_a_job: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "available_cpus", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert default_threads() == expected
    assert threads_per_job(OmegaConf.create({"n_jobs": 2})) == in_a_job


HOME = """
import getpass, os, sys
from pathlib import Path
from metaplast.system import ensure_home
if len(sys.argv) > 1: os.setuid(int(sys.argv[1]))
ensure_home()
(Path.home() / ".avalanche").mkdir(exist_ok=True)
print(getpass.getuser(), Path.home(), os.environ.get("NETRC"))
"""


def home(environment: dict[str, str], *arguments: str) -> tuple[str, Path, str, str]:
    """User, home, NETRC and warning of a process with these variables."""
    kept = {key: value for key, value in os.environ.items() if key not in ("HOME", "LOGNAME", "USER", "NETRC")}
    command = [sys.executable, "-c", HOME, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env={**kept, **environment})
    user, folder, netrc = ended.stdout.split()
    return user, Path(folder), netrc, ended.stderr


def test_a_home_that_works_is_left_alone(tmp_path: Path) -> None:
    assert home({"HOME": str(tmp_path), "LOGNAME": "me"}) == ("me", tmp_path, "None", "")
    assert [path.name for path in tmp_path.iterdir()] == [".avalanche"]


@pytest.mark.parametrize("kind", ["/proc", "/nowhere/at/all", "a file", "read-only"])
def test_a_home_that_cannot_be_written_to_is_replaced_for_the_time_of_the_run(kind: str, tmp_path: Path) -> None:
    if kind == "a file":
        (tmp_path / kind).touch()
    elif kind == "read-only":
        (tmp_path / kind).mkdir()
        (tmp_path / kind / ".netrc").touch()
        (tmp_path / kind).chmod(0o555)
    folder = kind if kind.startswith("/") else str(tmp_path / kind)
    root_may_write = kind == "read-only" and os.getuid() == 0
    if root_may_write:
        tmp_path.chmod(0o755)
        pytest.skip("root writes to it")
    user, replacement, netrc, warning = home({"HOME": folder, "LOGNAME": "me"})
    assert user == "me"
    assert f"the home folder {folder} is not writable" in warning
    assert str(replacement) in warning
    assert not replacement.exists()
    assert netrc == (f"{folder}/.netrc" if kind == "read-only" else "None")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_a_user_whom_the_system_does_not_know_has_a_name_and_a_home() -> None:
    user, replacement, _, warning = home({}, "54321")
    assert user == "54321"
    assert "is not writable" in warning
    assert not replacement.exists()
