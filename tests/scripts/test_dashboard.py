"""The command that builds the dashboard, as a user runs it; saving is tested in tests/training/test_wandb_team.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = str(ROOT / "scripts" / "dashboard.py")


def command(*arguments: str, home: Path, before: str = "") -> "subprocess.CompletedProcess[str]":
    clean_env = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    program = f"{before}\nimport runpy, sys; sys.argv[:] = {[SCRIPT, *arguments]}\n"
    program += "runpy.run_path(sys.argv[0], run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**clean_env, "HOME": str(home), "NETRC": str(home / "netrc")},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_without_a_server_it_prints_the_specification_and_says_why(tmp_path: Path) -> None:
    done = command("--entity", "team", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout).keys() == {"workspace", "report"}
    assert done.stderr == (
        "not saved, the specification is printed instead: "
        "W&B finds no API key; run `wandb login` or set WANDB_API_KEY\n"
    )


def test_without_the_library_it_says_in_a_line_how_to_get_it(tmp_path: Path) -> None:
    done = command("--print", home=tmp_path, before="import sys; sys.modules['wandb_workspaces'] = None")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: the dashboard needs wandb-workspaces")
    assert done.stderr.endswith("pip install -e '.[team]'\n")


@pytest.mark.parametrize("argument", ["--projet=x", "stray"])
def test_a_bad_argument_is_answered_in_one_line(tmp_path: Path, argument: str) -> None:
    done = command(argument, home=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: unrecognized arguments: {argument}\n")
