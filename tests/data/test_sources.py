"""Sources bring their files with the clients of package registries, and fail within a bounded time in one line.

The clients are replaced by scripts of the same name, so that no network is needed.
"""

import socket
import stat
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from torchvision import datasets

from metaplast.data import sources
from metaplast.data.sources import DebianPackage, NpmPackage, Source, SourceError, Torchvision

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
    NpmPackage("toys@1.0").bring(folder)
    assert (tools / "log").read_text() == "pack toys@1.0\n"
    assert names(folder) == ["labels", "outside"]
    assert not (folder.parent / "outside").exists()


def test_a_damaged_archive_fails_in_one_line(clients: Clients, folder: Path) -> None:
    clients({"npm": "echo no archive > toys.tgz"})
    with pytest.raises(SourceError, match=r"toys\.tgz is damaged"):
        NpmPackage("toys@1.0").bring(folder)


DOWNLOAD = 'echo "$@" >> $log; for word; do case $word in download) touch toys_1_all.deb;; esac; done'
UNPACK = "mkdir -p usr/share/toys; echo classes > usr/share/toys/labels.gz"


def test_apt_brings_the_tree_of_the_package(clients: Clients, folder: Path) -> None:
    tools = clients({"apt-get": DOWNLOAD, "dpkg": UNPACK})
    DebianPackage("toys").bring(folder)
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
        DebianPackage("toys").bring(folder)
        assert names(folder) == ["usr/share/toys/labels.gz"]
    else:
        with pytest.raises(SourceError, match=r"^E: Unable to locate package toys$"):
            DebianPackage("toys").bring(folder)


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
        NpmPackage("toys@1.0").bring(folder)
    assert str(failure.value) == reason


@pytest.mark.parametrize("source", [NpmPackage("toys@1.0"), DebianPackage("toys")])
def test_a_client_that_is_not_installed_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Source
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match=r"^(npm|apt-get) cannot be run: No such file"):
        source.bring(folder)


def test_a_client_that_hangs_is_ended(clients: Clients, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LIMIT_SECONDS", 0.2)
    clients({"npm": "exec sleep 30"})
    with pytest.raises(SourceError, match=r"npm did not end within 0\.2 s"):
        NpmPackage("toys@1.0").bring(folder)


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
        Torchvision("MNIST").bring(folder)
    assert time.monotonic() - start < 2
    assert names(folder) == []
