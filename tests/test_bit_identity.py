"""Every strategy trains to the same accuracy matrix, to the bit, as before the packages were reorganized.

`data_files/pdigits_matrices.json` holds the matrices, each number as `float.hex` writes it. To rewrite it after a
change that is meant to change them: `python tests/test_bit_identity.py`.
"""

import json
import sys
import tempfile
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from metaplast.cli.run import run
from metaplast.runs.tables import read_matrix_csv

ROOT = Path(__file__).parents[1]
FILE = ROOT / "tests" / "data_files" / "pdigits_matrices.json"
STRATEGIES = sorted(path.stem for path in (ROOT / "conf" / "strategy").glob("*.yaml"))
FAST = ("meta", "ewc", "si", "replay")
OVERRIDES = (
    "scenario=pdigits",
    "scenario.n_tasks=2",
    "model.hidden=[16]",
    "epochs_per_task=1",
    "logger=none",
    "trainer=cpu",
    "trainer.threads=1",
    "trainer.progress=none",
    "trainer.native=false",  # the steps of torch are the judge of the kernel
    f"data_dir={ROOT / 'data'}",
)


def matrix(strategy: str, run_dir: Path) -> list[list[str]]:
    """R after a small run, each number as a hexadecimal float."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", [*OVERRIDES, f"strategy={strategy}"])
    OmegaConf.set_struct(config, True)
    run_dir.mkdir()
    run(config, run_dir)
    return [[float(value).hex() for value in row] for row in read_matrix_csv(run_dir / "accuracy_matrix.csv")]


@pytest.mark.usefixtures("threads_as_before")
@pytest.mark.parametrize(
    "strategy", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in STRATEGIES]
)
def test_a_strategy_comes_to_the_same_matrix(strategy: str, tmp_path: Path) -> None:
    assert matrix(strategy, tmp_path / "run") == json.loads(FILE.read_text())[strategy]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        matrices = {name: matrix(name, Path(folder) / name) for name in sys.argv[1:] or STRATEGIES}
    FILE.write_text(json.dumps(matrices, indent=1) + "\n")
