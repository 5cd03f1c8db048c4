"""How scripts end."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from metaplast.cli.script import ENVIRONMENT, script
from metaplast.errors import UserError

ROOT = Path(__file__).parents[2]


def fine() -> None: ...


def partly() -> int:
    return 1


def refused() -> None:
    raise UserError("--out: cannot be")


def stopped() -> None:
    raise KeyboardInterrupt


def unheard() -> None:
    raise BrokenPipeError


@pytest.mark.parametrize(
    ("main", "status", "said"),
    [(fine, 0, ""), (partly, 1, ""), (refused, 2, "error: --out: cannot be\n"), (stopped, 130, ""), (unheard, 141, "")],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_script_ends_with_a_status_and_at_most_a_line(
    main: Callable[[], int | None], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script(main)() == status
    assert capsys.readouterr().err == said


def test_an_error_of_ours_keeps_its_traceback() -> None:
    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        script(broken)()


def test_a_character_that_the_output_has_no_code_for_does_not_end_a_script(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert script(lambda: print("outputs/é"))() == 0
    assert written.getvalue() == b"outputs/\\xe9\n"


def test_a_script_whose_output_is_cut_says_nothing_more() -> None:
    """As by `| head -0`."""
    command = [sys.executable, str(ROOT / "src" / "train.py"), "--help"]
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=buffered) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_a_python_without_our_packages_names_the_environment_that_has_them() -> None:
    """As the system's own does, where ours is not activated."""
    command = [sys.executable, "-S", str(ROOT / "src" / "train.py"), "scenario=pdigits"]
    bare = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    ended = subprocess.run(command, capture_output=True, text=True, env=bare, check=False)
    assert ended.returncode == 2
    assert ended.stderr == f"error: omegaconf is not installed for {sys.executable}; {ENVIRONMENT}\n"
