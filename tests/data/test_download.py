"""Files are used where they lie, else fetched, checked and put in place whole, by any number of processes.

Sources bring their files with the clients of package registries, and fail within a bounded time in one line.

The clients are replaced by scripts of the same name, so that no network is needed.
"""

import gzip
import hashlib
import logging
import os
import pty
import socket
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from torchvision import datasets

from metaplast.data import download as sources
from metaplast.data.download import DebianPackage, FileSet, NpmPackage, Source, SourceError, Torchvision, fetch
from metaplast.errors import UserError

PYTHONPATH = {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}  # a relative one would be lost in another folder
CONTENT = {"images": b"pixels" * 1000, "labels": b"classes" * 10}


@dataclass
class Local:
    """A source on this machine that counts how often it is asked."""

    content: dict[str, bytes] = field(default_factory=lambda: dict(CONTENT))
    asked: int = 0

    def __str__(self) -> str:
        return "a local copy"

    def download(self, folder: Path) -> None:
        self.asked += 1
        (folder / "deep").mkdir()
        for name, content in self.content.items():
            (folder / "deep" / name).write_bytes(content)


class Absent:
    """A source that cannot be reached."""

    def __str__(self) -> str:
        return "an absent server"

    def download(self, folder: Path) -> None:
        raise SourceError("no answer")


def files_from(*sources: Source) -> FileSet:
    sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
    return FileSet("Toys", ("toys", "TOYS/raw"), sha256, sources)


def read(paths: dict[str, Path]) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in paths.items()}


def test_missing_files_are_fetched_from_the_first_source_that_has_them_and_only_once(tmp_path: Path) -> None:
    source, spare = Local(), Local()
    files = files_from(Absent(), source, spare)
    assert read(fetch(files, tmp_path)) == CONTENT
    assert read(fetch(files, tmp_path)) == CONTENT
    assert (source.asked, spare.asked) == (1, 0)
    assert sorted(path.name for path in (tmp_path / "toys").iterdir()) == [".lock", "images", "labels"]


def test_gzipped_files_of_a_source_are_put_in_place_decompressed(tmp_path: Path) -> None:
    source = Local({name + ".gz": gzip.compress(content) for name, content in CONTENT.items()})
    assert read(fetch(files_from(source), tmp_path)) == CONTENT


@pytest.mark.parametrize("folder", ["toys", "TOYS/raw"])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_files_that_are_there_are_used_as_they_lie_and_nothing_is_written(
    tmp_path: Path, folder: str, ending: str
) -> None:
    (tmp_path / folder).mkdir(parents=True)
    for name in CONTENT:
        (tmp_path / folder / (name + ending)).write_bytes(b"whatever lies here")
    before = sorted(tmp_path.rglob("*"))
    assert fetch(files_from(), tmp_path) == {name: tmp_path / folder / (name + ending) for name in CONTENT}
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_that_is_there_is_kept_when_the_others_are_fetched(tmp_path: Path) -> None:
    (tmp_path / "toys").mkdir()
    (tmp_path / "toys" / "images").write_bytes(b"the user's own")
    assert read(fetch(files_from(Local()), tmp_path)) == {**CONTENT, "images": b"the user's own"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({**CONTENT, "labels": b"other"}, "a local copy: the SHA-256 of its labels is "),
        ({"images": CONTENT["images"]}, "a local copy: it does not contain labels"),
        ({**CONTENT, "labels": gzip.compress(CONTENT["labels"])[:-4]}, "a local copy: its labels is damaged"),
    ],
)
def test_what_a_source_brings_wrong_is_not_put_in_place(tmp_path: Path, content: dict[str, bytes], reason: str) -> None:
    with pytest.raises(UserError) as refusal:
        fetch(files_from(Absent(), Local(content)), tmp_path)
    message = str(refusal.value)
    assert "an absent server: no answer" in message
    assert reason in message
    assert f"Put labels (plain or .gz) into {tmp_path / 'toys'}" in message
    assert "\n" not in message
    assert not (tmp_path / "toys" / "labels").exists()
    assert not (tmp_path / "toys" / ".fetch").exists()


