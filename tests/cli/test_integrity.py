"""The files of a run belong together: what is of another run, damaged or edited is found at a resume and in reports."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from metaplast.cli.run import run
from metaplast.errors import TrainingError, UserError
from metaplast.runs.index import read_run
from metaplast.runs.names import LAST_CHECKPOINT
from metaplast.runs.summary import RunStatus
from metaplast.runs.tables import read_histograms, read_metrics
from metaplast.training.callbacks.recorder import Recorder
from metaplast.training.checkpoint import read_checkpoint, write_checkpoint

ROOT = Path(__file__).parents[2]
SMALL = (
    *("scenario=pdigits", "scenario.n_tasks=2", "epochs_per_task=1", "logger=none", "trainer.threads=1", "m=1.3"),
    *("trainer.progress=none", "model.hidden=[8]", "batch_size=200", "diagnostics=true", "plots=[hidden_weights]"),
)
CSV = ("metrics.csv", "diagnostics.csv")


def configured(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("train", [*SMALL, *overrides])


def resumed(run_dir: Path, *overrides: str) -> dict[str, Any]:
    config = configured(*overrides)
    config.resume = str(run_dir)
    return run(config, run_dir)


def numbers(run_dir: Path, name: str) -> list[dict[str, str]]:
    rows = read_metrics(run_dir / name)
    return [{key: repr(value) for key, value in row.items() if "second" not in key} for row in rows]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a completed run `whole`, and that run as it was cut in its second task, `cut`."""
    folder = tmp_path_factory.mktemp("runs")
    start = Recorder.on_train_epoch_start

    def copying(self: Recorder, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            shutil.copytree(folder / "whole", folder / "cut")
        start(self, trainer, pl_module)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recorder, "on_train_epoch_start", copying)
        run(configured(), folder / "whole")
    return folder


@pytest.fixture
def cut(runs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(runs / "cut", tmp_path / "cut"))


def test_whatever_became_of_its_tables_a_resumed_run_ends_with_the_same(
    runs: Path, cut: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (cut / "metrics.csv").write_bytes((cut / "metrics.csv").read_bytes().replace(b"0.", b"1.", 1))
    (cut / "diagnostics.csv").unlink()
    (cut / "hidden_weights.npz").write_bytes(b"PK")
    (cut / "summary.json").write_bytes((cut / "summary.json").read_bytes().replace(b"meta", b"beta"))
    summary = resumed(cut, "trainer.threads=2")
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert sum("made again from the checkpoint" in line for line in said) == 3
    assert sum("summary.json is not used" in line for line in said) == 1
    assert (summary["status"], summary["run_id"]) == ("completed", read_run(runs / "whole").summary["run_id"])
    (change,) = summary["changes"]
    assert change.endswith("(epoch 1): trainer.threads=2, before 1")
    assert sum(change in line for line in said) == 1
    for name in CSV:
        assert numbers(cut, name) == numbers(runs / "whole", name)
    ours, theirs = (read_histograms(path / "hidden_weights.npz") for path in (cut, runs / "whole"))
    assert all(ours[name].tolist() == theirs[name].tolist() for name in theirs)
    assert read_run(cut).status is RunStatus.COMPLETED


@pytest.mark.parametrize("what", ["m: 1.3", "seed: 0", "data_dir", "#"])
def test_a_configuration_that_its_checkpoint_does_not_know_is_refused(what: str, cut: Path) -> None:
    config = cut / "config.yaml"
    config.write_text(f"#\n{config.read_text()}" if what == "#" else config.read_text().replace(what, f"{what}1", 1))
    before = (cut / "summary.json").read_bytes()
    with pytest.raises(UserError, match=r"cut: its config\.yaml is not the one that its checkpoint was saved with"):
        resumed(cut)
    assert (cut / "summary.json").read_bytes() == before
    assert "config.yaml is not the one that the run had" in str(read_run(cut).error)


def test_a_checkpoint_of_another_run_is_refused(cut: Path) -> None:
    content = read_checkpoint(cut / LAST_CHECKPOINT)
    content["run"]["id"] = "another"
    write_checkpoint(content, cut / LAST_CHECKPOINT)
    with pytest.raises(UserError, match=r"its checkpoint and its summary\.json are of different runs"):
        resumed(cut)
    wrongs: list[Any] = [{}, {"id": 3}, []]
    for wrong in wrongs:
        content["run"] = wrong
        write_checkpoint(content, cut / LAST_CHECKPOINT)
        with pytest.raises(UserError, match=r"run: expected the entries id, config"):
            resumed(cut)


def test_a_run_of_before_is_resumed_with_a_line(cut: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = read_checkpoint(cut / LAST_CHECKPOINT)
    del content["run"], content["callbacks"]["WeightHistograms"]
    for name in ("Recorder", "Diagnostics"):
        del content["callbacks"][name]["file"]
    write_checkpoint(content, cut / LAST_CHECKPOINT)
    summary = json.loads((cut / "summary.json").read_text())
    former = {key: value for key, value in summary.items() if key not in ("run_id", "config", "changes", "sha256")}
    (cut / "summary.json").write_text(json.dumps({**former, "format": 2}))
    assert resumed(cut)["status"] == "completed"
    assert sum("is of an older version" in record.getMessage() for record in caplog.records) == 1
    assert [row["epoch"] for row in read_metrics(cut / "metrics.csv")] == [1, 2]


@pytest.mark.parametrize("name", ["config.yaml", "summary.json", "accuracy_matrix.csv", "hidden_weights.npz", *CSV])
def test_a_report_finds_a_file_that_is_not_as_the_run_left_it(name: str, runs: Path, tmp_path: Path) -> None:
    run_dir = Path(shutil.copytree(runs / "whole", tmp_path / "whole"))
    assert read_run(run_dir).status is RunStatus.COMPLETED
    content = bytearray((run_dir / name).read_bytes())
    content[len(content) // 2] ^= 1
    (run_dir / name).write_bytes(content)
    found = read_run(run_dir)
    assert found.status is RunStatus.UNREADABLE
    assert name in str(found.error) or name == "summary.json"


@pytest.mark.parametrize("where", ["buffer", "exp_avg"])
def test_no_checkpoint_with_a_number_that_is_not_finite_replaces_one_without(
    where: str, tmp_path: Path, before_epoch: Callable[..., Any]
) -> None:
    def spoil(learner: Any) -> None:
        if where == "exp_avg":
            state = next(iter(learner.trainer.optimizers[0].state.values()))
            state["exp_avg"].view(-1)[0] = torch.inf
        else:
            learner.network.register_buffer("extra", torch.ones(2))
            learner.network.extra[0] = torch.nan

    settings = ("eval_every_n_epochs=3", "epochs_per_task=3", "scenario.n_tasks=1", "diagnostics=false", "plots=[]")
    said = (
        r"training diverged: in epoch 2 \(task 0\), at step \d+, .*is not finite; the checkpoint before is kept, .*ckpt"
    )
    with before_epoch(1, spoil), pytest.raises(TrainingError, match=said):
        run(configured(*settings), tmp_path / "run")
    assert read_checkpoint(tmp_path / "run" / LAST_CHECKPOINT)["epoch"] == 0
    assert read_run(tmp_path / "run").status is RunStatus.FAILED
