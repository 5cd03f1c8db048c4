"""Runs that are stopped from outside."""

import os
import signal
import sys
from pathlib import Path

import pytest

from metaplast.app.stop import stoppable


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
