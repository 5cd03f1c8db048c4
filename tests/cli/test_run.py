"""A run from configuration to files: what it leaves, that a cut run ends in the same bits, what a failed one says."""

import csv
import functools
import itertools
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from metaplast.cli.run import run
from metaplast.errors import UserError
from metaplast.loggers import wandb_workspace
from metaplast.metrics.continual import SUMMARY_METRICS
from metaplast.report.report import rebuild_run
from metaplast.runs.index import read_run
from metaplast.runs.names import LAST_CHECKPOINT
from metaplast.runs.summary import description
from metaplast.runs.tables import read_baseline, read_matrix_csv
from metaplast.training.callbacks.thread_throttle import SharedCores
from metaplast.training.checkpoint import read_checkpoint

Compose = Callable[..., DictConfig]
BeforeEpoch = Callable[..., AbstractContextManager[None]]
SMALL = ("scenario=pdigits", "scenario.n_tasks=3", "epochs_per_task=2", "logger=none", "trainer.threads=1")
WIDTHS = {"mlp": "hidden=[16]", "bnn": "hidden=[16]", "bcnn": "channels=[4,6]"}
FILES = {
    "config.yaml",
    "metrics.csv",
    "accuracy_matrix.csv",
    "accuracy_matrix.png",
    "accuracy_curves.png",
    "summary.json",
    "checkpoints",
}


NUMBERS = pytest.mark.usefixtures("without_pictures")


@pytest.fixture(scope="module")
def uncut() -> dict[tuple[str, ...], dict[str, Any]]:
    """What uninterrupted runs measured, by their overrides: each is run once, however often it is compared with."""
    return {}


@pytest.fixture
def small(composed: Compose, workplace: Path) -> Callable[..., DictConfig]:
    """Compose a run of seconds."""

    def make(*overrides: str) -> DictConfig:
        model = next((o.removeprefix("model=") for o in overrides if o.startswith("model=")), "bnn")
        config = composed(*SMALL, "trainer.progress=none", f"model.{WIDTHS[model]}", *overrides)
        return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])

    return make


def files_of(run_dir: Path) -> dict[str, Any]:
    """What a run measured: rows without times, the matrix, and every tensor of its last state."""
    with (run_dir / "metrics.csv").open(encoding="utf-8") as file:
        rows = [{k: v for k, v in row.items() if "second" not in k} for row in csv.DictReader(file)]
    state = read_checkpoint(run_dir / LAST_CHECKPOINT)
    return {"rows": rows, "matrix": (run_dir / "accuracy_matrix.csv").read_text("utf-8"), "state": state["state_dict"]}


