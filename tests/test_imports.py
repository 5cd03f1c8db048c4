"""Those who want the layers and the optimizer alone pay for torch and for nothing else."""

import subprocess
import sys
from pathlib import Path

SRC = Path(__file__).parents[1] / "src"
HEAVY = {"pytorch_lightning", "avalanche", "torchmetrics", "torchvision", "hydra", "wandb", "matplotlib", "sklearn"}


LIGHT = (
    *("metaplast", "metaplast.cli.main", "metaplast.config.reference"),
    *("metaplast.nn", "metaplast.optim", "metaplast.metrics", "metaplast.data", "metaplast.scenarios"),
)


def test_a_package_loads_none_of_the_heavy_libraries_it_does_not_need() -> None:
    code = f"import sys; sys.path.insert(0, {str(SRC)!r}); import {', '.join(LIGHT)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & HEAVY
