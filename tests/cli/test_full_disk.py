"""A disk that is full, at every file of a run: one line, the status `failed`, and the run goes on to the same bits."""

import json
import os
from collections.abc import Callable
from errno import ENOSPC
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from metaplast.cli.run import run
from metaplast.runs.names import LAST_CHECKPOINT
from metaplast.runs.tables import read_metrics
from metaplast.training.checkpoint import read_checkpoint

Answers = Callable[..., Any]
ROOT = Path(__file__).parents[2]
SMALL = (
    *("scenario=pdigits", "scenario.n_tasks=2", "epochs_per_task=1", "logger=none", "trainer.threads=1"),
    *("trainer.progress=none", "model.hidden=[8]", "batch_size=200", "diagnostics=true", "plots=[hidden_weights]"),
    *("strategy=meta", "m=1.3", "hydra.run.dir=run"),
)


class FullDisk:
    """Lets the file `name`, or all files, be flushed `free` times; then there is no space left.

    Where space is reserved at the last moment, a program is told when it flushes. What lies in its place already can
    be overwritten.
    """

    def __init__(self, name: str | None, free: int) -> None:
        self.name, self.free, self.fsync = name, free, os.fsync

    def __call__(self, handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        stem, _, suffix = (self.name or "").rpartition(".")
        matches = path.name == self.name or (path.name.startswith(f".{stem}-") and path.suffix == f".{suffix}")
        grows = path.is_file() and path.name != "summary.json"
        if matches if self.name else grows:
            self.free -= 1
            if self.free < 0:
                raise OSError(ENOSPC, "No space left on device")
        self.fsync(handle)


def results(run_dir: Path) -> tuple[list[dict[str, float]], int]:
    """The rows without times, and a number for all bits of the last state."""
    rows = [{k: v for k, v in row.items() if "second" not in k} for row in read_metrics(run_dir / "metrics.csv")]
    state = read_checkpoint(run_dir / LAST_CHECKPOINT)["state_dict"]
    return rows, hash(tuple(tensor.numpy().tobytes() for tensor in state.values()))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The results of a run on a disk with space."""
    run_dir = tmp_path_factory.mktemp("undisturbed") / "run"
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", [override for override in SMALL if not override.startswith("hydra.")])
    run(config, run_dir)
    return results(run_dir)


QUICK = (("metrics.csv", 2), (None, 8))
MORE = (
    *(("config.yaml", 0), ("summary.json", 1), ("metrics.csv", 0), ("metrics.csv", 3), ("diagnostics.csv", 1)),
    *(("diagnostics.csv", 2), ("hidden_weights.npz", 0), ("hidden_weights.npz", 1), ("hidden_weights.png", 1)),
    *(("accuracy_curves.png", 0), ("last.ckpt", 0), ("last.ckpt", 1)),
    *(("accuracy_matrix_population.csv", 1), ("accuracy_matrix.csv", 0), ("accuracy_matrix.png", 0)),
    *((None, free) for free in (2, 5, 12, 16, 20)),
)


@pytest.mark.parametrize(("name", "free"), [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in MORE)])
def test_a_run_on_a_full_disk_fails_in_a_line_and_goes_on_to_the_same_bits(
    name: str | None, free: int, answer: Answers, workplace: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: Any
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", FullDisk(name, free))
        answered = answer(*SMALL, task=run)
    summary = json.loads((workplace / "run" / "summary.json").read_text("utf-8"))
    assert (answered.status, answered.err.count("\n")) == (1, 1), answered.err
    assert "cannot be written: No space left on device" in answered.err
    assert name is None or f"run/{name} " in answered.err.replace("checkpoints/", "")
    assert summary["status"] == "failed"
    assert "No space left on device" in summary["error"]
    if (workplace / "run" / LAST_CHECKPOINT).exists():
        again = answer("resume=run", task=run)
    else:
        again = answer(*SMALL[:-1], "hydra.run.dir=again", task=run)
        (workplace / "run").rename("cut")
        (workplace / "again").rename("run")
    assert (again.status, again.err) == (0, "")
    rows, digest = results(workplace / "run")
    assert [row["epoch"] for row in rows] == [1, 2]
    assert (rows, digest) == undisturbed
    assert not [path for path in (workplace / "run").rglob(".*") if path.name != ".lock"]
