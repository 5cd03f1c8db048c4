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
from metaplast.training.checkpoint import read_checkpoint, write_checkpoint
from metaplast.training.finished_run import load, load_finished_run

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

        one_by_one = load(tmp_path / "run", task=j)
        with torch.no_grad():
            assert torch.equal(torch.cat([one_by_one(image[None]) for image in images[:20]]), back.network(images)[:20])
    assert not one_by_one.training
    with torch.no_grad():
        assert torch.equal(load(tmp_path / "run")(images), one_by_one(images))
        assert not torch.equal(load(tmp_path / "run", statistics="batch")(images), one_by_one(images))
    for task in (2, -1, True, "0"):
        with pytest.raises(UserError, match=f"task={task}: expected a task of the run, an integer from 0 to 1"):
            load(tmp_path / "run", task)  # type: ignore[arg-type]

    other = OmegaConf.load(tmp_path / "run" / "config.yaml")
    other.model.hidden = [17]
    OmegaConf.save(other, tmp_path / "run" / "config.yaml")
    with pytest.raises(UserError, match=r"its config\.yaml is not the one that its checkpoint was saved with"):
        load_finished_run(tmp_path / "run")


def test_a_run_tested_by_batch_is_loaded_with_population_statistics_of_its_task(
    small: DictConfig, tmp_path: Path
) -> None:
    small.model.test_statistics = "batch"
    run(small, tmp_path / "run")
    scenario = load_finished_run(tmp_path / "run").scenario
    networks = [load(tmp_path / "run", task) for task in (0, 1, None)]
    for task, experience in enumerate(scenario.benchmark.train_stream):
        first = networks[task].get_submodule("layer1")(task_tensors(experience).batch(slice(None))[0].flatten(1))
        norm = networks[task].get_submodule("norm1")
        torch.testing.assert_close(norm.mean, first.mean(0))
        torch.testing.assert_close(norm.var, first.var(0, correction=0))
    image = torch.rand(1, 1, 8, 8)
    assert torch.equal(networks[1](image), networks[2](image))
    assert not torch.equal(networks[0](image), networks[1](image))


def test_what_cannot_answer_for_one_image_is_not_loaded(small: DictConfig, tmp_path: Path) -> None:
    run(small, tmp_path / "run")
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    checkpoint = read_checkpoint(path)
    checkpoint["epoch"] = 0
    for name, tensor in checkpoint["state_dict"].items():
        if name.endswith("_of_task"):
            tensor[1] = 0
        if name.endswith(("norm1.mean", "norm1.var")):
            tensor.fill_(name.endswith("var"))
    write_checkpoint(checkpoint, path)
    with pytest.raises(UserError, match="task=1: expected a task that the run has trained"):
        load(tmp_path / "run", 1)
    with pytest.raises(UserError, match="expected a run with population statistics"):
        load(tmp_path / "run")
    with pytest.raises(UserError, match="statistics=running: expected population or batch"):
        load(tmp_path / "run", statistics="running")  # type: ignore[arg-type]
    assert load_finished_run(tmp_path / "run").last_task == 0


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
