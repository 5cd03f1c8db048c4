"""What all tests share: reproducible property-based tests, one thread a process, and a small USPS beside MNIST.

The command, run as a user runs it: in this process, with a task that notes what it was given, or in its own.

Runs to report on.
"""

import bz2
import json
import logging
import os
import runpy
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
from hypothesis import settings
from omegaconf import DictConfig, OmegaConf

from metaplast.cli.main import command

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: spinning threads make neighbours wait


# Imports and compilation happen inside a first example; draws are the same in every run.
settings.register_profile("metaplast", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("metaplast")


@pytest.fixture
def threads_as_before() -> Iterator[None]:
    """Give torch the number of threads back that it had before the test."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def mnist_and_usps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `data_dir` with real MNIST, and 12 training and 7 test images of USPS whose pixels are drawn."""
    import torch

    from metaplast.data import load_mnist

    data = Path(__file__).parents[1] / "data"
    load_mnist(data, train=True)  # sees to it that the files are there
    folder = tmp_path_factory.mktemp("data")
    (folder / "mnist").symlink_to(data / "mnist")
    generator = torch.Generator().manual_seed(0)
    for name, n in (("usps.bz2", 12), ("usps.t.bz2", 7)):
        values = torch.rand(n, 256, generator=generator) * 2 - 1
        values[torch.rand(n, 256, generator=generator) < 0.5] = -1  # background
        lines = (
            f"{1 + i % 10} " + " ".join(f"{k}:{value:.4f}" for k, value in enumerate(row, 1))
            for i, row in enumerate(values.tolist())
        )
        (folder / name).write_bytes(bz2.compress("\n".join(lines).encode()))
    return folder


ROOT = Path(__file__).parents[1]


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
        from metaplast.training.callbacks.recorder import Recorder  # seconds, which most tests here need not pay

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
def script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run scripts/NAME.py with arguments, in the repository and in this process: its own would import for seconds."""

    def run(name: str, *arguments: object) -> Answer:
        monkeypatch.chdir(ROOT)
        monkeypatch.setenv("GOMP_SPINCOUNT", "1000")  # which a command may set
        main = runpy.run_path(str(ROOT / "scripts" / f"{name}.py"))["main"]
        try:
            status = main([*map(str, arguments)])
        except SystemExit as stop:
            status = stop.code
        captured = capsys.readouterr()
        return Answer(status, captured.out, captured.err)

    return run


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs draw nothing; for tests of numbers, since the pictures of a small run take longer than its training."""
    for name in ("write_matrix_figure", "write_curves_figure"):
        monkeypatch.setattr(f"metaplast.report.report.{name}", lambda *_: None)


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


@pytest.fixture
def summary() -> dict[str, Any]:
    """What summary.json holds after two tasks, the second never tested before its training."""
    return {
        "average_accuracy": 0.875,
        "forgetting": 0.1,
        "backward_transfer": -0.1,
        "forward_transfer": None,
        "accuracy_matrix": [[0.9, None], [0.8, 0.95]],
        "n_tasks": 2,
        "strategy": "meta",
        "scenario": "pmnist",
        "model": "bnn",
        "m": 1.3,
        "seed": 0,
        "norm": "batch",
        "gamma_init": "uniform",
        "test_statistics": "population",
        "reset_optimizer": False,
        "task_boundary_used": False,
        "task_label_used": True,
        "train_seconds": 221.0,
        "samples_per_second": 6778.2,
        "status": "finished",
        "run_dir": "outputs/train/2025-11-24/17-49-03",
    }


@pytest.fixture(scope="session")
def lay_run() -> Callable[..., Path]:
    """What writes the files of a run."""
    return _lay_run


def _lay_run(path: Path, status: str = "completed", *, seed: int = 0, n_tasks: int = 3, **changed: Any) -> Path:
    """Write the files of a run as the command leaves them, with made-up figures that fit each other, and return `path`.

    `changed` holds settings: strategy, m and hidden, and any key of config.yaml's first level. Old tasks are kept the
    better, the larger m is; each seed lies a point above the one before.
    """
    strategy, hidden = changed.pop("strategy", "meta"), changed.pop("hidden", [32])
    m = changed.pop("m", 1.0) if strategy == "meta" else None
    kept = 0.15 + 0.1 * min(m or 0.0, 4.0)
    R = [
        [
            (0.9 if i == j else max(0.1, 0.9 - (i - j) * (0.6 - kept)) if i > j else 0.1) + 0.01 * seed
            for j in range(n_tasks)
        ]
        for i in range(n_tasks)
    ]
    config = {
        **{"m": m, "seed": seed, "epochs_per_task": 1, "batch_size": 100, "data_dir": "data", "resume": None},
        "scenario": {"_target_": "metaplast.scenarios.permuted_digits", "name": "pdigits", "n_tasks": n_tasks},
        "model": {"name": "bnn", "hidden": hidden, "norm": "batch", "norm_per_task": True, "gamma_init": "uniform"},
        "strategy": {
            "name": strategy,
            "uses_m": strategy == "meta",
            "task_order": "sequence",
            "reset_optimizer": False,
        },
        "logger": {"name": "none"},
        **changed,
    }
    summary: dict[str, Any] = {
        **{"strategy": strategy, "scenario": "pdigits", "model": "bnn", "widths": hidden, "m": m, "seed": seed},
        **{"n_tasks": n_tasks, "epochs_per_task": 1, "batch_size": 100, "norm": "batch", "norm_affine": True},
        **{"norm_per_task": True, "gamma_init": "uniform", "test_statistics": "population", "reset_optimizer": False},
        **{"status": status, "run_dir": str(path), "versions": {"python": "3.11.7"}},
    }
    if status == "completed":
        last, drops = R[-1], [R[j][j] - R[-1][j] for j in range(n_tasks - 1)]
        forgetting = sum(drops) / len(drops) if drops else float("nan")
        summary |= {
            **{"average_accuracy": sum(last) / n_tasks, "forgetting": forgetting, "backward_transfer": -forgetting},
            **{"forward_transfer": None, "accuracy_matrix": R, "accuracy_before_training": [0.1] * n_tasks},
            **{"task_boundary_used": True, "task_label_used": True, "train_seconds": 1.5, "samples_per_second": 2e4},
        }
    elif status == "failed":
        summary["error"] = "ValueError: the loss is not finite\n  at step 7"
    path.mkdir(parents=True)
    (path / ".lock").touch()
    (path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
    (path / "summary.json").write_text(json.dumps(summary))
    rows = ["epoch,task," + ",".join(f"accuracy/task_{j}" for j in range(n_tasks))]
    rows += [f"{i + 1},{i}," + ",".join(map(repr, row)) for i, row in enumerate(R)]
    (path / "metrics.csv").write_text("\n".join(rows) + "\n")
    return path
