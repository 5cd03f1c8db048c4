"""Runs that are stopped from outside."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st

from metaplast.config.overrides import quote_path
from metaplast.training.signals import (
    defer_signals,
    exit_as_requested,
    handle_signals,
    stop_deferring,
    stop_requested,
)

PARSER = OverridesParser.create()


def test_ctrl_c_is_recognized_behind_lightnings_own_exit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fit() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    with pytest.raises(SystemExit) as ended, handle_signals(tmp_path):
        fit()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "Stopped by Ctrl-C. There is no checkpoint to resume from yet.\n"


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
    with pytest.raises(SystemExit), handle_signals(run_dir):
        raise KeyboardInterrupt
    *command, override = shlex.split(capsys.readouterr().err.removeprefix("Stopped by Ctrl-C. To resume: "))
    assert command == ["python", "src/train.py"]
    assert PARSER.parse_override(override).value() == name


def test_sigterm_ends_the_run_and_the_handler_is_put_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, handle_signals(tmp_path):
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("error", [SystemExit(3), ValueError("bug"), BrokenPipeError("not stdout's")])
def test_other_ends_are_left_alone(error: BaseException, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as ended, handle_signals(tmp_path):
        raise error
    assert ended.value is error


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT])
def test_a_deferred_signal_is_noted_and_ends_the_process_when_asked(number: signal.Signals, tmp_path: Path) -> None:
    def train() -> None:
        defer_signals()
        os.kill(os.getpid(), number)
        assert stop_requested()
        os.kill(os.getpid(), signal.SIGTERM)  # of a service manager that sends two
        exit_as_requested()

    with pytest.raises(SystemExit) as ended, handle_signals(tmp_path):
        train()
    assert ended.value.code == 128 + number
    assert not stop_requested()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    def train() -> None:
        defer_signals()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop_requested()
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(SystemExit) as ended, handle_signals(tmp_path):
        train()
    assert ended.value.code == 130


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_that_the_process_ignores_stays_ignored(number: signal.Signals, tmp_path: Path) -> None:
    """As under nohup."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with handle_signals(tmp_path):
            defer_signals()
            os.kill(os.getpid(), number)
            assert not stop_requested()
            stop_deferring()
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_outside_a_command_signals_are_left_to_whoever_trains() -> None:
    """As in a notebook."""
    before = signal.getsignal(signal.SIGINT)
    defer_signals()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_closed_terminal_does_not_end_the_run_before_its_checkpoint(tmp_path: Path) -> None:
    """Whose every print would fail, as of the terminal that this test opens and closes."""
    program = f"""
import os, signal, sys
from pathlib import Path
from metaplast.training.signals import defer_signals, exit_as_requested, handle_signals
with handle_signals(Path({str(tmp_path)!r})):
    defer_signals()
    os.kill(os.getpid(), signal.SIGHUP)
    print("epoch 1", flush=True)
    Path({str(tmp_path / "saved")!r}).touch()
    exit_as_requested()
"""
    master, slave = os.openpty()
    process = subprocess.Popen([sys.executable, "-c", program], stdout=slave, stderr=slave)
    os.close(slave)
    os.close(master)
    assert process.wait() == 129
    assert (tmp_path / "saved").exists()
