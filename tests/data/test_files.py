"""Files are used where they lie, else fetched, checked and put in place whole, by any number of processes."""

import gzip
import hashlib
import logging
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from metaplast.data.files import FileSet, fetch
from metaplast.data.sources import Source, SourceError
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

    def bring(self, folder: Path) -> None:
        self.asked += 1
        (folder / "deep").mkdir()
        for name, content in self.content.items():
            (folder / "deep" / name).write_bytes(content)


class Absent:
    """A source that cannot be reached."""

    def __str__(self) -> str:
        return "an absent server"

    def bring(self, folder: Path) -> None:
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
        ({"images": CONTENT["images"]}, "a local copy: it brought no labels"),
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
    with pytest.raises(UserError, match=r"data_dir=.*data: Toys can neither be found nor be put there"):
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

    def bring(self, folder: Path) -> None:
        super().bring(folder)
        (folder / "deep" / "rest").write_bytes(bytes(10**6))
        deadline = time.monotonic() + 30
        while not self.seen():
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_away_from_a_terminal_the_log_says_now_and_then_how_much_has_come(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metaplast.data.files.LOG_SECONDS", 0.02)
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
from test_files import CONTENT, Local, fetch, files_from, read

class Slow(Local):
    def bring(self, folder):
        with open("asked", "a") as file:
            file.write("once ")
        super().bring(folder)
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
