"""What the README tells people to type works as it stands there. (Its Python example runs as a doctest.)"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"python src/train\.py[^`\n]*", README)))
QUICK = ("scenario=pdigits", "scenario.n_tasks=2", "epochs_per_task=1", "logger=none", "trainer.threads=1")


def run(arguments: list[str], cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def example_files() -> dict[str, str]:
    """The files that the README shows whole: those whose first line is a comment with their path."""
    blocks = re.findall(r"```(?:yaml|python)\n(# (\S+\.(?:yaml|py))\n.*?)```", README, flags=re.DOTALL)
    return {path: text for text, path in blocks}


def test_the_readme_shows_the_users_command_and_the_files_of_its_examples() -> None:
    assert "python src/train.py strategy=meta m=1.3 scenario=pmnist" in COMMANDS
    assert set(example_files()) == {
        "conf/strategy/cautious.yaml",
        "conf/scenario/negatives.yaml",
        "conf/model/narrow.yaml",
        "my_lab.py",
        "my_models.py",
    }


@pytest.mark.parametrize("command", [c for c in COMMANDS if not re.search("--help|resume=|cautious|narrow", c)])
def test_every_command_of_the_readme_composes(command: str, tmp_path: Path) -> None:
    arguments = shlex.split(command)[2:]
    shown = [
        a for a in arguments if a != "-m" and not re.fullmatch(r"\w+=([\w.]+(,[\w.]+)+|range\(.*\))", a)
    ]  # a sweep's axes
    done = run([str(ROOT / "src" / "train.py"), "--cfg", "job", *shown], tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_users_command_trains_and_the_table_is_shown(tmp_path: Path) -> None:
    arguments = shlex.split("src/train.py strategy=meta m=1.3 scenario=pmnist")[1:]
    done = run([str(ROOT / "src" / "train.py"), *arguments, *QUICK, "model.hidden=[16]", "hydra.run.dir=run"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "average accuracy" in done.stdout
    assert json.loads((tmp_path / "run" / "summary.json").read_text("utf-8"))["status"] == "completed"


def test_a_strategy_a_scenario_and_a_model_are_added_as_the_readme_says(tmp_path: Path) -> None:
    for path, text in example_files().items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    done = run(
        [
            str(ROOT / "src" / "train.py"), "--config-dir", "conf", "strategy=cautious", "m=1.0", "scenario=negatives",
            "model=narrow", "epochs_per_task=1", "logger=none", "trainer.threads=1", "hydra.run.dir=run",
        ],
        tmp_path,
        PYTHONPATH=str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text("utf-8"))
    assert (summary["strategy"], summary["scenario"], summary["model"]) == ("cautious", "negatives", "narrow")
    assert summary["task_label_used"]
