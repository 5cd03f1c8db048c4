"""`metaplast.train`: the command, from Python."""

from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig

import metaplast
from metaplast.errors import UserError
from metaplast.runs.summary import read_summary

SMALL = ["scenario=pdigits", "scenario.n_tasks=2", "model.hidden=[8]", "epochs_per_task=1", "logger=none"]
QUIET = ["trainer=cpu", "trainer.threads=1", "trainer.compile=false"]
pytestmark = [
    pytest.mark.usefixtures("threads_as_before"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*"),  # Lightning's, about torch
]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("m=-1", "m=-1: expected a number >= 0"),
        ("scenario=pdigit", r"scenario=pdigit: there is no such choice \(did you mean pdigits\?\)"),
        ("epochs=3", r"epochs=3: there is no setting epochs \(did you mean epochs_per_task\?\)"),
        ("experiment=fig2", "metaplast.train: expected one run, got a sweep"),
        ("data_dir=/proc/x", "data_dir=/proc/x: expected a directory"),
        ("resume=nowhere", "resume=nowhere: there is no such directory"),
    ],
)
def test_what_the_command_refuses_is_refused_in_its_words_and_leaves_nothing(
    override: str, says: str, workplace: Path
) -> None:
    with pytest.raises(UserError, match=f"^{says}"):
        metaplast.train([override])
    assert not [*workplace.iterdir()]


def test_it_trains_in_a_directory_of_its_own_and_returns_the_summary(workplace: Path) -> None:
    summary = metaplast.train([*SMALL, *QUIET])
    run_dir = Path(summary["run_dir"])
    assert run_dir.is_relative_to(workplace / "outputs" / "train")
    assert summary["average_accuracy"] == read_summary(run_dir)["average_accuracy"]
    assert (summary["status"], summary["overrides"]) == ("completed", [*SMALL, *QUIET])
    assert not HydraConfig.initialized()


def test_a_task_that_fails_raises_its_own_error(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(config: object, run_dir: Path) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("metaplast.cli.commands.train._run", broken)
    with pytest.raises(ZeroDivisionError):
        metaplast.train(SMALL)
