"""One run, from a checked configuration to the files of its directory: build, fit, report."""

import logging
import secrets
from contextlib import suppress
from hashlib import sha256
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
from metaplast.runs.names import CONFIG, LAST_CHECKPOINT, METRICS
from metaplast.runs.summary import (
    RunStatus,
    description,
    file_digest,
    is_labels,
    plain,
    read_summary,
    versions,
    write_summary,
)
from metaplast.runs.tables import read_metrics
from metaplast.search.sweeper import search_trial
from metaplast.system import default_threads
from metaplast.training.callbacks.after_task import OtherStatistics, Pruning
from metaplast.training.callbacks.diagnostics import Diagnostics
from metaplast.training.callbacks.progress import Progress
from metaplast.training.callbacks.recorder import Recorder, WeightHistograms
from metaplast.training.callbacks.thread_throttle import SharedCores
from metaplast.training.checkpoint import read_checkpoint
from metaplast.training.checkpoint_content import check_form, check_run, resuming, what_changed
from metaplast.training.datamodule import Schedule, StreamDataModule
from metaplast.training.learner import Learner
from metaplast.training.signals import stopped_by
from metaplast.training.trainer import (
    OPTIMIZER,
    SCENARIO,
    build_bridge,
    build_network,
    configure_runtime,
    make_trainer,
    select_tasks,
)

WITHOUT_EFFECT = ("progress", "checkpoint_every", "threads")
"""Settings of the trainer that change no number; threads are compared as those that are used."""

log = logging.getLogger(__name__)


def run(config: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Train as `config` says, leave the files of a run in `run_dir`, and return the summary.

    With `config.resume` set, the run in `run_dir` continues from its last checkpoint. What ends a run early is raised
    again, after its status is in summary.json. Raises UserError for invalid input, and where `run_dir` has results.
    """
    text = OmegaConf.to_yaml(config, resolve=True)
    content: dict[str, Any] | None = None
    about: dict[str, Any] = {"id": secrets.token_hex(8), "config": sha256(text.encode()).hexdigest(), "changes": []}
    before = read_summary(run_dir) if config.resume is not None else {}
    if config.resume is None:
        check_not_finished(run_dir)
    else:
        content = read_checkpoint(run_dir / LAST_CHECKPOINT)
        check_form(content, run_dir / LAST_CHECKPOINT)
        about |= {"config": file_digest(run_dir / CONFIG), **check_run(content, run_dir, before)}
    about["conditions"] = _conditions(config, about, content)
    remove_strays(run_dir)
    summary = {**description(config), "status": RunStatus.RUNNING, "run_dir": str(run_dir)}
    summary |= {"run_id": about["id"], "config": about["config"], "changes": about["changes"]}
    summary |= {"overrides": _overrides(before), "versions": versions()}
    naming = before.get("wandb")
    summary["wandb"] = naming if is_labels(naming) else job_naming(summary)  # a resumed run is called what it was
    recording = NullLogger()
    try:
        with disk_errors(run_dir):
            write_summary(run_dir, summary)  # first, since it has room to say that the disk is full
            if config.resume is None:
                write_text(run_dir / CONFIG, text)
            recording = create_logger(plain(config.logger), run_dir, plain(config), **summary["wandb"])
            if recording.view_command:
                print(f"watch it: {recording.view_command}", flush=True)
            summary |= _train(config, run_dir, summary, recording, content, about)
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


def _conditions(config: DictConfig, about: dict[str, Any], content: dict[str, Any] | None) -> dict[str, Any]:
    """What may differ between the sessions of a run and change its numbers; differences go to `about` and the log."""
    trainer = {key: value for key, value in plain(config.trainer).items() if key not in WITHOUT_EFFECT}
    now = {f"trainer.{key}": value for key, value in trainer.items()}
    now |= {"trainer.threads": config.trainer.threads or default_threads(), "cuda": torch.cuda.is_available()}
    now |= versions()
    if content is not None and "conditions" in about:
        where = f"after step {content['global_step']} (epoch {content['epoch'] + 1})"
        changes = what_changed(about["conditions"], now, where)
        about["changes"] = [*map(str, about["changes"]), *changes]
        for change in changes:
            log.warning("resumed under other conditions: %s", change)
    return now


def _train(
    config: DictConfig,
    run_dir: Path,
    summary: dict[str, Any],
    recording: NullLogger,
    content: dict[str, Any] | None,
    about: dict[str, Any],
) -> dict[str, Any]:
    """Build, fit, and write the results; return what they add to the summary.

    `content` is that of the checkpoint to resume from, `about` what the next ones say of the run.
    """
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
    learner = Learner(
        network,
        optimizer,
        schedule,
        m,
        reset,
        bridge,
        scenario.n_tests,
        criterion,
        log_rows=False,
        native=config.trainer.get("native", False),  # a run of before may lack both
        steps_per_call=config.trainer.get("steps_per_call", "auto"),
    )
    eval_tasks = config.get("eval_tasks", "all")  # a run of before may lack it
    data = StreamDataModule(
        scenario, schedule, config.batch_size, config.eval_batch_size, config.seed, eval_tasks=eval_tasks
    )

    checkpoint = run_dir / LAST_CHECKPOINT if config.resume is not None else None
    progress = Progress(schedule, config.trainer.progress, "part" if whole.in_parts else "task")
    throttle = SharedCores(torch.get_num_threads())
    metrics = _metrics_file(run_dir, content)
    if metrics.lost is not None:
        about["changes"].append(metrics.lost)
    if metrics.path.exists():  # W&B records a resumed run again from its first row
        replay(read_metrics(metrics.path), recording, config.epochs_per_task, scenario.n_tasks)
    recording.watch(hidden_weights(network))
    recorder = Recorder([metrics, progress, recording], baseline=metrics)
    callbacks: list[pl.Callback] = [recorder, progress]
    if "hidden_weights" in config.get("plots", []):
        callbacks.append(histograms := WeightHistograms(run_dir, hidden_weights(network)))
        recorder.loggers.append(histograms)
    pruning = Pruning(search_trial(config) or (lambda task, accuracy: False))
    if config.trainer.threads is None:
        callbacks.append(throttle)
    if config.get("diagnostics"):
        callbacks += [Diagnostics(run_dir), OtherStatistics(run_dir)]
    trainer = make_trainer(config, run_dir, schedule, [*callbacks, pruning], recording.logger, about)

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


def _metrics_file(run_dir: Path, content: dict[str, Any] | None) -> MetricsFile:
    """metrics.csv, of a resumed run as it was when the checkpoint with this `content` was saved."""
    if content is None:
        return MetricsFile(run_dir / METRICS)
    try:
        state = content["callbacks"][Recorder.__qualname__]
        if "file" in state:
            return MetricsFile(run_dir / METRICS, saved=state["file"])
        return MetricsFile(run_dir / METRICS, int(state["rows"][-1]["epoch"]) if state["rows"] else 0)
    except (KeyError, TypeError, IndexError, ValueError, OverflowError, AttributeError) as error:
        raise UserError(f"checkpoint: {run_dir}: callbacks: expected the rows of a run") from error


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
