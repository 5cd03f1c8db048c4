"""Load a finished run: its configuration, its tasks and its trained network, or that network alone, ready for use."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from omegaconf import DictConfig
from torch import Tensor, nn

from metaplast.config.instantiate import build
from metaplast.errors import UserError
from metaplast.nn import BatchNorm, set_population_statistics, task_norms
from metaplast.runs.names import CONFIG, LAST_CHECKPOINT
from metaplast.runs.summary import read_summary
from metaplast.runs.untrusted import load_saved_config
from metaplast.scenarios import Scenario, task_tensors
from metaplast.training.checkpoint import read_checkpoint
from metaplast.training.checkpoint_content import check_form, check_run
from metaplast.training.datamodule import Schedule, SequentialLoader
from metaplast.training.trainer import SCENARIO, build_network, select_tasks

_PREFIX = "network."
"""What the learner puts before the names of the network's tensors."""


class FinishedRun(NamedTuple):
    """A run read back from its directory."""

    config: DictConfig
    scenario: Scenario
    """The tasks trained on."""
    network: nn.Module
    """The network of the last checkpoint, with the normalization of the task that was trained last in place."""
    last_task: int
    """The task that was trained last."""

    def training_images(self, task: int) -> Iterator[Tensor]:
        """Batches of the training images of `task`; of all tasks, where the run trained on all of them at once."""
        experiences = self.scenario.benchmark.train_stream
        joint = self.config.strategy.task_order == "joint"
        for experience in experiences if joint else [experiences[task]]:
            for images, _ in SequentialLoader(task_tensors(experience), self.config.get("eval_batch_size", 1000)):
                yield images


def load(
    run_dir: str | Path,
    task: int | None = None,
    statistics: Literal["population", "batch"] = "population",
    data_dir: str | Path | None = None,
    trust: Collection[str] = (),
) -> nn.Module:
    """The trained network of a run, in eval mode: from images (N, C, H, W) in [0, 1] to logits (N, K), on the CPU.

    With "population" the batch normalization of the network is fixed, so that N may be 1. It uses the statistics that
    the run kept (`model.test_statistics` population or running); those of a run that was tested with statistics of the
    test batch are computed now, from the training images of `task`.

    Args:
        run_dir: the directory of the run; its checkpoint is read as data, no code in it runs.
        task: whose normalization is used, counted from 0; None: the task trained last.
        statistics: "population", or "batch" for those of the images that are handed over, two or more.
        data_dir: where the data are, if not where they were.
        trust: names of scenarios, models and plugins of your own that config.yaml may name.

    Raises:
        UserError: if the directory holds no run or no whole checkpoint, the task was not trained, or the network has
            no population statistics yet.
    """
    return load_run_for_use(run_dir, task, statistics, data_dir, trust).network


def load_run_for_use(
    run_dir: str | Path,
    task: int | None = None,
    statistics: Literal["population", "batch"] = "population",
    data_dir: str | Path | None = None,
    trust: Collection[str] = (),
) -> FinishedRun:
    """What :func:`load` loads, with the configuration and the tasks beside the network."""
    if statistics not in ("population", "batch"):
        raise UserError(f"statistics={statistics}: expected population or batch")
    folder = Path(run_dir).expanduser()
    run = load_finished_run(folder, None if data_dir is None else Path(data_dir), trust)
    _select_live(run, task)
    norms = [module for module in run.network.modules() if isinstance(module, BatchNorm)]
    if statistics == "batch":
        for norm in norms:
            norm.test_statistics = "batch"
    elif any(norm.test_statistics == "batch" for norm in norms):
        for norm in norms:
            norm.test_statistics = "population"
        set_population_statistics(run.network, lambda: run.training_images(run.last_task if task is None else task))
    elif any(not norm.mean.any() and (norm.var == 1).all() for norm in norms):
        raise UserError(f"{folder}: expected a run with population statistics, got one saved before its first test")
    run.network.eval()
    return run


def _select_live(run: FinishedRun, task: int | None) -> None:
    """Make the normalization of `task` the live one of the network of `run`; None keeps that of the last task.

    Raises UserError where the run has no such task, or has not trained it.
    """
    if task is None:
        return
    n_tasks = run.scenario.n_tasks
    if isinstance(task, bool) or not isinstance(task, int) or not 0 <= task < n_tasks:
        raise UserError(f"task={task}: expected a task of the run, an integer from 0 to {n_tasks - 1}")
    try:
        for norm in task_norms(run.network):
            norm.make_live(task)
    except ValueError:
        raise UserError(f"task={task}: expected a task that the run has trained, got one without a state") from None


def load_finished_run(run_dir: Path, data_dir: Path | None = None, trust: Collection[str] = ()) -> FinishedRun:
    """Read the run in `run_dir` back from config.yaml and checkpoints/last.ckpt.

    `data_dir` is where the data are, if not where they were; `trust` holds the targets of the user's own that
    config.yaml may name. Raises UserError where the directory holds no run, no whole checkpoint, a configuration that
    names anything else, or one that builds another network.
    """
    path = run_dir / CONFIG
    if not path.is_file():
        raise UserError(f"{run_dir}: is not the directory of a run, since it holds no config.yaml")
    try:
        config = load_saved_config(path, trust)
    except UserError as error:
        raise UserError(f"{run_dir}: {error}") from error
    if not {"model", "scenario", "strategy"} <= set(config):
        raise UserError(f"{path}: holds no model, scenario and strategy, as the configuration of a run does")
    checkpoint = read_checkpoint(run_dir / LAST_CHECKPOINT)
    check_form(checkpoint, run_dir / LAST_CHECKPOINT)
    check_run(checkpoint, run_dir, read_summary(run_dir))
    state = checkpoint["state_dict"]
    if missing := {"seed", "data_dir", "epochs_per_task"} - set(config):
        raise UserError(f"{path}: holds no {' and '.join(sorted(missing))}, as the configuration of a run does")
    whole = build(config.scenario, SCENARIO, seed=config.seed, data_dir=str(data_dir or config.data_dir))
    network = build_network(config, whole)
    tensors = {key.removeprefix(_PREFIX): value for key, value in state.items() if key.startswith(_PREFIX)}
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{run_dir}: its checkpoint does not fit the network of its config.yaml: {reason}") from error
    scenario = select_tasks(config, whole)
    schedule = Schedule(scenario.n_tasks, config.epochs_per_task, joint=config.strategy.task_order == "joint")
    return FinishedRun(config, scenario, network, min(schedule.task(checkpoint["epoch"]), scenario.n_tasks - 1))
