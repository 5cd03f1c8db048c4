"""A run read back answers as it did when it ended; what is no such run is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from metaplast.cli.run import run
from metaplast.errors import UserError
from metaplast.nn import select_task
from metaplast.scenarios import task_tensors
from metaplast.training.finished_run import load_finished_run

Compose = Callable[..., DictConfig]


@pytest.fixture
def small(composed: Compose, workplace: Path) -> DictConfig:
    """Two tasks in a second."""
    config = composed(
        *("scenario=pdigits", "scenario.n_tasks=2", "epochs_per_task=1", "model.hidden=[16]", "eval_split=validation"),
        *("logger=none", "trainer.threads=1", "trainer.progress=none", "model.test_statistics=population"),
    )
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def test_the_network_read_back_answers_as_the_run_was_tested(small: DictConfig, tmp_path: Path) -> None:
    summary = run(small, tmp_path / "run")
    back = load_finished_run(tmp_path / "run")
    assert back.config.model.hidden == [16]
    assert len(task_tensors(back.scenario.benchmark.train_stream[0])) < 1500  # without what was held out
    back.network.eval()
    for j, experience in enumerate(back.scenario.benchmark.test_stream):
        select_task(back.network, j)
        images, labels = task_tensors(experience).batch(slice(None))
        with torch.no_grad():
            accuracy = (back.network(images).argmax(1) == labels).double().mean().item()
        assert accuracy == pytest.approx(summary["accuracy_matrix"][-1][j])

    other = OmegaConf.load(tmp_path / "run" / "config.yaml")
    other.model.hidden = [17]
    OmegaConf.save(other, tmp_path / "run" / "config.yaml")
    with pytest.raises(UserError, match=r"its checkpoint does not fit the network of its config.yaml: .*17"):
        load_finished_run(tmp_path / "run")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not the directory of a run, since it holds no config.yaml"),
        ("- 1", "expected settings, KEY: VALUE, got none"),
        ("m: [", "cannot be read: while parsing"),
        ("{model: {}, scenario: {}, strategy: {}}", "nothing to resume from"),
    ],
)
def test_what_is_no_finished_run_is_refused_in_one_line(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(UserError) as refused:
        load_finished_run(tmp_path)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
