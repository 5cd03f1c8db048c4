"""What a team does from the command line, against a server of W&B's kind on the loopback address."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metaplast.loggers.wandb_offline import newest_recording
from metaplast.runs.index import Run
from metaplast.runs.tables import read_metrics

ROOT = Path(__file__).parents[2]


def command(script: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    program = [sys.executable, str(ROOT / "scripts" / script), *arguments]
    return subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_the_dashboard_is_saved_and_its_addresses_are_printed(stub: Any) -> None:
    done = command("dashboard.py", "--entity", "me", "--project", "metaplast")
    assert done.returncode == 0, done.stderr
    report, workspace = done.stdout.splitlines()
    assert report.startswith(f"{stub.url}/me/metaplast/reports/How-much-of-the-old-tasks-is-left--")
    assert workspace.startswith(f"{stub.url}/me/metaplast?nw=")
    assert [(view["type"], view["entityName"], view["projectName"]) for view in stub.views] == [
        ("runs", "me", "metaplast"),
        ("project-view", "me", "metaplast"),
    ]
    assert all("after_task/forgetting" in view["spec"] for view in stub.views)
    assert json.loads(stub.views[0]["spec"])["blocks"][2]["metadata"]["runSets"][0]["project"]["id"] == "1"


@pytest.mark.slow
def test_of_a_resumed_run_the_newest_recording_is_uploaded_and_a_refusal_is_one_line(
    recorded: Callable[[], Run], stub: Any
) -> None:
    recorded()
    time.sleep(1.1)  # the names of recordings tell seconds apart
    run = recorded()
    newest = newest_recording(run.path)
    assert newest is not None
    stub.broken = True
    done = command("sync.py", str(run.path))
    assert (done.returncode, done.stdout) == (1, f"server: {stub.url}\n")
    assert done.stderr.startswith(f"error: {run.path}: W&B: ")
    assert done.stderr.count("\n") == 1
    stub.broken = False
    assert command("sync.py", str(run.path)).stdout.splitlines()[1:] == [f"{run.path}: uploaded"]
    assert command("sync.py", str(run.path)).stdout == f"{run.path}: uploaded before\n"
    assert {name for name, _ in stub.streams} == {newest.stem.removeprefix("run-")}
    assert len(stub.history(newest.stem.removeprefix("run-"))) == 9


@pytest.mark.slow
def test_a_training_that_was_killed_arrives_with_every_row_of_metrics_once(tmp_path: Path, stub: Any) -> None:
    run_dir = tmp_path / "run"
    settings = ["scenario=pdigits", "scenario.n_tasks=3", "model.hidden=[16]", "epochs_per_task=20"]
    settings += ["trainer.threads=1", f"hydra.run.dir={run_dir}", "logger.mode=offline", "logger.project=mine"]
    training = subprocess.Popen(
        [sys.executable, str(ROOT / "src" / "train.py"), *settings],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not (run_dir / "metrics.csv").exists() or len(read_metrics(run_dir / "metrics.csv")) < 30:
            assert training.poll() is None, "it ended by itself"
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        os.killpg(training.pid, signal.SIGKILL)  # with W&B's process
        training.wait()
    rows = read_metrics(run_dir / "metrics.csv")
    done = command("sync.py", str(run_dir))
    assert done.stdout.splitlines()[1:] == [f"{run_dir}: uploaded, completed from the files of its directory"], (
        done.stderr
    )
    newest = newest_recording(run_dir)
    assert newest is not None
    run_id = newest.stem.removeprefix("run-")
    arrived = stub.history(run_id)
    assert [row["_step"] for row in arrived] == stub.offsets(run_id) == list(range(len(arrived)))
    assert [{name: row[name] for name in rows[0]} for row in arrived if "train_loss" in row] == rows
    assert [row["task"] for row in arrived if "accuracy_matrix" in row] == list(range(len(rows) // 20))
    assert (stub.summary(run_id)["status"], stub.exit_code(run_id)) == ("lost", 1)
    (sent, *_) = stub.runs
    assert sent["displayName"].startswith("meta · m = 2 · pdigits · bnn · seed 0 · scenario.n_tasks=3")
    assert sent["tags"] == ["meta", "pdigits", "bnn"]
