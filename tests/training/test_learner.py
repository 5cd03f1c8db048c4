"""The learner in a user's own Trainer: the command's matrix to the bit, what it logs, and what it refuses."""

import copy
import csv
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn

from metaplast.cli.run import run
from metaplast.data import TaskTensors
from metaplast.errors import UserError
from metaplast.nn import TaskCrossEntropy, bnn, mlp
from metaplast.optim import MetaplasticAdam
from metaplast.runs.tables import read_matrix_csv
from metaplast.scenarios import Scenario, permuted_digits
from metaplast.training import Learner, Schedule, StreamDataModule, fit
from metaplast.training.datamodule import SequentialLoader

pytestmark = [
    pytest.mark.usefixtures("threads_as_before"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*"),  # Lightning's, about torch
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval.*"),
]
ROOT = Path(__file__).parents[2]
QUIET: dict[str, Any] = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}


def tasks(n_tasks: int, n: int = 20, seed: int = 0) -> list[TaskTensors]:
    generator = torch.Generator().manual_seed(seed)
    return [
        TaskTensors(torch.rand(n, 1, 4, 4, generator=generator), torch.arange(n) % 3 + 0 * task)
        for task in range(n_tasks)
    ]


def small(n_tasks: int = 3, epochs: int = 2, eval_tasks: str = "all", **settings: Any) -> tuple[Learner, Any]:
    """A learner and its data: some random images, a network of one hidden layer."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    scenario = Scenario.from_tensors(tasks(n_tasks), tasks(n_tasks, seed=1), n_classes=3)
    schedule = Schedule(n_tasks, epochs)
    network = settings.pop("network", None) or mlp((1, 4, 4), 3, n_tasks=n_tasks, hidden=[6])
    learner = Learner(network, lambda groups: torch.optim.SGD(groups, lr=0.1), schedule, **settings)
    return learner, StreamDataModule(scenario, schedule, 10, 20, seed=0, eval_tasks=eval_tasks)


def test_a_users_own_trainer_gives_the_matrix_of_the_command_to_the_bit(tmp_path: Path) -> None:
    overrides = ["scenario=pdigits", "scenario.n_tasks=2", "model.hidden=[16]", "epochs_per_task=2", "m=1.3"]
    quiet = ["logger=none", "trainer=cpu", "trainer.threads=1", "trainer.progress=none", "seed=3"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", [*overrides, *quiet])
    OmegaConf.set_struct(config, True)
    (tmp_path / "run").mkdir()
    run(config, tmp_path / "run")

    scenario = permuted_digits(2, seed=3)
    pl.seed_everything(3, verbose=False)
    network = bnn((1, 8, 8), 10, n_tasks=2, hidden=[16], gamma_init="uniform", test_statistics="batch")
    schedule = Schedule(n_tasks=2, epochs_per_task=2)
    learner = Learner(network, lambda groups: MetaplasticAdam(groups, **settings(config)), schedule, m=1.3)
    data = StreamDataModule(scenario, schedule, batch_size=100, eval_batch_size=1000, seed=3)
    pl.Trainer(max_epochs=4, logger=False, enable_checkpointing=False, **QUIET).fit(learner, datamodule=data)
    R = read_matrix_csv(tmp_path / "run" / "accuracy_matrix.csv")
    assert torch.equal(learner.matrix.compute(), torch.from_numpy(R))


def settings(config: Any) -> dict[str, Any]:
    """The optimizer's arguments in a configuration."""
    plain: dict[str, Any] = OmegaConf.to_container(config.strategy.optimizer, resolve=True)  # type: ignore[assignment]
    return {name: value for name, value in plain.items() if not name.startswith("_")}


