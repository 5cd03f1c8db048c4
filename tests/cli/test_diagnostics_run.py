"""`diagnostics=true`: the files of a run, and that a cut run ends with the same ones."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from metaplast.cli.run import run

FILES = ("diagnostics.csv", "accuracy_matrix_population.csv")


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("epoch", [2, 3])
def test_a_run_that_was_cut_and_resumed_leaves_the_same_diagnostics(
    epoch: int,
    composed: Callable[..., DictConfig],
    workplace: Path,
    before_epoch: Callable[..., AbstractContextManager[None]],
) -> None:
    def config(*overrides: str) -> DictConfig:
        made = composed(
            *("scenario=pdigits", "scenario.n_tasks=2", "epochs_per_task=2", "model.hidden=[16]", "logger=none"),
            *("trainer.threads=1", "trainer.progress=none", "diagnostics=true", *overrides),
        )
        return OmegaConf.masked_copy(made, [str(key) for key in made if key != "hydra"])

    run(config(), workplace / "whole")
    with before_epoch(epoch, RuntimeError("cut")), pytest.raises(RuntimeError, match="cut"):
        run(config(), workplace / "cut")
    run(config(f"resume={workplace / 'cut'}"), workplace / "cut")
    for name in FILES:
        assert (workplace / "cut" / name).read_text() == (workplace / "whole" / name).read_text()
