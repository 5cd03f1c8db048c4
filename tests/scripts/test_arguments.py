"""Every script knows its arguments before it begins: it answers `--help`, and an unknown one, and does nothing."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "scripts").glob("*.py"))


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{path.stem}_script", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_help_says_what_the_script_does(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = loaded(path)
    with pytest.raises(SystemExit) as stop:
        script.main(["--help"])
    assert stop.value.code == 0
    begins = " ".join((script.__doc__ or "").split()[:4])
    assert begins in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_an_unknown_argument_is_refused_in_a_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        loaded(path).main(["--no-such-argument"])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
