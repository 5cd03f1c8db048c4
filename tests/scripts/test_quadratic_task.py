"""The command of the quadratic task, run as a user runs it but in this process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Script = Callable[..., Any]


def test_it_writes_figures_and_numbers_and_prints_a_verdict(script: Script, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    sizes = ["--dimension", "100", "--steps", "400", "--seeds", "2", "--seed", "4"]
    done = script("quadratic_task", *sizes, "--out", out)
    assert done.status == 0, done.err
    assert "Passed for 2 of 2 seeds." in done.out
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


def test_what_is_undefined_is_null(script: Script, tmp_path: Path) -> None:
    done = script("quadratic_task", "--dimension", "2", "--steps", "2", "--out", str(tmp_path))
    assert done.status == 0, done.err
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
def test_a_bad_argument_is_answered_in_one_line(script: Script, arguments: list[str], message: str) -> None:
    done = script("quadratic_task", *arguments)
    assert (done.status, done.err) == (2, f"error: {message}\n")


def test_help_names_every_option(script: Script) -> None:
    done = script("quadratic_task", "--help")
    assert done.status == 0
    assert all(f"--{option} " in done.out for option in ["dimension", "steps", "lr", "seed", "seeds", "out"])
