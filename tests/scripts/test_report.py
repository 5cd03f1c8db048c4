"""The command that reports on runs, as a user runs it but in this process."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metaplast.runs.tables import accuracies, read_matrix_csv, read_metrics

ROOT = Path(__file__).parents[2]
Script = Callable[..., Any]


def test_it_prints_the_table_and_where_the_page_is(script: Script, tmp_path: Path) -> None:
    for seed, accuracy in enumerate([0.7, 0.8]):
        (tmp_path / str(seed)).mkdir()
        summary = {"status": "completed", "seed": seed, "average_accuracy": accuracy, "accuracy_matrix": [[accuracy]]}
        (tmp_path / str(seed) / "summary.json").write_text(json.dumps(summary))
        (tmp_path / str(seed) / "config.yaml").write_text(f"m: 1.5\nseed: {seed}\nstrategy: {{name: meta}}\n")
    done = script("report", str(tmp_path), "--out", str(tmp_path / "new" / "report"))
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[1].split() == ["meta", "1.5", "2", "75.0", "±", "7.1", "–", "–", "–", "–"]
    assert lines[-1] == f"page: {tmp_path}/new/report/sweep.html"
    assert (tmp_path / "new" / "report" / "sweep.html").is_file()


def test_a_run_killed_by_sigkill_gets_the_pictures_of_what_it_measured(script: Script, tmp_path: Path) -> None:
    settings = ["scenario=pdigits", "epochs_per_task=1000", "model.hidden=[8]", "logger=none", "trainer.threads=1"]
    run_dir = tmp_path / "run"
    arguments = [*settings, "trainer.progress=none", f"hydra.run.dir={run_dir}"]
    with subprocess.Popen([sys.executable, str(ROOT / "src" / "train.py"), *arguments], cwd=tmp_path) as process:
        try:
            deadline = time.monotonic() + 120
            while not (run_dir / "metrics.csv").exists() or len(read_metrics(run_dir / "metrics.csv")) < 2:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        finally:
            process.kill()
    told = (run_dir / "summary.json").read_text("utf-8")
    assert json.loads(told)["status"] == "running"
    done = script("report", str(run_dir))
    assert (done.status, done.err) == (0, "")
    assert all((run_dir / f"{name}.png").is_file() for name in ("accuracy_matrix", "accuracy_curves"))
    last = read_metrics(run_dir / "metrics.csv")[-1]
    R = read_matrix_csv(run_dir / "accuracy_matrix.csv")
    assert R[0].tolist() == accuracies(last)
    assert np.isnan(R[1:]).all()
    assert (run_dir / "summary.json").read_text("utf-8") == told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: DIR"),
        (["no/such"], "no/such is no directory; give one that holds runs"),
        (["conf"], "conf: no run there or below (a run's directory holds summary.json)"),
        (["conf", "--oot", "x"], "unrecognized arguments: --oot x"),
    ],
)
def test_a_bad_argument_is_answered_in_one_line(script: Script, arguments: list[str], message: str) -> None:
    done = script("report", *arguments)
    assert (done.status, done.err) == (2, f"error: {message}\n")


def test_help_names_every_argument_and_comes_without_the_heavy_imports(script: Script) -> None:
    code = "import sys, runpy; runpy.run_path('scripts/report.py'); print({'torch', 'matplotlib'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert loaded.stdout == "set()\n"
    assert all(word in script("report", "--help").out for word in ["DIR", "--out"])
