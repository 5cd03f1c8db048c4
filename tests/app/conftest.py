"""The command, run as a user runs it: in this process, with a task that notes what it was given, or in its own."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from metaplast.app.command import command

ROOT = Path(__file__).parents[2]


@dataclass
class Answer:
    """What came of a command."""

    status: int
    out: str
    err: str
    runs: list[tuple[dict[str, Any], Path]] = field(default_factory=list)
    """The configuration and the directory of each run that started."""


@pytest.fixture
def conf() -> Path:
    return ROOT / "conf"


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory; environment and logging are put back afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")  # which the command would set
    for variable in ("HYDRA_FULL_ERROR", "WANDB_MODE"):
        monkeypatch.delenv(variable, raising=False)
    root, level, handlers = logging.getLogger(), logging.getLogger().level, logging.getLogger().handlers[:]
    yield tmp_path
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture
def before_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[int, Exception | Callable[[Any], None]], AbstractContextManager[None]]:
    """Within the context an error is raised, or a function called with the learner, before an epoch, from 0, begins."""

    @contextmanager
    def make(epoch: int, what: Exception | Callable[[Any], None]) -> Iterator[None]:
        from metaplast.training.recorder import Recorder  # seconds, which most tests here need not pay

        start = Recorder.on_train_epoch_start

        def first(self: Recorder, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == epoch:
                if isinstance(what, Exception):
                    raise what
                what(pl_module)
            start(self, trainer, pl_module)

        with monkeypatch.context() as patch:
            patch.setattr(Recorder, "on_train_epoch_start", first)
            yield

    return make


@pytest.fixture
def answer(
    workplace: Path, conf: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """Run the command with arguments, and with what the run is to do besides noting that it was reached."""

    def run(*arguments: str, task: Callable[[DictConfig, Path], Any] = lambda config, run_dir: None) -> Answer:
        runs: list[tuple[dict[str, Any], Path]] = []

        def noting(config: DictConfig, run_dir: Path) -> None:
            runs.append((OmegaConf.to_container(config, resolve=True), run_dir))  # type: ignore[arg-type]
            task(config, run_dir)

        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        try:
            status = command(noting, conf)
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
        captured = capsys.readouterr()
        return Answer(status, captured.out, captured.err, runs)

    return run


@pytest.fixture
def start(workplace: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command as a process in the empty working directory: src/train.py, or the Python `program` given."""
    processes: list[subprocess.Popen[str]] = []

    def popen(*arguments: str, program: str | None = None, options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        script = workplace.parent / f"{workplace.name}.py"
        if program is not None:
            script.write_text(program, encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, *options, str(ROOT / "src" / "train.py" if program is None else script), *arguments],
            cwd=workplace,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell in the background lets its children ignore Ctrl-C, and they theirs.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        processes.append(process)
        return process

    yield popen
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def composed(conf: Path) -> Callable[..., DictConfig]:
    """Compose the configuration that overrides ask for."""

    def make(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(conf), version_base="1.3"):
            return compose("train", list(overrides), return_hydra_config=True)

    return make
