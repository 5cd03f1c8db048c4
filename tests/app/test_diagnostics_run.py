"""`diagnostics=true`: the files of a run, and that a cut run ends with the same ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from metaplast.app.run import run
from metaplast.training.recorder import Recorder

FILES = ("diagnostics.csv", "accuracy_matrix_population.csv")


def test_a_run_that_was_cut_and_resumed_leaves_the_same_diagnostics(
    composed: Callable[..., DictConfig], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def config(*overrides: str) -> DictConfig:
        made = composed(
            *("scenario=pdigits", "scenario.n_tasks=2", "epochs_per_task=2", "model.hidden=[16]", "logger=none"),
            *("trainer.threads=1", "trainer.progress=none", "diagnostics=true", *overrides),
        )
        return OmegaConf.masked_copy(made, [str(key) for key in made if key != "hydra"])

    run(config(), workplace / "whole")
    start = Recorder.on_train_epoch_start

    def stop(self: Recorder, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 3:
            raise RuntimeError("cut")
        start(self, trainer, pl_module)

    monkeypatch.setattr(Recorder, "on_train_epoch_start", stop)
    with pytest.raises(RuntimeError, match="cut"):
        run(config(), workplace / "cut")
    monkeypatch.setattr(Recorder, "on_train_epoch_start", start)
    run(config(f"resume={workplace / 'cut'}"), workplace / "cut")
    for name in FILES:
        assert (workplace / "cut" / name).read_text() == (workplace / "whole" / name).read_text()
