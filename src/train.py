"""Train one network on a sequence of tasks, and show how much it forgets.

python src/train.py strategy=meta m=1.3 scenario=pmnist
python src/train.py --help
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaplast.cli.main import command

if TYPE_CHECKING:
    from omegaconf import DictConfig

CONF = Path(__file__).resolve().parents[1] / "conf"


def train(config: "DictConfig", run_dir: Path) -> dict[str, Any]:
    """Train what `config` names, write the results to `run_dir`, and return the summary."""
    from metaplast.cli.run import run  # 12 s of imports, for which an invalid setting need not wait

    return run(config, run_dir)


if __name__ == "__main__":
    sys.exit(command(train, CONF))
