"""Runs whose tasks are parts of one data set: streams, told nothing, tested whole; splits, told the task or not."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from metaplast.cli.run import run
from metaplast.errors import UserError
from metaplast.report.report import rebuild_run
from metaplast.runs.index import read_run
from metaplast.runs.names import LAST_CHECKPOINT
from metaplast.runs.tables import read_matrix_csv, read_metrics
from metaplast.training.checkpoint import read_checkpoint

Compose = Callable[..., DictConfig]
STREAM = ("scenario=stream_digits", "scenario.n_parts=3", "epochs_per_task=2", "model.hidden=[16]")
SPLIT = ("scenario=split_digits", "scenario.n_tasks=2", "epochs_per_task=2", "model.hidden=[16]", "batch_size=40")
NUMBERS = pytest.mark.usefixtures("without_pictures")


@pytest.fixture
def small(composed: Compose, workplace: Path) -> Compose:
    """Compose a run of seconds."""

    def make(*overrides: str) -> DictConfig:
        config = composed("logger=none", "trainer.threads=1", "trainer.progress=none", *overrides)
        return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])

    return make


@pytest.fixture
def cifar(tmp_path: Path) -> Path:
    """A data directory with CIFAR-10 of 50 training and 10 test images, whose pixels are drawn."""
    folder = tmp_path / "data" / "cifar10"
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        records = torch.randint(256, (10, 3073), generator=generator, dtype=torch.uint8)
        records[:, 0] = torch.arange(10)
        (folder / name).write_bytes(records.numpy().tobytes())
    return folder.parent


def test_a_part_of_a_single_image_is_refused_before_training(small: Compose, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="task 442 has a single image, which batch normalization cannot work on"):
        run(small(*STREAM, "scenario.n_parts=1000", "model.test_statistics=batch"), tmp_path / "run")


@NUMBERS
@pytest.mark.parametrize("statistics", ["batch", "population"])
def test_a_stream_is_one_task_of_many_parts_and_told_nothing(small: Compose, tmp_path: Path, statistics: str) -> None:
    summary = run(small(*STREAM, f"model.test_statistics={statistics}"), tmp_path / "run")
    expected = {
        "n_tasks": 3, "norm_per_task": False, "task_boundary_used": False, "task_label_used": False,
        "forgetting": None, "backward_transfer": None, "forward_transfer": None,
    }  # fmt: skip
    assert {key: summary[key] for key in expected} == expected
    R = read_matrix_csv(tmp_path / "run" / "accuracy_matrix.csv")
    assert R.shape == (3, 1)
    assert R.tolist() == summary["accuracy_matrix"]
    assert summary["average_accuracy"] == R[-1].item() > 0.3
    assert len(summary["accuracy_before_training"]) == 1
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert [row["task"] for row in rows] == [0, 0, 1, 1, 2, 2]
    assert [row["accuracy/task_0"] for row in rows[1::2]] == R.flatten().tolist()
    assert all(row["average_accuracy_seen"] == row["accuracy/task_0"] for row in rows)


def test_the_results_of_a_stream_are_rebuilt_from_its_metrics(small: Compose, tmp_path: Path) -> None:
    summary, matrix = run(small(*STREAM), tmp_path / "run"), tmp_path / "run" / "accuracy_matrix.csv"
    before = matrix.read_bytes()
    matrix.unlink()
    assert rebuild_run(read_run(tmp_path / "run")).items() <= summary.items()
    assert matrix.read_bytes() == before


@NUMBERS
def test_a_stream_whose_optimizer_is_reset_at_each_part_is_told_where_one_ends(small: Compose, tmp_path: Path) -> None:
    summary = run(small(*STREAM, "strategy.reset_optimizer=true"), tmp_path / "run")
    assert (summary["task_boundary_used"], summary["task_label_used"]) == (True, False)


@NUMBERS
def test_all_parts_at_once_are_the_same_data_however_they_are_asked_for(small: Compose, tmp_path: Path) -> None:
    one_part = run(small(*STREAM, "scenario.n_parts=1"), tmp_path / "one")
    joint = run(small(*STREAM, "strategy=joint"), tmp_path / "joint")
    assert joint["accuracy_matrix"][:-1] == [[None], [None]]
    assert min(one_part["average_accuracy"], joint["average_accuracy"]) > 0.6
    assert (one_part["task_boundary_used"], one_part["task_label_used"]) == (False, False)


@NUMBERS
def test_an_augmented_stream_that_was_cut_and_resumed_ends_in_the_same_bits(
    small: Compose, tmp_path: Path, cifar: Path, before_epoch: Callable[..., AbstractContextManager[None]]
) -> None:
    config = small(
        "scenario=stream_cifar10", "scenario.n_parts=2", f"data_dir={cifar}", "epochs_per_task=2", "batch_size=10",
        "model=vgg", "model.channels=[4,4]", "model.hidden=[8]", "m=13",
    )  # fmt: skip
    whole = run(config, tmp_path / "whole")
    with before_epoch(1, RuntimeError("cut")), pytest.raises(RuntimeError, match="cut"):
        run(config, tmp_path / "cut")
    torch.manual_seed(99)  # whatever the process did in between must not matter
    going_on: Any = OmegaConf.merge(config, {"resume": str(tmp_path / "cut")})
    resumed = run(going_on, tmp_path / "cut")
    assert whole["widths"] == [4, 4, 8]
    assert whole["accuracy_matrix"] == resumed["accuracy_matrix"]
    states = [read_checkpoint(tmp_path / name / LAST_CHECKPOINT)["state_dict"] for name in ("whole", "cut")]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    plain = run(OmegaConf.merge(config, {"scenario": {"augment": "none"}}), tmp_path / "plain")  # type: ignore[arg-type]
    losses = [
        [row["train_loss"] for row in read_metrics(tmp_path / name / "metrics.csv")] for name in ("whole", "plain")
    ]
    assert losses[0] != losses[1], "what is trained on is changed"
    assert plain["accuracy_before_training"] == whole["accuracy_before_training"], "what is tested on is not"


def test_a_picture_of_many_runs_takes_streams_too(small: Compose, tmp_path: Path) -> None:
    from metaplast.report.report import report_sweep

    for m in (0.0, 2.0):
        run(small(*STREAM, f"m={m}"), tmp_path / "runs" / str(m))
    page = report_sweep([tmp_path / "runs"])
    assert "after part 0" in page.read_text(encoding="utf-8")


@NUMBERS
@pytest.mark.parametrize("strategy", ["finetune", "joint", "gem", "der"])
def test_where_the_task_is_told_its_classes_alone_are_answers_and_the_summary_says_so(
    small: Compose, tmp_path: Path, strategy: str
) -> None:
    config = small(*SPLIT, "scenario.incremental=task", "model.norm_per_task=false", f"strategy={strategy}")
    summary = run(config, tmp_path / "run")
    assert summary["task_label_used"]
    assert summary["task_boundary_used"] == (strategy != "joint")
    assert sum(summary["accuracy_before_training"]) / 2 == pytest.approx(0.2, abs=0.1)  # of five classes, not of ten
    assert summary["accuracy_matrix"][-1][1] > 0.6
    row = read_metrics(tmp_path / "run" / "metrics.csv")[0]
    assert row["train_loss"] < 1.61 if strategy == "finetune" else row["train_loss"] > 0  # log 5: of five classes


@NUMBERS
def test_without_the_task_all_classes_may_be_answered_and_unseen_ones_never_are(small: Compose, tmp_path: Path) -> None:
    summary = run(small(*SPLIT, "model.norm_per_task=false", "strategy=finetune"), tmp_path / "run")
    assert not summary["task_label_used"]
    assert not summary["task_boundary_used"]
    assert summary["accuracy_matrix"][0][1] < 0.05