def test_the_leftovers_of_a_killed_process_are_cleared_away(tmp_path: Path) -> None:
    leftover = tmp_path / "toys" / ".fetch" / "deep"
    leftover.mkdir(parents=True)
    (leftover / "images").write_bytes(b"half of")
    assert read(fetch(files_from(Local()), tmp_path)) == CONTENT
    assert not leftover.exists()


def test_a_data_dir_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(UserError, match=r"data_dir=.*data: Toys can neither be read nor written there"):
        fetch(files_from(Local()), tmp_path / "data")


def test_away_from_a_terminal_each_source_is_one_line_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        fetch(files_from(Absent(), Local()), tmp_path)
    assert caplog.messages == [
        f"Fetching Toys into {tmp_path / 'toys'}: an absent server",
        "an absent server: no answer",
        f"Fetching Toys into {tmp_path / 'toys'}: a local copy",
    ]


class Trickle(Local):
    """A source that has brought a megabyte and waits until that was `seen`."""

    def __init__(self, seen: Callable[[], bool]) -> None:
        super().__init__()
        self.seen = seen

    def download(self, folder: Path) -> None:
        super().download(folder)
        (folder / "deep" / "rest").write_bytes(bytes(10**6))
        deadline = time.monotonic() + 30
        while not self.seen():
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_away_from_a_terminal_the_log_says_now_and_then_how_much_has_come(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metaplast.data.download.LOG_SECONDS", 0.02)
    line = f"Fetching Toys into {tmp_path / 'toys'}: a local copy, 1.0 MB written"
    with caplog.at_level(logging.INFO):
        fetch(files_from(Trickle(lambda: line in caplog.messages)), tmp_path)
    said = len(caplog.messages)
    time.sleep(0.1)
    assert len(caplog.messages) == said


def test_on_a_terminal_the_source_is_named_while_it_works_and_how_much_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller, terminal = pty.openpty()
    shown = ""

    def seen() -> bool:
        nonlocal shown
        shown += os.read(controller, 4096).decode()
        return "1.0 MB written" in shown

    with os.fdopen(terminal, "w") as stderr:
        monkeypatch.setattr("sys.stderr", stderr)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "300")
        fetch(files_from(Trickle(seen)), tmp_path)
    os.close(controller)
    assert f"Fetching Toys into {tmp_path / 'toys'}: a local copy" in shown


# A process of its own that forks: it has no threads that a fork could leave in the middle of something.
FOUR_PROCESSES = """
import multiprocessing, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_download import CONTENT, Local, fetch, files_from, read

class Slow(Local):
    def download(self, folder):
        with open("asked", "a") as file:
            file.write("once ")
        super().download(folder)
        time.sleep(0.5)

def work():
    assert read(fetch(files_from(Slow()), Path("data"))) == CONTENT

workers = [multiprocessing.get_context("fork").Process(target=work) for _ in range(4)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
print([worker.exitcode for worker in workers])
"""


def test_of_four_processes_that_start_together_one_fetches_and_all_get_the_files(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FOUR_PROCESSES, str(Path(__file__).parent)]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | PYTHONPATH, capture_output=True, text=True, check=False
    )
    assert done.stdout == "[0, 0, 0, 0]\n", done.stderr
    assert (tmp_path / "asked").read_text() == "once "


Clients = Callable[[dict[str, str]], Path]


