"""Train a network through the bridge and through Avalanche's own loop, with the same batches and random numbers."""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from avalanche.logging import BaseLogger
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.supervised import Naive
from torch import Tensor, nn

from metaplast.data import TaskTensors
from metaplast.scenarios import Scenario, permuted_digits, task_tensors
from metaplast.strategies.bridge import Bridge
from metaplast.training.datamodule import EpochBatches, Schedule, SequentialLoader, StreamDataModule, epoch_order
from metaplast.training.learner import Learner

N_TASKS, EPOCHS, BATCH_SIZE, EVAL_BATCH_SIZE, SEED, LR = 3, 2, 40, 100, 1, 0.05

SIZES = {
    "train_mb_size": BATCH_SIZE,
    "train_epochs": EPOCHS,
    "eval_mb_size": EVAL_BATCH_SIZE,
    "evaluator": lambda: EvaluationPlugin(loggers=[BaseLogger()]),  # without a logger it warns
}
"""Arguments of an Avalanche strategy."""

Network = Callable[[], nn.Module]
"""Makes the network of a run."""

Plugins = Callable[[nn.Module, torch.optim.Optimizer], Sequence[Any]]
"""Makes the plugins of a run, given its network and its optimizer."""


def small_digits(n_train: int = 190, n_test: int = 60) -> Scenario:
    """Three tasks of permuted digits: 0 to 2, 3 to 5 and 6 to 9. The last batch of an epoch is a smaller one."""
    benchmark = permuted_digits(N_TASKS, SEED).benchmark

    def select(stream: Any, n: int) -> list[TaskTensors]:
        tasks = [task_tensors(experience) for experience in stream]
        chosen = [(task.labels // 3).clamp(max=2) == i for i, task in enumerate(tasks)]
        return [
            TaskTensors(task.images[own][:n], task.labels[own][:n], task.permutation)
            for task, own in zip(tasks, chosen, strict=True)
        ]

    return Scenario.from_tensors(
        select(benchmark.train_stream, n_train), select(benchmark.test_stream, n_test), n_classes=10
    )


def through_bridge(make_network: Network, make_plugins: Plugins, scenario: Scenario) -> dict[str, Tensor]:
    """State of the network after SGD on all tasks by Lightning, tested before the first task and after each.

    Raises UserError if the bridge does not support a plugin.
    """
    learner, data = lightning(*_make_run(make_network, make_plugins), scenario)
    seed()
    trainer(learner.schedule).fit(learner, datamodule=data)
    return _state(learner.network)


def lightning(
    network: nn.Module, optimizer: torch.optim.Optimizer, plugins: Sequence[Any], scenario: Scenario
) -> tuple[Learner, StreamDataModule]:
    """The Lightning module and data module of the training."""
    bridge = Bridge(plugins, scenario.benchmark, BATCH_SIZE, EVAL_BATCH_SIZE, EPOCHS)
    schedule = Schedule(N_TASKS, EPOCHS)
    learner = Learner(network, lambda groups: optimizer, schedule, bridge=bridge)
    return learner, StreamDataModule(scenario, schedule, BATCH_SIZE, EVAL_BATCH_SIZE, SEED)


def through_avalanche(make_network: Network, make_plugins: Plugins, scenario: Scenario) -> dict[str, Tensor]:
    """State of the network after the same training by Avalanche."""
    network, optimizer, plugins = _make_run(make_network, make_plugins)
    strategy = OurNaive(
        model=network,
        optimizer=optimizer,
        criterion=nn.CrossEntropyLoss(),
        plugins=plugins,
        **SIZES,
    )
    seed()
    run(strategy, scenario)
    return _state(strategy.model)


def difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Largest absolute difference of two states with the same names; infinite if one is not finite."""
    assert one.keys() == other.keys(), "networks of the same architecture"
    pairs = [(one[name].double(), other[name].double()) for name in one]
    differences = [(a - b).abs().max().item() for a, b in pairs if a.numel()]
    return max((d if np.isfinite(d) else float("inf") for d in differences), default=0.0)


def trainer(schedule: Schedule, **settings: Any) -> pl.Trainer:
    """A silent trainer on the CPU that tests before the first task and after each."""
    quiet = dict.fromkeys(("enable_progress_bar", "enable_model_summary", "enable_checkpointing", "logger"), False)
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": schedule.total_epochs,
        "check_val_every_n_epoch": schedule.epochs_per_task,
        "num_sanity_val_steps": -1,
        "reload_dataloaders_every_n_epochs": 1,
        "use_distributed_sampler": False,
    }
    return pl.Trainer(**(quiet | defaults | settings))


class OurBatches:
    """Mixin that makes an Avalanche strategy train on our batches, unless a plugin has replaced the dataset."""

    adapted_dataset: Any
    experience: Any
    clock: Any
    dataloader: Any

    def train_dataset_adaptation(self, **kwargs: Any) -> None:
        """Remember the experience's own dataset."""
        super().train_dataset_adaptation(**kwargs)  # type: ignore[misc]
        self._own = self.adapted_dataset

    def make_train_dataloader(self, **kwargs: Any) -> None:
        """Use our batches if no plugin has replaced the dataset."""
        super().make_train_dataloader(**kwargs)  # type: ignore[misc]
        if self.adapted_dataset is self._own:
            self.dataloader = _Epochs(self)

    def make_eval_dataloader(self, **kwargs: Any) -> None:
        """Use our test batches, since Avalanche's loader draws random numbers."""
        batches = SequentialLoader(task_tensors(self.experience), EVAL_BATCH_SIZE)
        self.dataloader = [[x, y, torch.zeros_like(y)] for x, y in batches]

    def training_batches(self) -> Iterator[list[Tensor]]:
        """The data module's batches of this epoch, with task labels."""
        task, epoch = self.experience.current_experience, self.clock.train_exp_epochs
        tensors = task_tensors(self.experience)
        for x, y in EpochBatches([tensors], BATCH_SIZE, epoch_order(len(tensors), SEED, task, epoch)):
            yield [x, y, torch.zeros_like(y)]


class OurNaive(OurBatches, Naive):  # type: ignore[misc]
    """Avalanche's `Naive` strategy on our batches."""


class _Epochs:
    """A loader that gives a new iterator in every epoch."""

    def __init__(self, strategy: OurBatches) -> None:
        self.strategy = strategy

    def __iter__(self) -> Iterator[list[Tensor]]:
        return self.strategy.training_batches()


def run(strategy: Any, scenario: Scenario) -> None:
    """Avalanche's usual loop: test, then train on each experience and test after it."""
    strategy.eval(scenario.benchmark.test_stream)
    for experience in scenario.benchmark.train_stream:
        strategy.train(experience, eval_streams=[])
        strategy.eval(scenario.benchmark.test_stream)


def _make_run(make_network: Network, make_plugins: Plugins) -> tuple[nn.Module, torch.optim.Optimizer, Sequence[Any]]:
    seed()
    network = make_network()
    optimizer = torch.optim.SGD(network.parameters(), lr=LR)
    return network, optimizer, make_plugins(network, optimizer)


def seed() -> None:
    """Reset all random number generators."""
    torch.manual_seed(SEED)
    np.random.seed(SEED)
    random.seed(SEED)


def _state(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
