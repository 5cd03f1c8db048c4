"""Run directories that are found, and how each stands."""

import fcntl
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from metaplast.errors import UserError
from metaplast.runs.index import LOST, find_runs, read_run

LayRun = Callable[..., Path]


def test_runs_are_found_at_any_depth_each_once_and_2_before_10(tmp_path: Path, lay_run: LayRun) -> None:
    for name in ("10", "2", "more/below/1"):
        lay_run(tmp_path / name)
    (tmp_path / "2" / "wandb" / "files").mkdir(parents=True)
    (tmp_path / "2" / "wandb" / "files" / "summary.json").write_text("{}")  # a run's own folders hold no runs
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".lock").touch()
    (tmp_path / "data" / "images").touch()
    found = find_runs([tmp_path, tmp_path / "2", tmp_path / "more" / ".."])
    assert [run.path for run in found] == [tmp_path / "2", tmp_path / "10", tmp_path / "more" / "below" / "1"]


def test_a_run_says_its_settings_and_what_came_out(tmp_path: Path, lay_run: LayRun) -> None:
    run = read_run(lay_run(tmp_path / "a", m=0.5, seed=3, hidden=[8, 8]))
    assert run.completed
    assert (run.seed, run.error, run.overrides) == (3, None, None)
    assert run.settings["model.hidden"] == "[8, 8]"
    assert run.settings["m"] == run.summary["m"] == 0.5
    assert not {"data_dir", "resume", "logger.name"} & set(run.settings)  # no result hangs on them


def test_m_is_no_setting_of_a_strategy_that_does_not_use_it(tmp_path: Path, lay_run: LayRun) -> None:
    path = lay_run(tmp_path / "a", strategy="finetune")
    text = (path / "config.yaml").read_text()
    (path / "config.yaml").write_text(text.replace("m: null", "m: 1.35"))
    assert read_run(path).settings["m"] is None


def test_a_run_that_is_going_on_holds_its_directory_and_one_that_was_killed_does_not(
    tmp_path: Path, lay_run: LayRun
) -> None:
    path = lay_run(tmp_path / "a", "running")
    with (path / ".lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert (read_run(path).status, read_run(path).error) == ("running", None)
    assert (read_run(path).status, read_run(path).error) == ("lost", LOST)


def test_asking_leaves_the_directory_free(tmp_path: Path, lay_run: LayRun) -> None:
    path = lay_run(tmp_path / "a", "running")
    read_run(path)
    with (path / ".lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_directory_that_was_only_taken_is_a_run_too(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    with (tmp_path / "0" / ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        [run] = find_runs([tmp_path])
        assert (run.status, run.seed, run.settings) == ("starting", None, {})
    assert find_runs([tmp_path])[0].status == "lost"


def test_a_failed_run_says_why(tmp_path: Path, lay_run: LayRun) -> None:
    run = read_run(lay_run(tmp_path / "a", "failed"))
    assert (run.status, run.error) == ("failed", "ValueError: the loss is not finite\n  at step 7")


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("summary.json", '{"status": "comp', "JSONDecodeError"),
        ("summary.json", "[]", "expected an object, got list"),
        ("summary.json", '{"status": "completed"}', "holds no accuracy matrix"),
        ("config.yaml", "m: [1,", "while parsing"),
        ("config.yaml", "- 1", "expected settings"),
        ("config.yaml", "\x00", "control characters"),
    ],
)
def test_a_run_whose_files_are_broken_is_listed_with_what_is_wrong(
    tmp_path: Path, lay_run: LayRun, name: str, content: str, error: str
) -> None:
    path = lay_run(tmp_path / "a")
    (path / name).write_text(content)
    [run] = find_runs([tmp_path])
    assert run.status == "unreadable"
    assert error in (run.error or "")


def test_overrides_are_those_that_the_run_kept(tmp_path: Path, lay_run: LayRun) -> None:
    path = lay_run(tmp_path / "a")
    summary = json.loads((path / "summary.json").read_text())
    (path / "summary.json").write_text(json.dumps({**summary, "overrides": ["m=1", "seed=0"]}))
    assert read_run(path).overrides == ["m=1", "seed=0"]


def test_where_there_is_no_run_the_user_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path}: no run there or below"):
        find_runs([tmp_path])
    with pytest.raises(UserError, match=f"{tmp_path}/no is no directory"):
        find_runs([tmp_path / "no"])
