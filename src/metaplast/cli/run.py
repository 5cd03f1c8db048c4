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
from metaplast.loggers.base import NullLogger, replay
from metaplast.loggers.csv import MetricsFile
from metaplast.loggers.wandb import create_logger
from metaplast.metrics.continual import SUMMARY_METRICS, summary_metrics
from metaplast.nn import TaskCrossEntropy, hidden_weights, task_norms
from metaplast.report.console import print_summary
from metaplast.report.protocol import job_naming
from metaplast.report.report import write_result_files
from metaplast.runs.directory import check_not_finished
from metaplast.runs.paths import CONFIG, LAST_CHECKPOINT, METRICS
from metaplast.runs.status import RunStatus
from metaplast.runs.summary import description, is_labels, plain, read_summary, versions, write_summary
from metaplast.runs.tables import read_metrics
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


def run(config: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Train as `config` says, leave the files of a run in `run_dir`, and return the summary.

    With `config.resume` set, the run in `run_dir` goes on from its last checkpoint. Whatever ends the run early is
    raised again, once summary.json says so. Raises UserError for what is the user's to mend.
    """
    if config.resume is None:
        check_not_finished(run_dir)
        write_text(run_dir / CONFIG, OmegaConf.to_yaml(config, resolve=True))
    summary = {**description(config), "status": RunStatus.RUNNING, "run_dir": str(run_dir)}
    before = read_summary(run_dir) if config.resume is not None else {}
    summary |= {"overrides": _overrides(before), "versions": versions()}
    naming = before.get("wandb")
    summary["wandb"] = naming if is_labels(naming) else job_naming(summary)  # a resumed run is called what it was
    write_summary(run_dir, summary)
    recording = NullLogger()
    try:
        recording = create_logger(plain(config.logger), run_dir, plain(config), **summary["wandb"])
        if recording.view_command:
            print(f"watch it: {recording.view_command}", flush=True)
        summary |= _train(config, run_dir, summary, recording)
    except BaseException as error:
        status = RunStatus.FAILED if isinstance(error, Exception) else RunStatus.INTERRUPTED
        summary |= {"status": status, "error": f"{type(error).__name__}: {error}"}
        write_summary(run_dir, summary)
        recording.summary(summary)
        recording.finish(exit_code=1)
        raise
    write_summary(run_dir, summary)
    recording.summary(summary)
    if config.logger.get("model_artifact"):
        recording.model({key: summary[key] for key in (*SUMMARY_METRICS, "strategy", "scenario", "m", "seed")})
    recording.finish()
    print_summary(summary)
    if recording.sync_command:
        print(f"to upload it: {recording.sync_command}")
    return summary


def _overrides(before: dict[str, Any]) -> list[str]:
    """What the command line set when the run was first started; nothing where that was done from Python."""
    given = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    return [override for override in map(str, before.get("overrides", given)) if key_of(override) not in TYPED_NOW]


def _train(config: DictConfig, run_dir: Path, summary: dict[str, Any], recording: NullLogger) -> dict[str, Any]:
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
    learner = Learner(network, optimizer, schedule, m, reset, bridge, scenario.n_tests, criterion, log_rows=False)
    eval_tasks = config.get("eval_tasks", "all")  # a run of before may lack it
    data = StreamDataModule(
        scenario, schedule, config.batch_size, config.eval_batch_size, config.seed, eval_tasks=eval_tasks
    )

    checkpoint = run_dir / LAST_CHECKPOINT if config.resume is not None else None
    progress = Progress(schedule, config.trainer.progress, "part" if whole.in_parts else "task")
    sharing = SharedCores(torch.get_num_threads())
    giving_way = [sharing] if config.trainer.threads is None else []
    metrics = MetricsFile(run_dir / METRICS, _epochs_done(checkpoint))
    if metrics.path.exists():  # W&B records a resumed run anew, from its first row on
        replay(read_metrics(metrics.path), recording, config.epochs_per_task, scenario.n_tasks)
    recording.watch(hidden_weights(network))
    recorder = Recorder([metrics, progress, recording], baseline=metrics)
    if "hidden_weights" in config.get("figures", []):
        recorder.loggers.append(WeightHistograms(run_dir, hidden_weights(network)))
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
    return {**summary, "status": RunStatus.PRUNED if pruning.pruned else RunStatus.COMPLETED}


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
        callbacks = [*callbacks, LastCheckpoint(run_dir / LAST_CHECKPOINT, every)]
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
    return {
        **summary_metrics(learner.matrix.compute(), learner.matrix.baseline()),
        "norm_per_task": any(norm.n_states > 1 for norm in task_norms(learner.network)),
        "task_boundary_used": learner.uses_task_boundary,
        "task_label_used": learner.uses_task_label,
        "train_seconds": round(recorder.train_seconds, 3),
        "samples_per_second": round(recorder.samples_per_second, 1),
    }
