"""Draw the paper's main effect: accuracy on a sequence of tasks without and with metaplasticity.

    python scripts/effect.py                               # train both with the defaults (some minutes) and draw
    python scripts/effect.py --runs DIR_PLAIN DIR_META     # draw two existing runs

The runs go to outputs/effect. A complete run is not repeated.
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
    """Parse the command line."""
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--runs", type=Path, nargs="+", metavar="DIR", help="directories of completed runs")
    add(
        "--out",
        type=Path,
        default=ROOT / "docs" / "pictures" / "effect.png",
        metavar="FILE",
        help="picture to write (default docs/pictures/effect.png)",
    )
    return parser.parse_args(argv)


def train(strategy: str) -> Path:
    """Train with the defaults, unless a completed run exists, and return the run's directory."""
    from metaplast.runs.index import read_run

    run_dir = RUNS / strategy
    if run_dir.is_dir() and any(run_dir.iterdir()):
        if not read_run(run_dir).completed:
            raise UserError(
                f"{run_dir}: expected a completed run, got an interrupted one; "
                f"resume it (python src/train.py resume={run_dir}) or remove it"
            )
        return run_dir
    command = [sys.executable, str(ROOT / "src" / "train.py"), f"strategy={strategy}", f"hydra.run.dir={run_dir}"]
    if subprocess.run(command, check=False, cwd=ROOT).returncode != 0:
        raise SystemExit(f"strategy={strategy} failed, so nothing is drawn")
    return run_dir


def draw(directories: Sequence[Path], target: Path) -> None:
    """Draw the accuracy curves of runs side by side; UserError for a directory without a completed one."""
    from matplotlib.figure import Figure

    from metaplast.report.aggregate import make_sweep
    from metaplast.report.figures.style import save_figure
    from metaplast.report.figures.sweep import draw_setting_curves
    from metaplast.report.protocol import m_text
    from metaplast.runs.index import read_run

    runs = [read_run(directory) for directory in directories]
    for run in runs:
        if not (run.completed and run.settings):
            raise UserError(f"--runs {run.path}: expected a completed run, got {run.error or run.status}")
    figure = Figure(figsize=(7.2 * len(runs), 4.4), layout="constrained")
    for run, ax in zip(runs, figure.subplots(1, len(runs), squeeze=False)[0], strict=True):
        draw_setting_curves(ax, make_sweep([run]).settings[0])
        strategy, m = run.summary["strategy"], run.summary["m"]
        with_m = "" if m is None else f", m = {m_text(m)}"
        ax.set_title(f"{TITLES.get(strategy, strategy)}{with_m}\n", loc="left", fontweight="bold")
    save_figure(target, figure, dpi=110)


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    arguments = parse(argv)
    check_target("--out", arguments.out)
    draw(arguments.runs or [train(strategy) for strategy in TITLES], arguments.out)
    print(arguments.out)


if __name__ == "__main__":
    sys.exit(main())
