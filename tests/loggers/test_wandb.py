"""A run in W&B holds what the run directory holds, asks no questions, and ends with the run.

Asking for a W&B server takes a few seconds at most, and never asks the user anything.
"""

import json
import os
import pty
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.loggers import WandbLogger
from wandb.util import get_core_path

from metaplast.errors import UserError
from metaplast.loggers.base import NullLogger
from metaplast.loggers.wandb import (
    CALL_SECONDS,
    MODEL_FILES,
    PROBE_SECONDS,
    WandbRun,
    create_logger,
    require_credentials,
    server_responds,
)
from metaplast.loggers.wandb_offline import wait_for_end

NAN = float("nan")
SETTINGS: dict[str, Any] = {
    "name": "wandb",
    "mode": "offline",
    "project": "metaplast",
    "entity": None,
    "group": "sweep",
    "run_name": None,
    "tags": ["mine"],
    "notes": "a note",
}
CONFIG = {"m": [1.3, 2.0], "seed": 0, "model": {"hidden": [512, 512], "norm": None}}
ROWS: list[dict[str, float | int]] = [
    {"epoch": 1, "step": 5, "task": 0, "train_loss": 0.5, "accuracy/task_0": 0.9, "flips/layers.0": 0.25},
    {"epoch": 2, "step": 10, "task": 1, "train_loss": 0.4, "accuracy/task_0": 0.7, "flips/layers.0": 0.125},
]
pytestmark = pytest.mark.usefixtures("wandb_nobody")

R = torch.tensor([[0.9, 0.1], [0.7, 0.8]], dtype=torch.float64)


def inspect(run_dir: Path, *options: str) -> Any:
    """What W&B's own reader finds in its latest run; that behind `wandb leet inspect`, whose start takes seconds.

    The run is over, but W&B's process writes its end in its own time.
    """
    wait_for_end(max((run_dir / "wandb").glob("*run-*/*.wandb")))
    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json", *options, str(run_dir / "wandb")]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(lines) if options else [json.loads(line) for line in lines.splitlines()]


def history(run_dir: Path) -> list[dict[str, Any]]:
    return [record["history"]["item"] for record in inspect(run_dir) if record["type"] == "history"]


def logged(run: NullLogger) -> None:
    for task, row in enumerate(ROWS):
        run.write(row)
        run.log_accuracy_matrix(task, torch.where(torch.tensor([[True], [task == 1]]), R, NAN))
    run.summary(
        {"average_accuracy": 0.75, "accuracy_matrix": R.tolist(), "forward_transfer": NAN, "status": "completed"}
    )


def test_an_offline_run_holds_config_rows_matrices_table_and_summary_and_says_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = create_logger(SETTINGS, tmp_path, CONFIG, "meta m=1.3", tags=["pmnist"])
    run.watch({"layers.0": torch.tensor([[-1.0, 1.0], [0.5, 0.5]], requires_grad=True)})
    logged(run)
    run.finish()
    assert capfd.readouterr() == ("", "")

    found = inspect(tmp_path, "--summary")
    assert (found["state"], found["exit_code"]) == ("finished", 0)
    assert (found["name"], found["project"], found["tags"]) == ("meta m=1.3", "metaplast", ["mine", "pmnist"])
    assert found["config"] == CONFIG
    summary = found["summary"]
    assert (summary["average_accuracy"], summary["status"]) == (0.75, "completed")
    assert summary["accuracy_matrix"] == R.tolist()

    first, after_first, second, after_second, tables = history(tmp_path)
    assert first.items() >= {**ROWS[0], "trainer/global_step": 5}.items()
    assert second.items() >= {**ROWS[1], "trainer/global_step": 10}.items()
    assert sum(first["hidden_weights/layers.0.values"]) == 4
    figures = {"task": 1, "after_task/average_accuracy": 0.75, "after_task/forgetting": pytest.approx(0.2)}
    assert {name: after_second[name] for name in figures} == figures
    assert (after_first["after_task/average_accuracy"], "after_task/forgetting" in after_first) == (0.9, False)
    files = next(tmp_path.glob("wandb/offline-run-*/files"))
    for row in (after_first, after_second):
        assert (files / row["accuracy_matrix.path"]).read_bytes().startswith(b"\x89PNG")
    table = json.loads((files / tables["accuracy_table.path"]).read_text())
    assert table == {"columns": ["after task", "task_0", "task_1"], "data": [[0, 0.9, 0.1], [1, 0.7, 0.8]]}
    assert tables["accuracy_heat_map_table.nrows"] == 4


