"""A run that is told that it is hopeless ends with its task: the later ones are not trained."""

import pytorch_lightning as pl
import torch
from torch import nn

from metaplast.data import TaskTensors
from metaplast.optim import MetaplasticAdam
from metaplast.scenarios import Scenario
from metaplast.training.callbacks.after_task import IsHopeless, Pruning
from metaplast.training.callbacks.recorder import Recorder
from metaplast.training.datamodule import Schedule, StreamDataModule
from metaplast.training.learner import Learner


def trained(is_hopeless: IsHopeless) -> tuple[Pruning, Recorder]:
    """Three tasks of two epochs each."""
    tasks = [TaskTensors(torch.rand(8, 1, 2, 2), torch.arange(8) % 2) for _ in range(3)]
    schedule = Schedule(n_tasks=3, epochs_per_task=2)
    learner = Learner(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), MetaplasticAdam, schedule)
    pruning, recorder = Pruning(is_hopeless), Recorder()
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=6, num_sanity_val_steps=-1, reload_dataloaders_every_n_epochs=1, logger=False,
        callbacks=[recorder, pruning], enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False,
    )  # fmt: skip
    data = StreamDataModule(Scenario.from_tensors(tasks, tasks, 2), schedule, batch_size=4, eval_batch_size=4, seed=0)
    trainer.fit(learner, datamodule=data)
    return pruning, recorder


def test_it_is_asked_after_every_task_and_stops_where_it_is_told_to() -> None:
    asked: list[tuple[int, float]] = []

    def is_hopeless(task: int, accuracy: float) -> bool:
        asked.append((task, accuracy))
        return task == 1

    pruning, recorder = trained(is_hopeless)
    assert pruning.pruned
    assert [row["task"] for row in recorder.rows] == [0, 0, 1, 1]
    assert asked == [(row["task"], row["average_accuracy_seen"]) for row in recorder.rows[1::2]]


def test_after_the_last_task_there_is_nothing_to_stop() -> None:
    pruning, recorder = trained(lambda task, accuracy: task == 2)
    assert not pruning.pruned
    assert len(recorder.rows) == 6
