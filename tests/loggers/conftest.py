"""What the tests of W&B share."""

import gc
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import yaml  # type: ignore[import-untyped]

from metaplast.loggers.csv import MetricsFile
from metaplast.loggers.wandb import create_logger
from metaplast.loggers.wandb_offline import newest_recording, wait_for_end
from metaplast.runs.index import Run, read_run

Processes = Callable[[], list["subprocess.Popen[bytes]"]]


@pytest.fixture
def wandb_processes() -> Processes:
    """The processes that W&B has running here; it keeps them in no public place, and leaves them when it ends."""
    return lambda: [
        found
        for found in gc.get_objects()
        if type(found) is subprocess.Popen and "wandb-core" in str(found.args) and found.returncode is None
    ]


@pytest.fixture
def wandb_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, wandb_processes: Processes
) -> Iterator[Path]:
    """The home of a user without credentials or settings, of whom W&B remembers nothing."""
    import wandb

    home = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    # W&B remembers through all tests of a process where it put the files of artifacts.
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path_factory.getbasetemp() / "wandb-data"))
    wandb.teardown()
    yield home
    processes = wandb_processes()
    wandb.teardown()
    for process in processes:
        process.wait(timeout=30)


class Stub(ThreadingHTTPServer):
    """As much of W&B's server as runs, artifacts and `wandb sync` need, on the loopback address; keeps what arrives."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.runs: list[dict[str, Any]] = []
        """The variables of each UpsertBucket: name, display name, group, tags, configuration."""
        self.streams: list[tuple[str, dict[str, Any]]] = []
        """What was sent to each run's file stream, by the run's id."""
        self.files: dict[str, bytes] = {}
        """What was uploaded, by name."""
        self.artifacts: list[dict[str, Any]] = []
        """The variables of each CreateArtifact."""
        self.views: list[dict[str, Any]] = []
        """The variables of each upsertView: workspaces and reports."""
        self.broken = False
        """Whether file streams are refused."""
        self.fault: str | None = None
        """What it does instead: a status, `empty` (`200 {}` to all), `drip` (a byte now and then), garbage, …"""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that goes away."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def history(self, run_id: str) -> list[dict[str, Any]]:
        """The rows of a run as the server keeps them, in the order of their arrival, those sent twice twice."""
        sent = [body["files"]["wandb-history.jsonl"] for run, body in self.streams if run == run_id and _rows_in(body)]
        return [json.loads(line) for part in sent for line in part["content"]]

    def offsets(self, run_id: str) -> list[int]:
        """The line numbers under which the rows of a run arrived."""
        sent = [body["files"]["wandb-history.jsonl"] for run, body in self.streams if run == run_id and _rows_in(body)]
        return [part["offset"] + i for part in sent for i in range(len(part["content"]))]

    def summary(self, run_id: str) -> dict[str, Any]:
        """The summary of a run, as it was sent last."""
        sent = [
            body["files"]["wandb-summary.json"]["content"]
            for run, body in self.streams
            if run == run_id and "wandb-summary.json" in (body.get("files") or {})
        ]
        return cast(dict[str, Any], json.loads(sent[-1][-1]))

    def exit_code(self, run_id: str) -> int | None:
        """How a run says that it ended; None if it did not."""
        ends = [body["exitcode"] for run, body in self.streams if run == run_id and body.get("complete")]
        return ends[-1] if ends else None


def _rows_in(body: dict[str, Any]) -> bool:
    return "wandb-history.jsonl" in (body.get("files") or {})


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Stub

    def log_message(self, *_: object) -> None: ...

    def handle_one_request(self) -> None:
        """Answer the next request, or do to it what the server's fault is."""
        fault, unparsed = self.server.fault, {"silent": b"", "garbage": b"\0\xffnonsense\r\n" * 9, "closed": b""}
        if fault == "silent":
            time.sleep(30)
        if fault == "drip":
            self.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n")
            for _ in range(100):
                self.connection.sendall(b" ")
                time.sleep(0.3)
        if fault in ("drip", *unparsed):
            self.connection.sendall(unparsed.get(fault, b""))
            self.close_connection = True
        else:
            super().handle_one_request()

    def do_HEAD(self) -> None:
        self._answer({})

    def do_PUT(self) -> None:
        self.server.files[self.path.lstrip("/")] = self._body()
        self._answer({})

    def do_POST(self) -> None:
        body = self._body()
        if self.path.endswith("/graphql"):
            query = json.loads(body)
            match = re.search(r"(?:query|mutation)\s+(\w+)", query["query"])
            data = self._data(match[1], query.get("variables") or {}) if match else None
            # An operation that is not known is an error at once; without an answer it would be repeated.
            self._answer({"data": data} if data else {"errors": [{"message": query["query"]}]}, 200 if data else 400)
        elif self.server.broken:
            self._answer({}, status=404)
        elif not self.path.endswith("/file_stream"):
            self._answer({})
        else:
            self.server.streams.append((self.path.split("/")[-2], json.loads(body)))
            self._answer({"exitcode": None, "limits": {}})

    def _data(self, operation: str, variables: dict[str, Any]) -> dict[str, Any] | None:
        project = {"id": "p", "name": "metaplast", "entity": {"id": "e", "name": "me"}}
        bucket = {"id": "b", "name": variables.get("name"), "displayName": "x", "config": "{}", "project": project}
        files = [{"name": name, "uploadUrl": f"{self.server.url}/{name}"} for name in variables.get("files", [])]
        artifact = {"id": "a", "state": "COMMITTED", "artifactSequence": {"id": "s", "latestArtifact": None}}
        if operation == "UpsertBucket":
            self.server.runs.append(variables)
        if operation in ("upsertView", "UpsertView2"):
            self.server.views.append(variables)
        if operation == "CreateArtifact":
            self.server.artifacts.append(variables)
        view = {
            **{"id": "v", "createdAt": None, "updatedAt": None, "project": {"name": "metaplast", "entityName": "me"}},
            **{name: variables.get(name) for name in ("name", "displayName", "description", "spec")},
        }
        made = {"__typename": "Project", "id": "p", "name": "metaplast", "entityName": "me"}
        page = {"edges": [], "pageInfo": {"endCursor": None, "hasNextPage": False}}
        data: dict[str, dict[str, Any]] = {
            "ProjectInternalId": {"project": {"id": "p", "internalId": "1"}},
            "GetProjects": {"models": page},
            "CreateProject": {"result": {"model": made, "project": made, "inserted": True}},
            "upsertView": {"upsertView": {"view": view, "inserted": True}},
            "UpsertView2": {"upsertView": {"view": view, "inserted": True}},
            "UpsertBucket": {"upsertBucket": {"bucket": bucket, "inserted": True}},
            "Viewer": {"viewer": {"id": "1", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}},
            "CreateRunFiles": {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}},
            "CreateArtifact": {"createArtifact": {"artifact": artifact}},
            "ArtifactType": {"project": None},
            "ServerFeaturesQuery": {"serverInfo": {"features": []}},
            "OrganizationCoreWeaveOrganizationID": {"organization": None},
        }
        return data.get(operation)

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _answer(self, answer: dict[str, Any], status: int = 200) -> None:
        fault = self.server.fault or ""
        status = int(fault) if fault.isdigit() else 302 if fault == "redirect" else status
        content = json.dumps({} if fault else answer).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", self.server.url + self.path)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@pytest.fixture