def test_every_curve_has_the_axis_it_is_drawn_against(tmp_path: Path) -> None:
    run = create_logger(SETTINGS, tmp_path, CONFIG, "name")
    logged(run)
    run.finish()
    records = inspect(tmp_path)
    rules = [record["metric"] for record in records if record["type"] == "metric"]
    names = {name for record in records if record["type"] == "history" for name in record["history"]["item"]}

    def axes(name: str) -> list[str]:
        """Of all the rules that match: W&B would take any of them."""
        return [
            rule.get("step_metric", "none")
            for rule in rules
            if rule.get("name") == name or ("glob_name" in rule and name.startswith(rule["glob_name"].rstrip("*")))
        ]

    assert all(axes(name) == ["epoch"] for name in ("train_loss", "accuracy/task_0", "flips/layers.0"))
    assert all(axes(name) == ["task"] for name in ("after_task/average_accuracy", "after_task/forgetting"))
    assert axes("accuracy_matrix") == ["task"]
    assert all(axes(name) == ["none"] for name in ("epoch", "task"))
    assert {"train_loss", "after_task/forgetting", "accuracy_matrix.path"} <= names


def test_what_a_module_logs_by_itself_goes_to_the_same_run(tmp_path: Path) -> None:
    run = create_logger(SETTINGS, tmp_path, CONFIG, "name")
    assert isinstance(run.logger, WandbLogger)
    run.logger.log_metrics({"my/metric": 3.0}, step=7)
    run.write(ROWS[0])
    run.finish()
    mine, row = history(tmp_path)
    assert mine.items() >= {"my/metric": 3.0, "trainer/global_step": 7}.items()
    assert row["train_loss"] == 0.5


def test_two_runs_in_one_process_do_not_mix_even_if_the_first_was_left_open(tmp_path: Path) -> None:
    first = create_logger(SETTINGS, tmp_path / "a", {"seed": 0}, "first")
    first.write(ROWS[0])
    second = create_logger(SETTINGS, tmp_path / "b", {"seed": 1}, "second")
    second.write(ROWS[1])
    second.finish()
    first.finish(exit_code=1)
    for folder, seed, row, code in (("a", 0, ROWS[0], 1), ("b", 1, ROWS[1], 0)):
        found = inspect(tmp_path / folder, "--summary")
        assert (found["config"], found["exit_code"]) == ({"seed": seed}, code)
        assert [item["epoch"] for item in history(tmp_path / folder)] == [row["epoch"]]


def test_a_finished_run_takes_no_more_and_may_be_finished_again(tmp_path: Path) -> None:
    run = create_logger(SETTINGS, tmp_path, CONFIG, "name")
    run.finish(exit_code=3)
    logged(run)
    run.finish()
    assert (inspect(tmp_path, "--summary")["exit_code"], history(tmp_path)) == (3, [])


def test_an_offline_run_does_not_even_report_on_wandb_itself(
    tmp_path: Path, wandb_processes: Callable[[], list["subprocess.Popen[bytes]"]]
) -> None:
    create_logger(SETTINGS, tmp_path, CONFIG, "name").finish()
    (service,) = wandb_processes()
    assert isinstance(service.args, list)
    assert "--no-observability" in service.args


