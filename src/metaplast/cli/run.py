"""One run, from a checked configuration to the files of its directory: build, fit, report."""

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger

from metaplast.config.instantiate import build, partial
from metaplast.config.overrides import TYPED_NOW, key_of
from metaplast.errors import UserError
from metaplast.io import write_text
from metaplast.loggers.base import NoRun, replay
from metaplast.loggers.csv import MetricsFile
from metaplast.loggers.wandb import open_run
from metaplast.metrics.continual import FIGURES, figures
from metaplast.nn import TaskCrossEntropy, hidden_weights, task_norms
from metaplast.report import print_summary, read_metrics
from metaplast.report.protocol import labels_of_job
from metaplast.report.report import write_result_files
from metaplast.runs.summary import description, is_labels, plain, read_summary, versions, write_summary
from metaplast.scenarios import Scenario
from metaplast.search.trial import this_trial
from metaplast.system import cores, keep_freed_memory
from metaplast.training.callbacks.alternate_statistics import OtherStatistics
from metaplast.training.callbacks.diagnostics import Diagnostics
from metaplast.training.callbacks.progress import Progress
from metaplast.training.callbacks.pruning import Pruning
from metaplast.training.callbacks.recorder import Recorder
from metaplast.training.callbacks.thread_throttle import SharedCores
from metaplast.training.callbacks.weight_histograms import WeightHistograms
from metaplast.training.checkpoint import LastCheckpoint, SafeCheckpointIO, check_form, read_checkpoint, resuming
from metaplast.training.datamodule import StreamDataModule
from metaplast.training.kinds import OPTIMIZER, PLUGIN, SCENARIO
from metaplast.training.learner import Learner
from metaplast.training.task_schedule import Schedule
from metaplast.training.trainer import NoProfiler, network_for, tasks_of

if TYPE_CHECKING:
    from metaplast.strategies.bridge import Bridge

CHECKPOINT = Path("checkpoints") / "last.ckpt"
"""Where a run keeps its last state, below its directory."""