@pytest.fixture
def clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clients:
    """Makes shell scripts that stand in for the clients; they find a file to write to, beside them, in `$log`."""
    folder = tmp_path / "clients"
    folder.mkdir()

    def make(scripts: dict[str, str]) -> Path:
        for name, script in scripts.items():
            path = folder / name
            path.write_text(f"#!/bin/sh\nset -e\nlog={folder}/log\n{script}\n")
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        return folder

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "brought"
    path.mkdir()
    return path


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_npm_brings_the_files_of_the_package_without_their_folders(clients: Clients, folder: Path) -> None:
    tools = clients({"npm": 'echo "$1 $2" > $log; cp "$(dirname "$0")/toys.tgz" .'})
    (tools / "labels").write_text("classes")
    with tarfile.open(tools / "toys.tgz", "w:gz") as tar:
        tar.add(tools / "labels", "package/data/labels")
        tar.add(tools / "labels", "../outside")
    NpmPackage("toys@1.0").download(folder)
    assert (tools / "log").read_text() == "pack toys@1.0\n"
    assert names(folder) == ["labels", "outside"]
    assert not (folder.parent / "outside").exists()


def test_a_damaged_archive_fails_in_one_line(clients: Clients, folder: Path) -> None:
    clients({"npm": "echo no archive > toys.tgz"})
    with pytest.raises(SourceError, match=r"toys\.tgz is damaged"):
        NpmPackage("toys@1.0").download(folder)


DOWNLOAD = 'echo "$@" >> $log; for word; do case $word in download) touch toys_1_all.deb;; esac; done'
UNPACK = "mkdir -p usr/share/toys; echo classes > usr/share/toys/labels.gz"


def test_apt_brings_the_tree_of_the_package(clients: Clients, folder: Path) -> None:
    tools = clients({"apt-get": DOWNLOAD, "dpkg": UNPACK})
    DebianPackage("toys").download(folder)
    assert (tools / "log").read_text().endswith("download toys\n")
    assert names(folder) == ["usr/share/toys/labels.gz"]


@pytest.mark.parametrize("user", ["root", "another"])
def test_apt_gets_the_package_lists_first_where_they_are_missing_and_it_may(
    clients: Clients, folder: Path, monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0 if user == "root" else 1000)
    without_lists = """
for word; do :; done
if [ "$word" = update ]; then touch $log; exit; fi
[ -e $log ] || { echo "Reading"; echo "E: Unable to locate package toys"; echo "a hint"; exit 100; }
touch toys_1_all.deb
"""
    clients({"apt-get": without_lists, "dpkg": UNPACK})
    if user == "root":
        DebianPackage("toys").download(folder)
        assert names(folder) == ["usr/share/toys/labels.gz"]
    else:
        with pytest.raises(SourceError, match=r"^E: Unable to locate package toys$"):
            DebianPackage("toys").download(folder)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo npm notice; echo npm error code E404; echo npm error 404; exit 1", "npm error code E404"),
        ("echo first; echo last >&2; exit 3", "last"),
        ("exit 3", "npm ended with status 3"),
    ],
)
def test_a_client_that_fails_is_quoted_in_one_line(clients: Clients, folder: Path, script: str, reason: str) -> None:
    clients({"npm": script})
    with pytest.raises(SourceError) as failure:
        NpmPackage("toys@1.0").download(folder)
    assert str(failure.value) == reason


@pytest.mark.parametrize("source", [NpmPackage("toys@1.0"), DebianPackage("toys")])
def test_a_client_that_is_not_installed_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Source
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match=r"^(npm|apt-get) cannot be run: No such file"):
        source.download(folder)


def test_a_client_that_hangs_is_ended(clients: Clients, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LIMIT_SECONDS", 0.2)
    clients({"npm": "exec sleep 30"})
    with pytest.raises(SourceError, match=r"npm did not end within 0\.2 s"):
        NpmPackage("toys@1.0").download(folder)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_torchvision_is_given_up_soon_where_its_servers_refuse_or_are_silent(
    folder: Path, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "PROBE_SECONDS", 0.5)
    monkeypatch.setattr(
        datasets.MNIST,
        "mirrors",
        ["http://127.0.0.1:1/", f"http://127.0.0.1:{silent_port}/", "http://nowhere.invalid/"],
    )
    start = time.monotonic()
    with pytest.raises(SourceError, match="none of its servers answers"):
        Torchvision("MNIST").download(folder)
    assert time.monotonic() - start < 2
    assert names(folder) == []
