"""`metaplast` and its commands."""

import importlib
import subprocess
import sys
import time

import pytest

from metaplast import __main__ as entry
from metaplast import __version__


def metaplast(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/metaplast", *words])
    return entry.main()


def test_help_lists_every_command_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert metaplast(monkeypatch, "--help") == 0
    lines = capsys.readouterr().out.splitlines()
    listed = dict(line.split(maxsplit=1) for line in lines[lines.index("Commands:") + 1 :])
    assert [name.replace("-", "_") for name in listed] == entry.names()
    assert {"train", "report", "sync", "reproduce"} <= listed.keys()
    assert max(map(len, lines)) < 110


def test_help_comes_within_a_second() -> None:
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "metaplast", "--help"], capture_output=True, text=True
    )
    seconds = time.perf_counter() - start
    assert not [line for line in done.stderr.splitlines() if line.endswith((" torch", " hydra", " wandb"))]
    assert seconds < 5  # of a loaded machine; alone it is a fifth of a second


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (
            "reprot",
            "error: reprot: there is no such command (did you mean report?); metaplast --help lists the commands\n",
        ),
        ("zzz", "error: zzz: there is no such command; metaplast --help lists the commands\n"),
        (
            "m=1",
            "error: m=1: expected a command first, as in metaplast train m=1; metaplast --help lists the commands\n",
        ),
    ],
)
def test_an_unknown_command_is_refused_in_a_line_with_a_guess(
    word: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert metaplast(monkeypatch, word) == 2
    assert capsys.readouterr().err == said


def test_it_knows_its_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert metaplast(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize("name", [name for name in entry.names() if name != "train"])
def test_each_command_has_the_name_that_it_is_typed_by(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = name.replace("_", "-")
    with pytest.raises(SystemExit) as stop:
        metaplast(monkeypatch, typed, "--help")
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: metaplast {typed} ")
    begins = " ".join((importlib.import_module(f"metaplast.cli.commands.{name}").__doc__ or "").split()[:4])
    assert begins in " ".join(said.split())
    assert "scripts/" not in said


@pytest.mark.parametrize("name", [name for name in entry.names() if name != "train"])
def test_an_unknown_argument_of_a_command_is_refused_in_a_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        metaplast(monkeypatch, name, "--no-such-argument")
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
