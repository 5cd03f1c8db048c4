"""The same training twice, through the bridge and through Avalanche's own loop: same batches, same random numbers."""

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
from metaplast.training.datamodule import EpochBatches, SequentialLoader, StreamDataModule, epoch_order
from metaplast.training.learner import Learner
from metaplast.training.task_schedule import Schedule

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
    """Three tasks of permuted digits, 0 to 2, 3 to 5 and 6 to 9; the last batch of an epoch is smaller than others."""
    benchmark = permuted_digits(N_TASKS, SEED).benchmark

    def cut(stream: Any, n: int) -> list[TaskTensors]:
        tasks = [task_tensors(experience) for experience in stream]
        chosen = [(task.labels // 3).clamp(max=2) == i for i, task in enumerate(tasks)]
        return [
            TaskTensors(task.images[mine][:n], task.labels[mine][:n], task.permutation)
            for task, mine in zip(tasks, chosen, strict=True)
        ]

    return Scenario.from_tensors(cut(benchmark.train_stream, n_train), cut(benchmark.test_stream, n_test), n_classes=10)


def through_bridge(make_network: Network, make_plugins: Plugins, scenario: Scenario) -> dict[str, Tensor]:
    """State of the network after plain SGD on all tasks by Lightning, tested before the first and after each.

    Raises UserError where the bridge refuses a plugin.
    """
    learner, data = lightning(*_begin(make_network, make_plugins), scenario)
    seed()
    trainer(learner.schedule).fit(learner, datamodule=data)
    return _state(learner.network)


def lightning(
    network: nn.Module, optimizer: torch.optim.Optimizer, plugins: Sequence[Any], scenario: Scenario
) -> tuple[Learner, StreamDataModule]:
    """What Lightning trains, and on what."""
    bridge = Bridge(plugins, scenario.benchmark, BATCH_SIZE, EVAL_BATCH_SIZE, EPOCHS)
    schedule = Schedule(N_TASKS, EPOCHS)
    learner = Learner(network, lambda groups: optimizer, schedule, bridge=bridge)
    return learner, StreamDataModule(scenario, schedule, BATCH_SIZE, EVAL_BATCH_SIZE, SEED)


def through_avalanche(make_network: Network, make_plugins: Plugins, scenario: Scenario) -> dict[str, Tensor]:
    """The same by Avalanche."""
    network, optimizer, plugins = _begin(make_network, make_plugins)
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
    """Largest absolute difference of two states with the same names; infinite where one is not finite."""
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
    """What an Avalanche strategy inherits to train on our batches; what a plugin adapted is loaded as by Avalanche."""

    adapted_dataset: Any
    experience: Any
    clock: Any
    dataloader: Any

    def train_dataset_adaptation(self, **kwargs: Any) -> None:
        """Remember what is the experience's own."""
        super().train_dataset_adaptation(**kwargs)  # type: ignore[misc]
        self._own = self.adapted_dataset

    def make_train_dataloader(self, **kwargs: Any) -> None:
        """Make the loader."""
        super().make_train_dataloader(**kwargs)  # type: ignore[misc]
        if self.adapted_dataset is self._own:
            self.dataloader = _Epochs(self)

    def make_eval_dataloader(self, **kwargs: Any) -> None:
        """Make the loader of a test; Avalanche's would draw random numbers."""
        batches = SequentialLoader(task_tensors(self.experience), EVAL_BATCH_SIZE)
        self.dataloader = [[x, y, torch.zeros_like(y)] for x, y in batches]

    def training_batches(self) -> Iterator[list[Tensor]]:
        """The batches that the data module gives in this epoch, with task labels."""
        task, epoch = self.experience.current_experience, self.clock.train_exp_epochs
        tensors = task_tensors(self.experience)
        for x, y in EpochBatches([tensors], BATCH_SIZE, epoch_order(len(tensors), SEED, task, epoch)):
            yield [x, y, torch.zeros_like(y)]


class OurNaive(OurBatches, Naive):  # type: ignore[misc]
    """Avalanche's plainest strategy, on our batches."""


class _Epochs:
    """Asked for an iterator again in every epoch."""

    def __init__(self, strategy: OurBatches) -> None:
        self.strategy = strategy

    def __iter__(self) -> Iterator[list[Tensor]]:
        return self.strategy.training_batches()


def run(strategy: Any, scenario: Scenario) -> None:
    """Avalanche's usual loop: train on each experience, test on all, as well as before the first."""
    strategy.eval(scenario.benchmark.test_stream)
    for experience in scenario.benchmark.train_stream:
        strategy.train(experience, eval_streams=[])
        strategy.eval(scenario.benchmark.test_stream)


def _begin(make_network: Network, make_plugins: Plugins) -> tuple[nn.Module, torch.optim.Optimizer, Sequence[Any]]:
    seed()
    network = make_network()
    optimizer = torch.optim.SGD(network.parameters(), lr=LR)
    return network, optimizer, make_plugins(network, optimizer)


def seed() -> None:
    """Begin all random numbers anew."""
    torch.manual_seed(SEED)
    np.random.seed(SEED)
    random.seed(SEED)


def _state(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
