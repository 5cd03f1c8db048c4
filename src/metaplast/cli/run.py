"""One run, from a checked configuration to the files of its directory: build, fit, report."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from metaplast.config.instantiate import build, partial
from metaplast.config.overrides import TYPED_NOW, override_key
from metaplast.errors import TrainingError, UserError, WriteError
from metaplast.io import disk_errors, remove_strays, write_text
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
from metaplast.search.sweeper import search_trial
from metaplast.training.callbacks.alternate_statistics import OtherStatistics
from metaplast.training.callbacks.diagnostics import Diagnostics
from metaplast.training.callbacks.progress import Progress
from metaplast.training.callbacks.pruning import Pruning
from metaplast.training.callbacks.recorder import Recorder, WeightHistograms
from metaplast.training.callbacks.thread_throttle import SharedCores
from metaplast.training.checkpoint import read_checkpoint
from metaplast.training.checkpoint_content import check_form, resuming
from metaplast.training.datamodule import StreamDataModule
from metaplast.training.learner import Learner
from metaplast.training.signals import stopped_by
from metaplast.training.task_schedule import Schedule
from metaplast.training.trainer import (
    OPTIMIZER,
    SCENARIO,
    build_bridge,
    build_network,
    configure_runtime,
    make_trainer,
    select_tasks,
)


def run(config: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Train as `config` says, leave the files of a run in `run_dir`, and return the summary.

    With `config.resume` set, the run in `run_dir` continues from its last checkpoint. What ends a run early is raised
    again, after its status is in summary.json. Raises UserError for invalid input, and where `run_dir` has results.
    """
    if config.resume is None:
        check_not_finished(run_dir)
    remove_strays(run_dir)
    summary = {**description(config), "status": RunStatus.RUNNING, "run_dir": str(run_dir)}
    before = read_summary(run_dir) if config.resume is not None else {}
    summary |= {"overrides": _overrides(before), "versions": versions()}
    naming = before.get("wandb")
    summary["wandb"] = naming if is_labels(naming) else job_naming(summary)  # a resumed run is called what it was
    recording = NullLogger()
    try:
        with disk_errors(run_dir):
            write_summary(run_dir, summary)  # first, since it has room to say that the disk is full
            if config.resume is None:
                write_text(run_dir / CONFIG, OmegaConf.to_yaml(config, resolve=True))
            recording = create_logger(plain(config.logger), run_dir, plain(config), **summary["wandb"])
            if recording.view_command:
                print(f"watch it: {recording.view_command}", flush=True)
            summary |= _train(config, run_dir, summary, recording)
            write_summary(run_dir, summary)
    except BaseException as error:
        status = RunStatus.FAILED if isinstance(error, Exception) else RunStatus.INTERRUPTED
        by = stopped_by(error)
        summary |= {"status": status, "error": f"stopped by {by}" if by else f"{type(error).__name__}: {error}"}
        with suppress(WriteError):  # what went wrong first is raised again
            write_summary(run_dir, summary)
        recording.summary(summary)
        recording.finish(exit_code=1)
        raise
    recording.summary(summary)
    if config.logger.get("model_artifact"):
        recording.model({key: summary[key] for key in (*SUMMARY_METRICS, "strategy", "scenario", "m", "seed")})
    recording.finish()
    print_summary(summary)
    if recording.sync_command:
        print(f"to upload it: {recording.sync_command}")
    return summary


def _overrides(before: dict[str, Any]) -> list[str]:
    """The overrides that the run was first started with; none where that was done from Python."""
    given = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    return [
        override for override in map(str, before.get("overrides", given)) if override_key(override) not in TYPED_NOW
    ]


def _train(config: DictConfig, run_dir: Path, summary: dict[str, Any], recording: NullLogger) -> dict[str, Any]:
    """Build, fit, and write the results; return what they add to the summary."""
    configure_runtime(config.trainer)
    whole = build(config.scenario, SCENARIO, seed=config.seed, data_dir=config.data_dir)
    scenario = select_tasks(config, whole)
    pl.seed_everything(config.seed, verbose=False)
    schedule = Schedule(scenario.n_tasks, config.epochs_per_task, joint=config.strategy.task_order == "joint")
    network = build_network(config, whole)
    m = plain(config.m) if config.strategy.uses_m and config.m is not None else 0.0
    bridge = build_bridge(config, scenario)
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
    throttle = SharedCores(torch.get_num_threads())
    metrics = MetricsFile(run_dir / METRICS, _epochs_done(checkpoint))
    if metrics.path.exists():  # W&B records a resumed run again from its first row
        replay(read_metrics(metrics.path), recording, config.epochs_per_task, scenario.n_tasks)
    recording.watch(hidden_weights(network))
    recorder = Recorder([metrics, progress, recording], baseline=metrics)
    if "hidden_weights" in config.get("plots", []):
        recorder.loggers.append(WeightHistograms(run_dir, hidden_weights(network)))
    pruning = Pruning(search_trial(config) or (lambda task, accuracy: False))
    callbacks: list[pl.Callback] = [recorder, progress]
    if config.trainer.threads is None:
        callbacks.append(throttle)
    if config.get("diagnostics"):
        callbacks += [Diagnostics(run_dir), OtherStatistics(run_dir)]
    trainer = make_trainer(config, run_dir, schedule, [*callbacks, pruning], recording.logger)

    def write_results() -> dict[str, Any]:
        """Write the files of what is measured so far, and return what they add to the summary."""
        threads = {"fewest_threads": throttle.fewest}
        results = {**summary, "n_tasks": scenario.n_tasks, **threads, **_results(learner, recorder)}
        epochs_per_task = None if schedule.joint else schedule.epochs_per_task
        write_result_files(run_dir, learner.matrix.compute(), recorder.rows, epochs_per_task, results)
        return results

    try:
        with resuming(trainer, checkpoint):
            trainer.fit(learner, datamodule=data, ckpt_path=checkpoint)
    except BaseException as error:
        with suppress(WriteError):
            if recorder.rows:
                write_results()
        if isinstance(error, UserError) and not isinstance(error, TrainingError) and trainer.global_step:
            raise TrainingError(str(error)) from error.__cause__
        raise
    status = RunStatus.PRUNED if pruning.pruned else RunStatus.COMPLETED
    return {**(write_results() if recorder.rows else summary), "status": status}


def _epochs_done(checkpoint: Path | None) -> int | None:
    """The epoch of the last row in a checkpoint, 0 without rows; None where there is no checkpoint to resume from."""
    if checkpoint is None:
        return None
    content = read_checkpoint(checkpoint)
    check_form(content, checkpoint)
    try:
        rows = content["callbacks"][Recorder.__qualname__]["rows"]
        return int(rows[-1]["epoch"]) if rows else 0
    except (KeyError, TypeError, IndexError, ValueError, OverflowError) as error:
        raise UserError(f"checkpoint: {checkpoint}: callbacks: expected the rows of a run") from error


def _results(learner: Learner, recorder: Recorder) -> dict[str, Any]:
    """The results, and the conditions under which they may be compared."""
    return {
        **summary_metrics(learner.matrix.compute(), learner.matrix.baseline()),
        "norm_per_task": any(norm.n_states > 1 for norm in task_norms(learner.network)),
        "task_boundary_used": learner.uses_task_boundary,
        "task_label_used": learner.uses_task_label,
        "train_seconds": round(recorder.train_seconds, 3),
        "samples_per_second": round(recorder.samples_per_second, 1),
    }
