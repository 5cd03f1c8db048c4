"""Every script knows its arguments before it begins: it answers `--help`, and an unknown one, and does nothing.

A script of the same name as a command only calls it; tests/test_main.py asks the commands.
"""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from metaplast.__main__ import names

SCRIPTS = sorted((Path(__file__).parents[2] / "scripts").glob("*.py"))
OWN = [path for path in SCRIPTS if path.stem not in names()]


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{path.stem}_script", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_command_keeps_the_script_that_it_was() -> None:
    assert {"bench", "effect", "plugin_table", "settings_page"} == {path.stem for path in OWN}
    for path in SCRIPTS:
        if path not in OWN:
            assert loaded(path).main.__module__ == f"metaplast.cli.commands.{path.stem}"


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_help_says_what_the_script_does(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = loaded(path)
    with pytest.raises(SystemExit) as stop:
        script.main(["--help"])
    assert stop.value.code == 0
    begins = " ".join((script.__doc__ or "").split()[:4])
    assert begins in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_an_unknown_argument_is_refused_in_a_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        loaded(path).main(["--no-such-argument"])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
