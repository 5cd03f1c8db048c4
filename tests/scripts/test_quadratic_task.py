"""The command of the quadratic task, run as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    script = str(ROOT / "scripts" / "quadratic_task.py")
    return subprocess.run([sys.executable, script, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_it_writes_figures_and_numbers_and_prints_a_verdict(tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    done = command("--dimension", "100", "--steps", "400", "--seeds", "2", "--seed", "4", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "Passed for 2 of 2 seeds." in done.stdout
    assert sorted(path.name for path in out.iterdir()) == [
        "plane.png",
        "quadratic.json",
        "speed.png",
        "switch_cost.png",
    ]
    numbers = json.loads((out / "quadratic.json").read_text())
    assert numbers["settings"] == {"dimension": 100, "steps": 400, "lr": 0.01, "seed": 4, "seeds": 2}
    assert [run["seed"] for run in numbers["runs"]] == [4, 5]
    assert min(run["speed_correlation"] for run in numbers["runs"]) >= 0.99
    assert sum(numbers["bins"]["count"]) == 100


def test_what_is_undefined_is_null(tmp_path: Path) -> None:
    done = command("--dimension", "2", "--steps", "2", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    bins = json.loads((tmp_path / "quadratic.json").read_text())["bins"]
    assert None in bins["mean"]  # two weights leave 13 bins empty


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dimension", "1"], "argument --dimension: expected a whole number from 2 to 2000, got '1'"),
        (["--steps", "many"], "argument --steps: expected a whole number from 2 to 20000, got 'many'"),
        (["--lr", "0"], "argument --lr: expected a number > 0, got '0'"),
        (["--lr", "nan"], "argument --lr: expected a number > 0, got 'nan'"),
        (["--seed", "-1"], "argument --seed: expected a whole number from 0 to 4294967295, got '-1'"),
        (["--out", __file__], f"--out {__file__}: expected a folder that can be made, got File exists"),
        (["--sede", "3"], "unrecognized arguments: --sede 3"),
    ],
)
def test_a_bad_argument_is_answered_in_one_line(arguments: list[str], message: str) -> None:
    done = command(*arguments)
    assert (done.returncode, done.stderr) == (2, f"error: {message}\n")


def test_help_names_every_option() -> None:
    done = command("--help")
    assert done.returncode == 0
    assert all(f"--{option} " in done.stdout for option in ["dimension", "steps", "lr", "seed", "seeds", "out"])