def test_each_epoch_trains_its_own_task() -> None:
    learner, data = small()
    seen = []

    class Watch(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            own = [float(task.images.sum()) for task in data.train_tasks]
            seen.append((trainer.current_epoch, batch_idx, float(batch[0].sum())))
            sums = [a[2] + b[2] for a, b in zip(seen[::2], seen[1::2], strict=False)]
            assert sums == pytest.approx([own[epoch // 2] for epoch in range(len(sums))], rel=1e-5)

    trainer = pl.Trainer(max_epochs=6, logger=False, enable_checkpointing=False, callbacks=[Watch()], **QUIET)
    trainer.fit(learner, datamodule=data)
    assert [epoch for epoch, _, _ in seen] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_a_row_of_every_epoch_reaches_a_logger_and_a_checkpoint(tmp_path: Path) -> None:
    learner, data = small()
    best = ModelCheckpoint(tmp_path / "best", monitor="average_accuracy", mode="max", save_top_k=1)
    means = []

    class Note(Callback):
        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            if not trainer.sanity_checking:
                means.append(float(pl_module.matrix.compute()[pl_module.task].mean()))

    fit(learner, data, logger=CSVLogger(tmp_path), enable_checkpointing=True, callbacks=[best, Note()])
    with (tmp_path / "lightning_logs" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["average_accuracy"]) for row in rows] == pytest.approx(means)
    assert [(float(row["task"]), float(row["epoch_in_task"])) for row in rows] == [
        (task, epoch) for task in range(3) for epoch in (1, 2)
    ]
    for task in range(3):
        assert [float(rows[2 * i + 1][f"accuracy/task_{task}"]) for i in range(3)] == pytest.approx(
            learner.matrix.compute()[:, task].tolist()
        )
    assert best.best_model_score == pytest.approx(max(means))
    assert f"epoch={means.index(max(means))}" in best.best_model_path


def test_test_and_predict_use_the_normalization_that_they_name() -> None:
    learner, data = small(epochs=1)
    fit(learner, data)
    trainer = pl.Trainer(logger=False, enable_checkpointing=False, **QUIET)
    before = copy.deepcopy(learner.state_dict())
    trainer.test(learner, datamodule=data, verbose=False)
    last = learner.matrix.compute()[-1]
    assert trainer.callback_metrics["average_accuracy"] == pytest.approx(last.mean().item())
    assert [trainer.callback_metrics[f"accuracy/task_{j}"] for j in range(3)] == pytest.approx(last.tolist())
    torch.testing.assert_close(learner.state_dict(), before, rtol=0, atol=0, equal_nan=True)
    answers = []
    for task in (None, 0):
        learner.predict_task = task
        parts: Any = trainer.predict(learner, datamodule=data)
        answers.append(torch.cat([part for loader in parts for part in loader]))
    assert answers[0].shape == (60, 3)
    assert not torch.equal(*answers)


@pytest.mark.parametrize(
    ("eval_tasks", "measured"),
    [
        ("seen", [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]),
        ("last_k:2", [[0], [0, 1], [1, 2], [0, 1, 2, 3]]),
        ("last_k:1", [[0], [1], [2], [0, 1, 2, 3]]),
        ("all", [[0, 1, 2, 3]] * 4),
    ],
)
@pytest.mark.parametrize("sanity", [0, -1])
def test_what_is_not_to_be_measured_is_nan_and_the_rest_as_ever(
    eval_tasks: str, measured: list[list[int]], sanity: int
) -> None:
    learner, data = small(n_tasks=4, epochs=1, eval_tasks=eval_tasks)
    R = fit(learner, data, num_sanity_val_steps=sanity)
    assert [[j for j in range(4) if not row[j].isnan()] for row in R] == measured
    everything = fit(*small(n_tasks=4, epochs=1))
    assert torch.equal(R[~R.isnan()], everything[~R.isnan()])
    assert bool(learner.matrix.baseline().isnan().all()) is (sanity == 0)


def test_a_sample_of_tasks_holds_the_current_one_and_is_the_same_again() -> None:
    found = []
    for _ in range(2):
        learner, data = small(n_tasks=6, epochs=1, eval_tasks="sampled:3")
        R = fit(learner, data)
        assert [int((~row.isnan()).sum()) for row in R] == [1, 2, 3, 3, 3, 6]
        assert not R.diagonal().isnan().any()
        found.append(R)
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("eval_tasks", ["some", "last_k", "last_k:0", "sampled:-1", "sampled:2.5", "seen:3", ""])
def test_another_choice_of_tasks_is_refused(eval_tasks: str) -> None:
    with pytest.raises(UserError, match=rf"^eval_tasks={eval_tasks}: expected all, seen, last_k:N or sampled:N"):
        small(eval_tasks=eval_tasks)


def test_a_few_batches_of_a_sanity_check_are_no_baseline() -> None:
    learner, data = small()
    fit(learner, data, num_sanity_val_steps=1)
    assert learner.matrix.baseline().isnan().all()
    assert not learner.matrix.compute().isnan().any()


@pytest.mark.parametrize(
    ("trainer", "text"),
    [
        ({"max_epochs": 7}, "max_epochs=7: expected at most 6, the epochs of the schedule"),
        ({"max_epochs": -1}, "max_epochs=-1: expected at most 6"),
        ({"max_epochs": None}, "max_epochs=1000: expected at most 6"),
    ],
)
@pytest.mark.filterwarnings("ignore:`max_epochs` was not set")
def test_a_trainer_that_does_not_fit_the_schedule_is_refused(trainer: dict[str, Any], text: str) -> None:
    learner, data = small()
    with pytest.raises(UserError, match=f"^{text}"):
        fit(learner, data, **trainer)


def test_plain_loaders_are_refused() -> None:
    learner, data = small()
    trainer = pl.Trainer(max_epochs=1, logger=False, enable_checkpointing=False, **QUIET)
    batches = SequentialLoader(data.train_tasks[0], 10)
    with pytest.raises(UserError, match=r"^datamodule: expected a StreamDataModule"):
        trainer.fit(learner, batches, batches)


def with_label(data: Any, task: int, label: int, test: bool = False) -> None:
    chosen = (data.test_tasks if test else data.train_tasks)[task]
    chosen.labels[3] = label


@pytest.mark.parametrize(
    ("task", "label", "test", "text"),
    [
        (0, -100, False, r"task 0 \(train\): expected labels >= 0, got -100"),
        (2, -100, True, r"task 2 \(test\): expected labels >= 0, got -100"),
        (1, -1, False, r"task 1 \(train\): expected labels >= 0, got -1"),
        (1, 2, False, r"task 1 \(train\): expected labels of a class in classes_of_task, got 2"),
        (0, 2, True, r"task 0 \(test\): expected labels of a class in classes_of_task, got 2"),
        (0, 7, True, r"task 0 \(test\): expected labels of a class in classes_of_task, got 7"),
    ],
)
def test_a_label_that_no_answer_could_match_is_refused(task: int, label: int, test: bool, text: str) -> None:
    learner, data = small(criterion=TaskCrossEntropy(3, [[0], [1]]))
    for tensors in [*data.train_tasks, *data.test_tasks]:
        tensors.labels.clamp_(max=1)
    with_label(data, task, label, test)
    with pytest.raises(UserError, match=f"^{text}"):
        fit(learner, data)


@pytest.mark.parametrize(
    ("test", "value", "text"),
    [
        (False, float("nan"), r"task 1 \(train\): expected finite pixels, got nan"),
        (False, float("inf"), r"task 1 \(train\): expected finite pixels, got inf"),
        (True, float("-inf"), r"task 1 \(test\): expected finite pixels, got -inf"),
        (True, float("nan"), r"task 1 \(test\): expected finite pixels, got nan"),
    ],
)
def test_a_pixel_that_is_no_number_is_blamed_on_the_data_and_not_on_the_step(
    test: bool, value: float, text: str
) -> None:
    learner, data = small()
    (data.test_tasks if test else data.train_tasks)[1].images[0, 0, 0, 0] = value
    with pytest.raises(UserError, match=f"^{text}"):
        fit(learner, data)


class Explosive(nn.Module):
    """Its loss is finite, as its weights are, and says nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1e13))
        self.weight = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight + self.scale * torch.tensor([0.0, 1.0, 2.0]).expand(len(x), 3) + 0 * x.sum()


def test_a_loss_beyond_all_measure_has_diverged() -> None:
    learner, data = small(network=Explosive())
    with pytest.raises(UserError, match=r"^training diverged: after epoch 1 \(task 0\) the mean training loss is "):
        fit(learner, data)


def test_a_checkpoint_gives_the_same_learner_back(tmp_path: Path) -> None:
    learner, data = small(epochs=1)
    best = ModelCheckpoint(tmp_path, filename="last")
    fit(learner, data, enable_checkpointing=True, callbacks=[best])
    fresh, _ = small(epochs=1)
    loaded = Learner.load_from_checkpoint(
        best.best_model_path, network=fresh.network, optimizer=fresh.make_optimizer, schedule=fresh.schedule
    )
    torch.testing.assert_close(loaded.state_dict(), learner.state_dict(), rtol=0, atol=0, equal_nan=True)
