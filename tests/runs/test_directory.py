"""The directory of a run: never shared, never overwritten."""

import errno
import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from metaplast.errors import UserError
from metaplast.runs.directory import check_not_finished, create_run_dir, has_checkpoint, lock_run_dir
from metaplast.runs.index import is_locked
from metaplast.runs.names import LOCK
from metaplast.runs.summary import RunStatus, write_summary


def test_a_directory_that_nobody_named_gets_the_next_number(tmp_path: Path) -> None:
    wanted = tmp_path / "a" / "12-00-00"
    claimed = [create_run_dir(wanted, "hydra.run.dir", named=False).name for _ in range(3)]
    assert claimed == ["12-00-00", "12-00-00-1", "12-00-00-2"]


def test_many_that_want_the_same_directory_at_once_get_different_ones(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        claimed = list(pool.map(lambda _: create_run_dir(tmp_path / "run", "hydra.run.dir", named=False), range(64)))
    assert len(set(claimed)) == 64


def test_an_empty_directory_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert create_run_dir(tmp_path / "mine", "hydra.run.dir", named=True) == tmp_path / "mine"
    with pytest.raises(
        UserError, match=r"^hydra.run.dir=.*mine: expected an empty directory, got .*; give another name$"
    ):
        create_run_dir(tmp_path / "mine", "hydra.run.dir", named=True)


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for wanted in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=r"^hydra.run.dir=.*: expected a directory that can be created, got: "):
            create_run_dir(wanted, "hydra.run.dir", named=False)


def test_a_directory_is_held_for_as_long_as_the_run_takes(tmp_path: Path) -> None:
    with (
        lock_run_dir(tmp_path),
        pytest.raises(UserError, match=r"process \d+ on \S+ is running there"),
        lock_run_dir(tmp_path),
    ):
        pass
    with lock_run_dir(tmp_path):
        assert (tmp_path / LOCK).exists()


def test_either_generation_of_checkpoints_will_do(tmp_path: Path) -> None:
    assert not has_checkpoint(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.previous.ckpt").touch()
    assert has_checkpoint(tmp_path)


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.PRUNED])
def test_a_finished_run_is_not_overwritten(tmp_path: Path, status: RunStatus) -> None:
    write_summary(tmp_path, {"status": status})
    with pytest.raises(UserError, match=rf"^run_dir={tmp_path}: expected .*, got a {status} run; give another$"):
        check_not_finished(tmp_path)


def test_a_run_with_a_checkpoint_is_resumed_and_not_overwritten(tmp_path: Path) -> None:
    write_summary(tmp_path, {"status": RunStatus.FAILED})
    check_not_finished(tmp_path)  # nothing is lost
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(UserError, match=f"got a run with a checkpoint; .*resume={tmp_path}$"):
        check_not_finished(tmp_path)


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_flock_a_run_starts_with_a_warning_and_excludes_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    def no_flock(file: object, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", no_flock)
    create_run_dir(tmp_path / "run", "hydra.run.dir", named=True)  # leaves the file that marks the directory
    assert not is_locked(tmp_path / "run")
    with lock_run_dir(tmp_path / "run"):
        assert "the file system has no flock" in caplog.text
        assert is_locked(tmp_path / "run")
        with pytest.raises(UserError, match=r"process \d+ on \S+ is running there"), lock_run_dir(tmp_path / "run"):
            pass
    assert not is_locked(tmp_path / "run")
    with lock_run_dir(tmp_path / "run"):
        pass