def test_a_killed_wandb_ends_no_training_and_the_next_run_is_recorded(
    tmp_path: Path, wandb_processes: Callable[[], list["subprocess.Popen[bytes]"]]
) -> None:
    run = create_logger(SETTINGS, tmp_path / "a", CONFIG, "name")
    (service,) = wandb_processes()
    service.kill()
    service.wait()

    def train() -> None:
        for _ in range(20):  # the loss is noticed when an answer fails to come
            run.write(ROWS[0])
            time.sleep(0.05)

    with pytest.warns(UserWarning, match=r"W&B failed .*scripts/sync\.py /"):
        train()
    run.finish()
    following = create_logger(SETTINGS, tmp_path / "b", CONFIG, "name")
    following.write(ROWS[1])
    following.finish()
    assert [row["epoch"] for row in history(tmp_path / "b")] == [2]


FAULTS = ("closed", "silent", "500", "429", "401", "empty", "garbage", "drip", "redirect")
CASES = [
    pytest.param(fault, when, marks=() if (fault, when) in (("500", "start"), ("empty", "later")) else pytest.mark.slow)
    for fault in FAULTS
    for when in ("start", "later")
]


@pytest.mark.parametrize(("fault", "when"), CASES)
def test_a_faulty_server_neither_ends_nor_delays_a_run_and_its_rows_can_be_uploaded_later(
    tmp_path: Path, stub: Any, fault: str, when: str, recwarn: pytest.WarningsRecorder
) -> None:
    stub.fault = fault if when == "start" else None
    start = time.monotonic()
    run = create_logger({**SETTINGS, "mode": "online"}, tmp_path, CONFIG, "name")
    assert time.monotonic() - start < 5 + 4  # the second is for the imports and the processes of a busy machine
    stub.fault = fault
    start = time.monotonic()
    logged(run)
    run.finish()
    assert time.monotonic() - start < CALL_SECONDS + 4
    (warning,) = [str(warning.message) for warning in recwarn if "W&B" in str(warning.message)]
    assert f"python scripts/sync.py {tmp_path}" in warning
    assert "\n" not in warning
    assert not list(tmp_path.rglob("*.synced"))


def test_a_server_that_refuses_the_rows_for_good_is_said(tmp_path: Path, stub: Any) -> None:
    stub.broken = True
    run = create_logger({**SETTINGS, "mode": "online"}, tmp_path, CONFIG, "name")
    logged(run)
    with pytest.warns(UserWarning, match=r"did not take everything\); .* python scripts/sync\.py /"):
        run.finish()


@pytest.mark.parametrize("settings", [{"name": "none"}, {**SETTINGS, "mode": "disabled"}])
def test_a_run_that_is_recorded_nowhere_leaves_nothing(tmp_path: Path, settings: dict[str, Any]) -> None:
    run = create_logger(settings, tmp_path / "run", CONFIG, "name")
    run.watch({})
    logged(run)
    run.finish()
    assert (run.logger, run.view_command, run.sync_command) == (False, None, None)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_mode_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"logger\.mode: expected one of offline, online, disabled, shared, got 'dryrun'"
    ):
        create_logger({**SETTINGS, "mode": "dryrun"}, tmp_path, CONFIG, "name")


def test_online_without_an_api_key_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"logger\.mode=online: .*WANDB_API_KEY"):
        create_logger({**SETTINGS, "mode": "online"}, tmp_path / "run", CONFIG, "name")


def test_online_without_a_server_falls_back_to_offline_in_seconds_and_says_how_to_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # no server listens there
    start = time.monotonic()
    with pytest.warns(
        UserWarning, match=r"127\.0\.0\.1:9 does not answer; recording offline, .* python scripts/sync\.py /"
    ):
        run = create_logger({**SETTINGS, "mode": "online"}, tmp_path, CONFIG, "name")
    assert time.monotonic() - start < 5
    run.write(ROWS[0])
    run.finish()
    assert history(tmp_path)[0]["epoch"] == 1


