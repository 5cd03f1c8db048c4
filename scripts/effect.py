"""The paper's effect in one picture: the same stream learned plainly, and with metaplastic weights.

    python scripts/effect.py                               # train both with the defaults (some minutes), then draw
    python scripts/effect.py --runs DIR_PLAIN DIR_META     # draw two runs that are there

The runs go to outputs/effect; one that is complete there is not run again.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from metaplast.cli.script import OneLineParser, script
from metaplast.errors import UserError
from metaplast.io import check_target

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "outputs" / "effect"
TITLES = {"finetune": "plain training", "meta": "metaplastic weights"}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--runs", type=Path, nargs="+", metavar="DIR", help="directories of runs that are there")
    add(
        "--out",
        type=Path,
        default=ROOT / "docs" / "pictures" / "effect.png",
        metavar="FILE",
        help="the picture (default docs/pictures/effect.png)",
    )
    return parser.parse_args(argv)


def train(strategy: str) -> Path:
    """Run the command with its defaults, unless it has been run, and return the run's directory."""
    from metaplast.runs.index import read_run

    run_dir = RUNS / strategy
    if run_dir.is_dir() and any(run_dir.iterdir()):
        if not read_run(run_dir).completed:
            raise UserError(
                f"{run_dir}: holds no completed run; go on with it (python src/train.py resume={run_dir}), or remove it"
            )
        return run_dir
    command = [sys.executable, str(ROOT / "src" / "train.py"), f"strategy={strategy}", f"hydra.run.dir={run_dir}"]
    if subprocess.run(command, check=False, cwd=ROOT).returncode != 0:
        raise SystemExit(f"strategy={strategy} failed, so there is nothing to draw")
    return run_dir


def draw(directories: Sequence[Path], target: Path) -> None:
    """Draw the accuracy curves of runs side by side; UserError for a directory that holds no completed one."""
    from matplotlib.figure import Figure

    from metaplast.report.aggregate import make_sweep
    from metaplast.report.figures.style import save_figure
    from metaplast.report.figures.sweep import draw_setting_curves
    from metaplast.report.protocol import m_text
    from metaplast.runs.index import read_run

    runs = [read_run(directory) for directory in directories]
    for run in runs:
        if not (run.completed and run.settings):
            raise UserError(f"--runs: {run.path} holds no completed run ({run.error or run.status})")
    figure = Figure(figsize=(7.2 * len(runs), 4.4), layout="constrained")
    for run, ax in zip(runs, figure.subplots(1, len(runs), squeeze=False)[0], strict=True):
        draw_setting_curves(ax, make_sweep([run]).settings[0])
        strategy, m = run.summary["strategy"], run.summary["m"]
        with_m = "" if m is None else f", m = {m_text(m)}"
        ax.set_title(f"{TITLES.get(strategy, strategy)}{with_m}\n", loc="left", fontweight="bold")
    save_figure(target, figure, dpi=110)


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Train if need be, and draw."""
    arguments = parse(argv)
    check_target("--out", arguments.out)
    draw(arguments.runs or [train(strategy) for strategy in TITLES], arguments.out)
    print(arguments.out)


if __name__ == "__main__":
    sys.exit(main())
