"""The command that uploads, as a user runs it; what it uploads is tested in tests/training/test_wandb_team.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def command(*arguments: str, home: Path) -> "subprocess.CompletedProcess[str]":
    script = str(ROOT / "scripts" / "sync.py")
    clean_env = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    return subprocess.run(
        [sys.executable, script, *arguments],
        cwd=ROOT,
        env={**clean_env, "HOME": str(home), "NETRC": str(home / "netrc")},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: DIR"),
        (["no/such"], "no/such is no directory; give one that holds runs"),
        (["conf"], "conf: no run there or below (a run's directory holds summary.json)"),
    ],
)
def test_a_bad_argument_is_answered_in_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = command(*arguments, home=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {message}\n")


def test_runs_without_anything_to_upload_need_no_server_and_say_why(tmp_path: Path) -> None:
    for name, recording in (("a", None), ("b", "run-20261124_100000-abc"), ("c", "offline-run-20261124_100000-abc")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text(json.dumps({"status": "failed"}))
        if recording:
            (tmp_path / name / "wandb" / recording).mkdir(parents=True)
            (tmp_path / name / "wandb" / recording / "run-abc.wandb").touch()
    for marker in ("b/wandb/run-20261124_100000-abc", "c/wandb/offline-run-20261124_100000-abc"):
        (tmp_path / marker / "run-abc.wandb.synced").touch()
    done = command(str(tmp_path), home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{tmp_path}/a: W&B did not record it",
        f"{tmp_path}/b: uploaded before",
        f"{tmp_path}/c: uploaded before",
    ]
    (tmp_path / "c" / "wandb" / "offline-run-20261124_100000-abc" / "run-abc.wandb.synced").unlink()
    done = command(str(tmp_path), home=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: W&B finds no API key; run `wandb login` or set WANDB_API_KEY\n"
