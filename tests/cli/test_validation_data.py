"""A run on validation data, or on the first tasks: the test data are never seen, the network is the whole stream's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from metaplast.cli.run import run
from metaplast.data import load_digits
from metaplast.runs.tables import read_metrics
from metaplast.scenarios import transformed

Compose = Callable[..., DictConfig]
pytestmark = pytest.mark.usefixtures("without_pictures")
SMALL = (
    "scenario=pdigits", "scenario.n_tasks=3", "epochs_per_task=1", "logger=none", "model.hidden=[16]",
    "trainer.threads=1", "trainer.progress=none", "trainer.checkpoint_every=0",
)  # fmt: skip


@pytest.fixture
def ran(composed: Compose, workplace: Path) -> Callable[..., tuple[dict[str, Any], list[dict[str, float]]]]:
    """Run something of a second; return its summary and its rows, without times."""

    def make(name: str, *overrides: str) -> tuple[dict[str, Any], list[dict[str, float]]]:
        config = composed(*SMALL, *overrides)
        summary = run(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]), workplace / name)
        rows = read_metrics(workplace / name / "metrics.csv")
        return summary, [{key: row[key] for key in row if "second" not in key} for row in rows]

    return make


def test_a_run_on_validation_data_never_sees_the_test_data(ran: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    summary, rows = ran("as-they-are", "eval_split=validation", "val_fraction=0.25")
    assert (summary["eval_split"], summary["val_fraction"], summary["status"]) == ("validation", 0.25, "completed")

    def other_test_data(train: bool) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = load_digits(train=train)
        return (images, labels) if train else (255 - images[:40], labels[:40].flip(0))

    monkeypatch.setattr(transformed, "load_digits", other_test_data)
    assert ran("other", "eval_split=validation", "val_fraction=0.25")[1] == rows
    assert ran("tested")[0]["val_fraction"] is None


def test_the_first_tasks_are_trained_as_in_the_whole_stream(ran: Any) -> None:
    (whole, _), (begun, rows) = ran("whole"), ran("begun", "max_tasks=2")
    assert [row["task"] for row in rows] == [0, 1]
    assert (begun["n_tasks"], begun["max_tasks"], whole["max_tasks"]) == (2, 2, None)
    assert begun["accuracy_matrix"] == [row[:2] for row in whole["accuracy_matrix"][:2]]
