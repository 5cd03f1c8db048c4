"""Runs that a signal interrupts: what is lost is at most a batch, and the resumed run ends in the same bits."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from metaplast.cli.run import run
from metaplast.runs.names import LAST_CHECKPOINT
from metaplast.runs.tables import read_metrics
from metaplast.training.callbacks.recorder import Recorder
from metaplast.training.checkpoint import read_checkpoint
from metaplast.training.signals import handle_signals

Compose = Callable[..., DictConfig]
pytestmark = pytest.mark.usefixtures("without_pictures")

SMALL = (
    *("scenario=pdigits", "scenario.n_tasks=2", "epochs_per_task=2", "logger=none", "trainer.threads=1"),
    *("trainer.progress=none", "model.hidden=[16]", "batch_size=100", "trainer.checkpoint_every=4"),
)
STEPS = 15
"""Batches of an epoch."""
SLURM = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}


@pytest.fixture
def small(composed: Compose, workplace: Path) -> Compose:
    def make(*overrides: str) -> DictConfig:
        config = composed(*SMALL, *overrides)
        return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])

    return make


Results = tuple[list[dict[str, Any]], dict[str, torch.Tensor]]


@pytest.fixture(scope="module")
def uncut() -> dict[str, Results]:
    """The results of uninterrupted runs, by their overrides."""
    return {}


def results(run_dir: Path) -> Results:
    """The rows without times, and every tensor of the last state."""
    rows = [{k: v for k, v in row.items() if "second" not in k} for row in read_metrics(run_dir / "metrics.csv")]
    return rows, read_checkpoint(run_dir / LAST_CHECKPOINT)["state_dict"]


@pytest.mark.parametrize(
    ("number", "hook", "epoch", "steps_kept", "overrides"),
    [
        (signal.SIGTERM, "on_train_batch_end", 1, STEPS + 5, ["strategy=meta", "m=1.3"]),
        (signal.SIGHUP, "on_train_batch_end", 0, 5, ["strategy=ewc"]),
        (signal.SIGUSR1, "on_train_batch_end", 3, 3 * STEPS + 5, ["strategy=replay"]),
        (signal.SIGINT, "on_train_batch_end", 2, 2 * STEPS + 5, ["strategy=finetune", "diagnostics=true"]),
        (signal.SIGTERM, "on_validation_start", 1, 2 * STEPS, ["strategy=meta", "m=1.3"]),  # the tests are finished
        (signal.SIGUSR1, "on_validation_start", 3, None, ["strategy=meta", "m=1.3"]),  # nothing is left but the report
    ],
)
def test_a_signal_is_answered_within_the_batch_and_the_resumed_run_ends_in_the_same_bits(
    number: signal.Signals,
    hook: str,
    epoch: int,
    steps_kept: int | None,
    overrides: list[str],
    small: Compose,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    uncut: dict[str, Results],
) -> None:
    for variable, value in SLURM.items():  # in which Lightning would write hpc_ckpt_1.ckpt and call scontrol
        monkeypatch.setenv(variable, value)
    cut = tmp_path / "cut"
    if str(overrides) not in uncut:
        run(small(*overrides), tmp_path / "whole")
        uncut[str(overrides)] = results(tmp_path / "whole")
    original = getattr(Recorder, hook)

    def interrupting(self: Recorder, trainer: Any, *arguments: Any) -> None:
        original(self, trainer, *arguments)
        if trainer.current_epoch == epoch and not trainer.sanity_checking and arguments[-1] in (4, arguments[0]):
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Recorder, hook, interrupting)
    if steps_kept is None:
        with handle_signals(cut):
            assert run(small(*overrides), cut)["status"] == "completed"
    else:
        with pytest.raises(SystemExit) as ended, handle_signals(cut):
            run(small(*overrides), cut)
        assert ended.value.code == 128 + number
        summary = json.loads((cut / "summary.json").read_text("utf-8"))
        name = "Ctrl-C" if number == signal.SIGINT else number.name
        assert (summary["status"], summary["error"]) == ("interrupted", f"stopped by {name}")
        assert read_checkpoint(cut / LAST_CHECKPOINT)["global_step"] == steps_kept
        monkeypatch.setattr(Recorder, hook, original)
        config = small(*overrides)
        config.resume = str(cut)
        run(config, cut)
    (rows, state), (expected_rows, expected_state) = results(cut), uncut[str(overrides)]
    assert rows == expected_rows
    assert all(torch.equal(state[name], tensor) for name, tensor in expected_state.items())
    assert not list(cut.rglob("hpc_ckpt*"))


@pytest.mark.parametrize(
    "environment",
    [
        SLURM,
        {**SLURM, "SLURM_PROCID": "1", "SLURM_LOCALID": "1"},
        {"RANK": "1", "LOCAL_RANK": "1", "GROUP_RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4",
         "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "TORCHELASTIC_RUN_ID": "1"},
        {"NODE_RANK": "2", "LOCAL_RANK": "3"},
        {"LSB_JOBID": "1", "LSB_DJOB_RANKFILE": "/nowhere", "JSM_NAMESPACE_LOCAL_RANK": "1", "JSM_NAMESPACE_SIZE": "4",
         "JSM_NAMESPACE_RANK": "1"},
    ],
    ids=["Slurm", "Slurm's second", "torchrun", "nodes", "LSF"],
)  # fmt: skip
def test_a_run_is_one_process_whatever_a_cluster_says_of_others(
    environment: dict[str, str], small: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    summary = run(small("scenario.n_tasks=1", "epochs_per_task=1"), tmp_path / "run")
    assert summary["status"] == "completed"
    assert {"metrics.csv", "accuracy_matrix.csv", "checkpoints"} <= {path.name for path in (tmp_path / "run").iterdir()}
