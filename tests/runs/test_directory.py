"""The directory of a run: never shared."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from metaplast.errors import UserError
from metaplast.runs.directory import LOCK, claim, has_checkpoint, occupied


def test_a_directory_that_nobody_named_gets_the_next_number(tmp_path: Path) -> None:
    wanted = tmp_path / "a" / "12-00-00"
    claimed = [claim(wanted, "hydra.run.dir", named=False).name for _ in range(3)]
    assert claimed == ["12-00-00", "12-00-00-1", "12-00-00-2"]


def test_many_that_want_the_same_directory_at_once_get_different_ones(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        claimed = list(pool.map(lambda _: claim(tmp_path / "run", "hydra.run.dir", named=False), range(64)))
    assert len(set(claimed)) == 64


def test_an_empty_directory_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert claim(tmp_path / "mine", "hydra.run.dir", named=True) == tmp_path / "mine"
    with pytest.raises(UserError, match=r"^hydra.run.dir=.*mine: is not empty; give another name$"):
        claim(tmp_path / "mine", "hydra.run.dir", named=True)


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for wanted in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=r"^hydra.run.dir=.*: cannot be made: "):
            claim(wanted, "hydra.run.dir", named=False)


def test_a_directory_is_held_for_as_long_as_the_run_takes(tmp_path: Path) -> None:
    with occupied(tmp_path), pytest.raises(UserError, match="another process is running there"), occupied(tmp_path):
        pass
    with occupied(tmp_path):
        assert (tmp_path / LOCK).exists()


def test_either_generation_of_checkpoints_will_do(tmp_path: Path) -> None:
    assert not has_checkpoint(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.previous.ckpt").touch()
    assert has_checkpoint(tmp_path)
