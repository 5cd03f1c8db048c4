"""The command that reads the study of normalization, run as a user runs it but in this process."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
Script = Callable[..., Any]


def test_it_writes_table_text_and_picture(script: Script, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    summary = {
        "status": "completed", "seed": 0, "widths": [8], "m": 1.0, "epochs_per_task": 1, "norm": "batch",
        "average_accuracy": 0.65,
        "accuracy_matrix": [[0.9, 0.1], [0.5, 0.8]],
    }  # fmt: skip
    (tmp_path / "run" / "summary.json").write_text(json.dumps(summary))
    done = script("normalization_study", str(tmp_path), "--out", str(tmp_path / "new"))
    assert (done.status, done.err) == (0, "")
    files = [f"normalization.{suffix}" for suffix in ("csv", "md", "png")]
    assert done.out == "Written: " + ", ".join(str(tmp_path / "new" / name) for name in files) + "\n"
    assert all((tmp_path / "new" / name).stat().st_size for name in files)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: DIR"),
        (["no/such"], "no/such is no directory; give one that holds runs"),
        (["conf"], "conf: no run there or below (a run's directory holds summary.json)"),
    ],
)
def test_a_bad_argument_is_answered_in_one_line(script: Script, arguments: list[str], message: str) -> None:
    done = script("normalization_study", *arguments)
    assert (done.status, done.err) == (2, f"error: {message}\n")


@pytest.mark.slow
def test_it_says_of_the_experiment_what_the_experiment_drew_itself(script: Script, tmp_path: Path) -> None:
    sizes = [
        "scenario=pdigits",
        "scenario.n_tasks=2",
        "model.hidden=[8],[16]",
        "m=0,2",
        "ablation=reference,gamma_kept",
    ]
    train = [sys.executable, "src/train.py", "experiment=normalization", *sizes, "logger=none"]
    train.append(f"hydra.sweep.dir={tmp_path / 'sweep'}")
    subprocess.run(train, cwd=ROOT, check=True, capture_output=True, timeout=500)
    done = script("normalization_study", str(tmp_path / "sweep"), "--out", str(tmp_path / "again"))
    assert done.status == 0, done.err
    drawn, again = (
        [tmp_path / folder / f"normalization.{suffix}" for suffix in ("csv", "md", "png")]
        for folder in ("sweep", "again")
    )
    assert [path.read_bytes() for path in drawn] == [path.read_bytes() for path in again]
    lines = drawn[0].read_text().splitlines()
    assert len(lines) == 1 + 2 * 2 * 2 * 2  # widths, m, arms, and both statistics of each run
    assert "Adam kept" in drawn[1].read_text()
