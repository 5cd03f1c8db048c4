"""Errors that come from the files of a configuration directory, not from the command line."""

import shutil
import sys
from pathlib import Path

import pytest

from metaplast.app.command import command


@pytest.mark.parametrize(
    ("file", "content", "line", "said"),
    [
        (
            "strategy/mine.yaml",
            "defaults:\n  - nothing\n",
            "strategy=mine",
            "strategy=nothing: there is no such choice",
        ),
        ("strategy/mine.yaml", "a: [1\n", "strategy=mine", "mine.yaml"),
        ("scenario/mine.yaml", "name: mine\n", "scenario=mine", "scenario=mine: has to have a _target_"),
        ("experiment/mine.yaml", "# @package _global_\nseed: x\n", "experiment=mine", "seed=x: has to be an integer"),
    ],
)
def test_a_wrong_file_is_named_in_a_line(
    file: str,
    content: str,
    line: str,
    said: str,
    conf: Path,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = workplace.parent / f"{workplace.name}-conf"
    shutil.copytree(conf, own)
    (own / file).write_text(content, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["train.py", line])
    assert command(lambda config, run_dir: None, own) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert list(workplace.iterdir()) == []
