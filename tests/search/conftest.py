"""The command with a task of milliseconds in place of a training: what it returns follows from its configuration."""

import json
import logging
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from metaplast.cli.main import command
from metaplast.io import write_text

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"


@dataclass
class Answer:
    """What came of a command."""

    status: int
    out: str
    err: str
    runs: list[dict[str, Any]]
    """The configuration of each run that started."""


def fingerprint(config: DictConfig, run_dir: Path) -> dict[str, Any]:
    """A number in [0, 1) that hangs on every setting outside section `search`, as the accuracy of a run does."""
    settings: Any = OmegaConf.to_container(config, resolve=True)
    text = json.dumps({key: value for key, value in settings.items() if key != "search"}, sort_keys=True)
    summary = {"status": "completed", "average_accuracy": zlib.crc32(text.encode()) / 2**32}
    write_text(run_dir / "summary.json", json.dumps(summary))
    return summary


Search = Callable[..., Answer]


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Search]:
    """Run the command with arguments in an empty folder, in this process, with what a run is to do."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")
    for variable in ("HYDRA_FULL_ERROR", "WANDB_MODE"):
        monkeypatch.delenv(variable, raising=False)
    root, level, handlers = logging.getLogger(), logging.getLogger().level, logging.getLogger().handlers[:]

    def run(*arguments: str, task: Callable[[DictConfig, Path], Any] = fingerprint) -> Answer:
        runs: list[dict[str, Any]] = []

        def noting(config: DictConfig, run_dir: Path) -> Any:
            runs.append(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
            return task(config, run_dir)

        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        monkeypatch.setattr("metaplast.sweep.session._report", lambda sweep_dir: None)  # no matrices here to draw
        status = command(noting, CONF)
        captured = capsys.readouterr()
        return Answer(status, captured.out, captured.err, runs)

    yield run
    root.setLevel(level)
    root.handlers[:] = handlers