def run(config: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Train as `config` says, leave the files of a run in `run_dir`, and return the summary.

    With `config.resume` set, the run in `run_dir` goes on from its last checkpoint. Whatever ends the run early is
    raised again, once summary.json says so. Raises UserError for what is the user's to mend.
    """
    if config.resume is None:
        write_text(run_dir / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
    summary = {**description(config), "status": "running", "run_dir": str(run_dir)}
    before = read_summary(run_dir) if config.resume is not None else {}
    summary |= {"overrides": _overrides(before), "versions": versions()}
    summary["wandb"] = (
        before["wandb"] if is_labels(before.get("wandb")) else labels_of_job(summary)
    )  # a resumed run is called what it was
    write_summary(run_dir, summary)
    recording = NoRun()
    try:
        recording = open_run(plain(config.logger), run_dir, plain(config), **summary["wandb"])
        if recording.view_command:
            print(f"watch it: {recording.view_command}", flush=True)
        summary |= _train(config, run_dir, summary, recording)
    except BaseException as error:
        status = "failed" if isinstance(error, Exception) else "interrupted"
        summary |= {"status": status, "error": f"{type(error).__name__}: {error}"}
        write_summary(run_dir, summary)
        recording.summary(summary)
        recording.finish(exit_code=1)
        raise
    write_summary(run_dir, summary)
    recording.summary(summary)
    if config.logger.get("model_artifact"):
        recording.model({key: summary[key] for key in (*FIGURES, "strategy", "scenario", "m", "seed")})
    recording.finish()
    print_summary(summary)
    if recording.sync_command:
        print(f"to upload it: {recording.sync_command}")
    return summary


def _overrides(before: dict[str, Any]) -> list[str]:
    """What the command line set when the run was first started; nothing where that was done from Python."""
    given = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    return [override for override in map(str, before.get("overrides", given)) if key_of(override) not in TYPED_NOW]


def _train(config: DictConfig, run_dir: Path, summary: dict[str, Any], recording: NoRun) -> dict[str, Any]:
    """Build, fit, and write what was measured; return what there is to add to the summary."""
    _settle(config.trainer)
    whole = build(config.scenario, SCENARIO, seed=config.seed, data_dir=config.data_dir)
    scenario = tasks_of(config, whole)
    pl.seed_everything(config.seed, verbose=False)
    schedule = Schedule(scenario.n_tasks, config.epochs_per_task, joint=config.strategy.stream == "joint")
    network = network_for(config, whole)
    m = plain(config.m) if config.strategy.uses_m and config.m is not None else 0.0
    bridge = _bridge(config, scenario)
    optimizer = partial(config.strategy.optimizer, OPTIMIZER)
    classes = scenario.classes_of_task
    criterion = None if classes is None else TaskCrossEntropy(scenario.n_classes, classes)
    reset = config.strategy.reset_optimizer
    learner = Learner(network, optimizer, schedule, m, reset, bridge, scenario.n_tests, criterion)
    data = StreamDataModule(scenario, schedule, config.batch_size, config.eval_batch_size, config.seed)

    checkpoint = run_dir / CHECKPOINT if config.resume is not None else None
    progress = Progress(schedule, config.trainer.progress, "part" if whole.in_parts else "task")
    sharing = SharedCores(torch.get_num_threads())
    giving_way = [sharing] if config.trainer.threads is None else []
    metrics = MetricsFile(run_dir / "metrics.csv", _epochs_done(checkpoint))
    if metrics.path.exists():  # W&B records a resumed run anew, from its first row on
        replay(read_metrics(metrics.path), recording, config.epochs_per_task, scenario.n_tasks)
    recording.watch(hidden_weights(network))
    recorder = Recorder([metrics, progress, recording], baseline=metrics)
    if "hidden_weights" in config.get("figures", []):
        recorder.sinks.append(WeightHistograms(run_dir, hidden_weights(network)))
    pruning = Pruning(this_trial(config) or (lambda task, accuracy: False))
    inside = [Diagnostics(run_dir), OtherStatistics(run_dir)] if config.get("diagnostics") else []
    trainer = _trainer(config, run_dir, schedule, [recorder, progress, *giving_way, *inside, pruning], recording.logger)
    try:
        with resuming(trainer, checkpoint):
            trainer.fit(learner, datamodule=data, ckpt_path=checkpoint)
    finally:
        if recorder.rows:  # also of a run that is cut short
            threads = {"fewest_threads": sharing.fewest}
            summary = {**summary, "n_tasks": scenario.n_tasks, **threads, **_results(learner, recorder)}
            epochs_per_task = None if schedule.joint else schedule.epochs_per_task
            write_result_files(run_dir, learner.matrix.compute(), recorder.rows, epochs_per_task, summary)
    return {**summary, "status": "pruned" if pruning.pruned else "completed"}


def _bridge(config: DictConfig, scenario: Scenario) -> "Bridge | None":
    """The strategy's plugins, if it has any, behind what drives them."""
    if not config.strategy.plugins:
        return None
    from metaplast.strategies.bridge import Bridge  # brings Avalanche's training, seconds that others need not pay

    plugins = [build(node, PLUGIN) for node in config.strategy.plugins]
    return Bridge(plugins, scenario.benchmark, config.batch_size, config.eval_batch_size, config.epochs_per_task)


def _settle(trainer: DictConfig) -> None:
    """Share of the cores, quiet libraries, and a device that is there."""
    torch.set_num_threads(trainer.threads or cores())
    keep_freed_memory()
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # adverts and device lines
    # Lightning asks torch in a way that is deprecated there, and warns of steps that are not logged; rows are made
    # by epochs here. There is nothing that a user could do about either.
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    logging.getLogger("torch.utils.cpp_extension").setLevel(
        logging.ERROR
    )  # that there is no CUDA, while compiling for a CPU
    if trainer.accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError("trainer.accelerator=gpu: torch finds no GPU here; use trainer=cpu or trainer=auto")


def _epochs_done(checkpoint: Path | None) -> int | None:
    """Epochs behind the last row that a checkpoint knows of; None where there is no checkpoint to go on from."""
    if checkpoint is None:
        return None
    content = read_checkpoint(checkpoint)
    check_form(content, checkpoint)
    try:
        rows = content["callbacks"][Recorder.__qualname__]["rows"]
        return int(rows[-1]["epoch"]) if rows else 0
    except (KeyError, TypeError, IndexError, ValueError, OverflowError) as error:
        raise UserError(f"checkpoint: {checkpoint}: callbacks: expected the rows of a run") from error


def _trainer(
    config: DictConfig, run_dir: Path, schedule: Schedule, callbacks: list[Callback], logger: Logger | Literal[False]
) -> pl.Trainer:
    """One Trainer for the whole stream."""
    every = config.trainer.checkpoint_every
    if every:
        callbacks = [*callbacks, LastCheckpoint(run_dir / CHECKPOINT, every)]
    return pl.Trainer(
        accelerator=config.trainer.accelerator,
        devices=1,
        precision=config.trainer.precision,
        max_epochs=schedule.total_epochs,
        check_val_every_n_epoch=config.measure_every,
        # Every task is tested before any training, for the baseline of forward transfer; a resumed run has it already.
        num_sanity_val_steps=-1 if config.resume is None else 0,
        reload_dataloaders_every_n_epochs=1,
        callbacks=callbacks,
        plugins=[SafeCheckpointIO()],
        profiler=NoProfiler(),
        logger=logger,
        enable_checkpointing=bool(every),
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=run_dir,
    )


def _results(learner: Learner, recorder: Recorder) -> dict[str, Any]:
    """What was measured, and what a reader has to know to compare it."""
    norms = [*task_norms(learner.network)]
    per_task = any(norm.per_task for norm in norms)
    masked = isinstance(learner.criterion, TaskCrossEntropy)
    # Population statistics are those of the task that is current, so they have to know it, unless there is but one: of
    # the parts of a stream they need no more than the data at hand.
    population = any(getattr(norm, "test_statistics", None) == "population" for norm in norms)
    population = population and learner.matrix.n_tested > 1
    plugins = learner.bridge is not None and learner.bridge.uses_boundary
    told = learner.reset_optimizer or per_task or masked or population or plugins
    return {
        **figures(learner.matrix.compute(), learner.matrix.baseline()),
        "norm_per_task": any(norm.n_states > 1 for norm in norms),
        "task_boundary_used": told and not learner.schedule.joint,
        "task_label_used": per_task or masked,
        "train_seconds": round(recorder.train_seconds, 3),
        "samples_per_second": round(recorder.samples_per_second, 1),
    }
