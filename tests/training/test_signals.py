"""Runs that are stopped from outside."""

import os
import shlex
import signal
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st

from metaplast.config.overrides import quote_path
from metaplast.training.signals import stoppable

PARSER = OverridesParser.create()


def test_ctrl_c_is_recognized_behind_lightnings_own_exit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fit() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    with pytest.raises(SystemExit) as ended, stoppable(tmp_path):
        fit()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "Stopped. There is no checkpoint yet, so there is nothing to go on from.\n"


@given(text=st.text(st.sampled_from("a1 '\"\\,=:()[]{}~*-./é–")))
@example(text="null")
@example(text="True")
@example(text="nan")
@example(text=".5")
def test_a_path_is_read_by_hydra_as_it_was_written(text: str) -> None:
    path = Path(text)
    assert PARSER.parse_override(f"resume={quote_path(path)}").value() == str(path)


@pytest.mark.parametrize("name", ["two words", "m=1,2", "it's", 'say "m"', "é (1)", "back\\slash"])
def test_the_way_on_can_be_typed_as_it_is_said(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run_dir = tmp_path / name
    (run_dir / "checkpoints").mkdir(parents=True)
    (run_dir / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(SystemExit), stoppable(run_dir):
        raise KeyboardInterrupt
    *command, override = shlex.split(capsys.readouterr().err.removeprefix("Stopped. To go on: "))
    assert command == ["python", "src/train.py"]
    assert PARSER.parse_override(override).value() == name


def test_sigterm_ends_the_run_and_the_handler_is_put_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, stoppable(tmp_path):
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("error", [SystemExit(3), ValueError("bug"), BrokenPipeError("not stdout's")])
def test_other_ends_are_left_alone(error: BaseException, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as ended, stoppable(tmp_path):
        raise error
    assert ended.value is error