def test_a_run_leaves_its_files_and_a_summary_that_says_what_it_was(small: Compose, tmp_path: Path) -> None:
    summary = run(small("m=1.3"), tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES
    written = json.loads((tmp_path / "run" / "summary.json").read_text("utf-8"))
    assert {"format", "files", "sha256"} == written.keys() - summary.keys()
    assert summary == {key: written[key] for key in summary}
    expected = {
        "strategy": "meta", "scenario": "pdigits", "model": "bnn", "m": 1.3, "seed": 0, "n_tasks": 3, "norm": "batch",
        "gamma_init": "uniform", "test_statistics": "batch", "reset_optimizer": False, "task_boundary_used": True,
        "task_label_used": True, "status": "completed",
    }  # fmt: skip
    assert {key: summary[key] for key in expected} == expected
    R = read_matrix_csv(tmp_path / "run" / "accuracy_matrix.csv")
    assert R.tolist() == summary["accuracy_matrix"]
    assert summary["average_accuracy"] == pytest.approx(R[-1].mean().item())
    assert all(0 <= value <= 1 for value in summary["accuracy_before_training"])
    assert not math.isnan(summary["forward_transfer"])
    assert OmegaConf.load(tmp_path / "run" / "config.yaml").m == 1.3


@NUMBERS
@pytest.mark.usefixtures("threads_as_before")
def test_threads_follow_the_load_unless_they_are_given(
    small: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here every thread has waited since the last look, so that a run that may give way ends on one; the bits stay."""
    reads = itertools.count()
    always = functools.partial(SharedCores, waited=lambda: 1e6 * next(reads))
    monkeypatch.setattr("metaplast.cli.run.SharedCores", always)
    monkeypatch.setattr("metaplast.training.trainer.default_threads", lambda: 2)
    monkeypatch.setattr("metaplast.training.callbacks.thread_throttle.WINDOW", 0.0)
    giving_way = run(small("trainer.threads=null"), tmp_path / "giving way")
    fixed = run(small("trainer.threads=2"), tmp_path / "fixed")
    assert (giving_way["fewest_threads"], fixed["fewest_threads"]) == (1, 2)
    a, b = (files_of(tmp_path / name) for name in ("giving way", "fixed"))
    assert (a["rows"], a["matrix"]) == (b["rows"], b["matrix"])
    assert all(torch.equal(a["state"][name], b["state"][name]) for name in a["state"])


@NUMBERS
def test_every_row_of_metrics_holds_what_the_matrix_says_at_the_end_of_a_task(small: Compose, tmp_path: Path) -> None:
    summary = run(small(), tmp_path / "run")
    rows = files_of(tmp_path / "run")["rows"]
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2, 3, 4, 5, 6]
    assert [int(row["task"]) for row in rows] == [0, 0, 0, 1, 1, 2, 2]
    for task, row in enumerate(rows[2::2]):
        assert [float(row[f"accuracy/task_{j}"]) for j in range(3)] == summary["accuracy_matrix"][task]
    assert all(0 < float(row["flips/layer1"]) < 1 for row in rows[1:])


@NUMBERS
def test_the_first_row_of_metrics_is_the_baseline_and_the_checkpoint_and_the_columns_know_none_of_it(
    small: Compose, tmp_path: Path
) -> None:
    summary = run(small("strategy=joint"), tmp_path / "run")
    first = files_of(tmp_path / "run")["rows"][0]
    assert read_baseline(tmp_path / "run" / "metrics.csv") == summary["accuracy_before_training"]
    told = {key: first[key] for key in ("epoch", "step", "task", "epoch_in_task", "train_loss", "flips/layer1")}
    assert told == {
        **{"epoch": "0", "step": "0", "task": "2", "epoch_in_task": "0", "train_loss": "nan", "flips/layer1": "nan"}
    }
    rows = read_checkpoint(tmp_path / "run" / LAST_CHECKPOINT)["callbacks"]["Recorder"]["rows"]
    assert [row["epoch"] for row in rows] == [2]  # those before are in metrics.csv
    header = (tmp_path / "run" / "metrics.csv").read_text("utf-8").splitlines()[0]
    assert header.split(",") == list(rows[0])


@pytest.mark.parametrize(
    "overrides", [("eval_every_n_epochs=2", "max_tasks=2"), ("strategy=joint",)], ids=["sequence", "joint"]
)
def test_the_files_of_a_run_are_rebuilt_to_the_last_bit_from_its_configuration_and_metrics(
    small: Compose, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    summary, run_dir = run(small(*overrides), tmp_path / "run"), tmp_path / "run"
    results = {"accuracy_matrix.csv", "accuracy_matrix.png", "accuracy_curves.png"}
    before = {name: (run_dir / name).read_bytes() for name in results}
    for path in run_dir.iterdir():
        if path.name not in ("config.yaml", "metrics.csv"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    # What summary.json says as soon as a run has started.
    told = json.dumps({**description(small(*overrides)), "status": "running"})
    (run_dir / "summary.json").write_text(told, "utf-8")
    rebuilt = rebuild_run(read_run(run_dir))
    assert rebuilt == {key: summary[key] for key in (*SUMMARY_METRICS, "accuracy_matrix", "accuracy_before_training")}
    assert {name: (run_dir / name).read_bytes() for name in results} == before
    assert (run_dir / "summary.json").read_text("utf-8") == told


@NUMBERS
@pytest.mark.parametrize(
    "overrides",
    [
        ("model.test_statistics=population",),
        ("strategy.reset_optimizer=true", "model.test_statistics=running"),
        ("model.norm=layer",),
        ("eval_every_n_epochs=2",),
    ],
    ids=["population", "running-reset", "layer", "measured-seldom"],
)
@pytest.mark.parametrize("cut", [2, 3], ids=["at-a-task-end", "within-a-task"])
def test_a_run_that_was_cut_and_resumed_ends_in_the_same_bits(
    small: Compose,
    tmp_path: Path,
    before_epoch: BeforeEpoch,
    uncut: dict[tuple[str, ...], dict[str, Any]],
    overrides: tuple[str, ...],
    cut: int,
) -> None:
    if overrides not in uncut:
        run(small(*overrides), tmp_path / "whole")
        uncut[overrides] = files_of(tmp_path / "whole")
    with before_epoch(cut, RuntimeError("cut")), pytest.raises(RuntimeError, match="cut"):
        run(small(*overrides), tmp_path / "cut")
    assert json.loads((tmp_path / "cut" / "summary.json").read_text("utf-8"))["status"] == "failed"
    assert len(files_of(tmp_path / "cut")["rows"]) == 1 + (cut // 2 if "eval_every_n_epochs=2" in overrides else cut)

    torch.manual_seed(99)  # whatever the process did in between must not matter
    run(small(*overrides, f"resume={tmp_path / 'cut'}"), tmp_path / "cut")
    whole, resumed = uncut[overrides], files_of(tmp_path / "cut")
    assert whole["rows"] == resumed["rows"]
    assert whole["matrix"] == resumed["matrix"]
    assert whole["state"].keys() == resumed["state"].keys()
    assert all(torch.equal(whole["state"][name], resumed["state"][name]) for name in whole["state"])


@NUMBERS
def test_all_tasks_at_once_measure_the_last_row_alone(small: Compose, tmp_path: Path) -> None:
    summary = run(small("strategy=joint"), tmp_path / "run")
    assert summary["accuracy_matrix"][:-1] == [[None] * 3] * 2
    assert summary["average_accuracy"] > 0.3
    assert (summary["forgetting"], summary["backward_transfer"], summary["m"]) == (None, None, None)
    assert (summary["task_boundary_used"], summary["task_label_used"]) == (False, False)


@NUMBERS
def test_without_norm_per_task_reset_and_population_no_label_and_no_boundary_is_used(
    small: Compose, tmp_path: Path
) -> None:
    summary = run(small("model.norm=layer", "model.norm_per_task=false"), tmp_path / "run")
    assert (summary["task_boundary_used"], summary["task_label_used"]) == (False, False)
    assert (summary["norm"], summary["test_statistics"]) == ("layer", None)


@NUMBERS
def test_m_may_differ_by_layer(small: Compose, tmp_path: Path) -> None:
    assert run(small("m=[0.5,2.0]"), tmp_path / "run")["m"] == [0.5, 2.0]


@pytest.mark.parametrize("model", ["mlp", "bcnn"])
def test_the_other_networks_run(small: Compose, tmp_path: Path, model: str) -> None:
    config = small(f"model={model}", "scenario.n_tasks=2", "epochs_per_task=1")
    assert run(config, tmp_path / "run")["model"] == model


@NUMBERS
def test_tests_may_be_rarer_than_epochs(small: Compose, tmp_path: Path) -> None:
    often, seldom = run(small(), tmp_path / "often"), run(small("eval_every_n_epochs=2"), tmp_path / "seldom")
    assert often["accuracy_matrix"] == seldom["accuracy_matrix"]
    assert len(files_of(tmp_path / "seldom")["rows"]) == 1 + 3


def test_a_failed_run_says_so_in_its_summary(small: Compose, tmp_path: Path) -> None:
    config = small("scenario=pmnist", f"data_dir={tmp_path / 'file'}")
    (tmp_path / "file").touch()
    with pytest.raises(UserError):
        run(config, tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text("utf-8"))
    assert summary["status"] == "failed"
    assert summary["error"].startswith("UserError: ")


@NUMBERS
def test_a_run_that_diverges_fails_and_says_where(small: Compose, tmp_path: Path, before_epoch: BeforeEpoch) -> None:
    def spoil(learner: Any) -> None:
        learner.network.get_submodule("layer1").weight.data[0, 0] = math.nan

    said = r"training diverged: after epoch 3 \(task 1\) layer1\.weight is not finite"
    with before_epoch(2, spoil), pytest.raises(UserError, match=said):
        run(small(), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "summary.json").read_text("utf-8"))["status"] == "failed"


def test_a_gpu_that_is_not_there_is_refused(small: Compose, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(UserError, match=r"trainer\.accelerator=gpu: torch finds no GPU here"):
        run(small("trainer=gpu"), tmp_path / "run")


@NUMBERS
def test_the_copy_in_wandb_holds_the_rows_of_metrics_and_what_the_run_came_to(small: Compose, tmp_path: Path) -> None:
    run(small("logger=wandb", "logger.mode=offline"), tmp_path / "run")
    wandb = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect"]
    inspected = subprocess.run(
        [*wandb, "--json", str(tmp_path / "run" / "wandb" / "latest-run")], capture_output=True, text=True, check=True
    )
    records = [json.loads(line) for line in inspected.stdout.splitlines()]
    items = [record["history"]["item"] for record in records if record["type"] == "history"]
    copied = [item for item in items if "train_loss" in item]
    rows = files_of(tmp_path / "run")["rows"][1:]  # the baseline is in the file alone
    assert [[item[name] for name in rows[0]] for item in copied] == [[float(v) for v in row.values()] for row in rows]
    assert [item["task"] for item in items if "after_task/average_accuracy" in item] == [0, 1, 2]
    logged = {name.removesuffix(part) for item in items for name in item for part in ("", ".path", ".sha256")}
    assert {*wandb_workspace.HISTORY} <= logged
    config = OmegaConf.load(tmp_path / "run" / "config.yaml")
    named = (*wandb_workspace.CONFIG, *wandb_workspace.CONDITIONS)
    assert all(OmegaConf.select(config, name) is not None for name in named)
    assert {*wandb_workspace.SUMMARY} <= json.loads((tmp_path / "run" / "summary.json").read_text("utf-8")).keys()


def test_a_second_run_into_the_directory_of_a_finished_one_is_refused(
    tmp_path: Path, small: Callable[..., DictConfig]
) -> None:
    (tmp_path / "summary.json").write_text(json.dumps({"status": "completed"}), encoding="utf-8")
    with pytest.raises(UserError, match=rf"^run_dir={tmp_path}: expected .*, got a completed run; give another$"):
        run(small(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]