def stub(wandb_nobody: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """A W&B server of one's own, and credentials for it."""
    server = Stub()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


WANDB: dict[str, Any] = {"name": "wandb", "mode": "offline", "project": "mine", "entity": None, "group": None}
WANDB |= {"run_name": None, "tags": [], "notes": None}
CONFIG = {"m": 1.3, "epochs_per_task": 3, "scenario": {"name": "pdigits"}, "logger": WANDB}
LABELS: dict[str, Any] = {"name": "meta · m = 1.3", "group": "a sweep", "tags": ["meta"], "notes": "m=1.3"}
ROWS: list[dict[str, float | int]] = [
    {
        "epoch": epoch,
        "step": 10 * epoch,
        "task": (epoch - 1) // 3,
        "epoch_in_task": (epoch - 1) % 3 + 1,
        "train_loss": 1 / epoch,
        "accuracy/task_0": 0.9 - 0.01 * epoch,
        "accuracy/task_1": 0.1 * epoch,
    }
    for epoch in range(1, 7)
]


@pytest.fixture(scope="session")
def first_recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first run that is recorded is kept, since W&B takes half a second for each."""
    return tmp_path_factory.mktemp("recorded") / "run"


@pytest.fixture
def recorded(wandb_nobody: Path, tmp_path: Path, first_recording: Path) -> Callable[..., Run]:
    """Make the directory of a run of two tasks, three epochs each, with its recording; again, a further recording.

    A copy names artifacts in the home of the user who recorded it first, so that it cannot be uploaded as it is.
    """

    def make(copied: bool = True) -> Run:
        run_dir = tmp_path / "run"
        if copied and first_recording.exists() and not run_dir.exists():
            return read_run(shutil.copytree(first_recording, run_dir, symlinks=True))
        recording = create_logger(WANDB, run_dir, CONFIG, **LABELS)
        (run_dir / "config.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
        (run_dir / "metrics.csv").unlink(missing_ok=True)
        metrics = MetricsFile(run_dir / "metrics.csv")
        recording.watch({"layer": torch.linspace(-1, 1, 100)})
        R = torch.full((2, 2), float("nan"), dtype=torch.float64)
        for row in ROWS:
            metrics.write(row)
            recording.write(row)
            if row["epoch_in_task"] == 3:
                R[int(row["task"])] = torch.tensor([row["accuracy/task_0"], row["accuracy/task_1"]], dtype=R.dtype)
                recording.log_accuracy_matrix(int(row["task"]), R)
        summary = {"average_accuracy": 0.72, "accuracy_matrix": R.tolist(), "status": "completed", "wandb": LABELS}
        (run_dir / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
        recording.summary(summary)
        recording.finish()
        newest = newest_recording(run_dir)
        assert newest is not None
        wait_for_end(newest)
        if not first_recording.exists():
            shutil.copytree(run_dir, first_recording, symlinks=True)
        return read_run(run_dir)

    return make