def test_an_online_run_arrives_at_its_server_every_row_once(tmp_path: Path, stub: Any) -> None:
    run = create_logger({**SETTINGS, "mode": "online"}, tmp_path, CONFIG, "meta m=1.3", run_id="abc")
    assert isinstance(run, WandbRun)
    assert run.sync_command is None
    logged(run)
    run.finish()
    assert {row: stub.runs[0][row] for row in ("name", "displayName", "groupName", "tags", "notes")} == {
        "name": "abc",
        "displayName": "meta m=1.3",
        "groupName": "sweep",
        "tags": ["mine"],
        "notes": "a note",
    }
    first, _, second, after_second, tables = stub.history("abc")
    assert stub.offsets("abc") == [0, 1, 2, 3, 4]
    assert (first.items() >= ROWS[0].items(), second.items() >= ROWS[1].items()) == (True, True)
    assert (after_second["after_task/average_accuracy"], "accuracy_table" in tables) == (0.75, True)
    assert (stub.summary("abc")["average_accuracy"], stub.exit_code("abc")) == (0.75, 0)


def test_the_model_goes_along_as_an_artifact_of_the_checkpoint_and_what_says_how_it_was_made(
    tmp_path: Path, stub: Any
) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in MODEL_FILES:
        (tmp_path / name).write_text(name)
    run = create_logger({**SETTINGS, "mode": "online", "model_artifact": True}, tmp_path, CONFIG, "name", run_id="abc")
    run.model({"average_accuracy": 0.75})
    run.finish()
    (sent,) = [artifact["input"] for artifact in stub.artifacts]
    assert (sent["artifactTypeName"], sent["artifactCollectionName"]) == ("model", "model-abc")
    assert json.loads(sent["metadata"]) == {"average_accuracy": 0.75}


def test_offline_the_model_is_noted_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in MODEL_FILES:
        (tmp_path / name).write_text(name)
    run = create_logger(SETTINGS, tmp_path, CONFIG, "name")
    run.model({"average_accuracy": 0.75})
    run.finish()
    (artifact,) = [record["artifact"] for record in inspect(tmp_path) if record["type"] == "artifact"]
    assert (artifact["type"], artifact["name"].startswith("model-")) == ("model", True)
    files = {entry["path"]: entry["local_path"] for entry in artifact["manifest"]["contents"]}
    assert files == {name: str(tmp_path / name) for name in MODEL_FILES}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def address(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_without_an_api_key_the_error_says_what_to_do(wandb_nobody: Path) -> None:
    with pytest.raises(UserError, match=r"`wandb login` or set WANDB_API_KEY, or use logger=wandb") as caught:
        require_credentials()
    assert "\n" not in str(caught.value)


def test_wandb_mode_offline_does_not_hide_the_api_key_of_one_who_asks_for_online(
    wandb_nobody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    assert require_credentials() == "http://127.0.0.1:9"


def test_an_api_key_in_netrc_is_found(wandb_nobody: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    (wandb_nobody / "netrc").write_text(f"machine 127.0.0.1:9 login user password {'a' * 40}\n")
    assert require_credentials() == "http://127.0.0.1:9"


def test_a_malformed_api_key_is_a_user_error(wandb_nobody: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "abc")
    with pytest.raises(UserError, match="WANDB_API_KEY invalid"):
        require_credentials()


def test_not_even_a_terminal_is_asked(wandb_nobody: Path) -> None:
    ours, theirs = pty.openpty()
    program = "from metaplast.loggers.wandb import require_credentials; require_credentials()"
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True)
    os.close(theirs)
    try:
        assert process.wait(timeout=30) == 1  # a prompt would wait for ever
        shown = os.read(ours, 1 << 16).decode()
    finally:
        process.kill()
        os.close(ours)
    assert "UserError: logger.mode=online: W&B finds no API key" in shown


def test_a_server_that_answers_is_found_whatever_it_answers(listener: socket.socket) -> None:
    def refuse() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    thread = threading.Thread(target=refuse)
    thread.start()
    assert server_responds(address(listener))
    thread.join()


def test_a_silent_server_is_given_up_in_time(listener: socket.socket) -> None:
    start = time.monotonic()
    assert not server_responds(address(listener))
    assert time.monotonic() - start < PROBE_SECONDS + 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://nowhere.invalid", "nonsense"])
def test_no_server_is_no_answer(url: str) -> None:
    assert not server_responds(url)
