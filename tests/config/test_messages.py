"""Errors that come from the files of a configuration directory, not from the command line.

The word that was probably meant.
"""

import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaplast.cli.main import command
from metaplast.config.messages import closest, did_you_mean


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
        ("scenario/mine.yaml", "name: mine\n", "scenario=mine", "scenario=mine: expected a section with a _target_"),
        ("experiment/mine.yaml", "# @package _global_\nseed: x\n", "experiment=mine", "seed=x: expected an integer"),
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


KEYS = ["m", "seed", "epochs_per_task", "model.norm", "model.norm_affine", "model.hidden", "strategy.optimizer.lr"]


@given(st.sampled_from(KEYS))
def test_a_known_key_is_its_own_closest(key: str) -> None:
    assert closest(key, KEYS) == key


@given(st.sampled_from([key for key in KEYS if len(key) > 4]), st.data())
def test_a_key_with_one_letter_missing_is_recognized(key: str, data: st.DataObject) -> None:
    missing = data.draw(st.integers(0, len(key) - 1))
    assert closest(key[:missing] + key[missing + 1 :], KEYS) is not None


def test_nothing_is_suggested_where_nothing_is_near() -> None:
    assert did_you_mean("zzzz", KEYS) == ""
    assert did_you_mean("hiden", KEYS) == " (did you mean model.hidden?)"
