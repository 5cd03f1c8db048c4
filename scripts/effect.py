"""The paper's effect in one picture: the same stream learned plainly, and with metaplastic weights.

    python scripts/effect.py                          train both with the defaults (some minutes), then draw
    python scripts/effect.py --runs DIR_PLAIN DIR_META     draw two runs that are there

Writes docs/pictures/effect.png, or --out.
"""

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

TITLES = {"finetune": "plain training", "meta": "metaplastic weights"}


def train(strategy: str) -> Path:
    """Run the command with its defaults, and return the run's directory."""
    run_dir = ROOT / "outputs" / "effect" / strategy
    command = [sys.executable, str(ROOT / "src" / "train.py"), f"strategy={strategy}", f"hydra.run.dir={run_dir}"]
    if subprocess.run(command, check=False, cwd=ROOT).returncode != 0:
        raise SystemExit(f"strategy={strategy} failed, so there is nothing to draw")
    return run_dir


def draw(runs: Sequence[Path], target: Path) -> None:
    """Draw the accuracy curves of runs side by side."""
    import torch
    from matplotlib.figure import Figure

    from metaplast.report import draw_curves
    from metaplast.report.figure_style import save_figure

    figure = Figure(figsize=(7.2 * len(runs), 4.4), layout="constrained")
    for run, ax in zip(runs, figure.subplots(1, len(runs), squeeze=False)[0], strict=True):
        summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
        with (run / "metrics.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        tasks = range(summary["n_tasks"])
        accuracies = torch.tensor([[float(row[f"accuracy/task_{j}"]) for j in tasks] for row in rows])
        ends = [summary["epochs_per_task"] * (j + 1) for j in tasks]
        draw_curves(ax, [float(row["epoch"]) for row in rows], accuracies, ends)
        m = "" if summary["m"] is None else f", m = {summary['m']:g}"
        ax.set_title(f"{TITLES.get(summary['strategy'], summary['strategy'])}{m}\n", loc="left", fontweight="bold")
    save_figure(target, figure, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train if need be, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, nargs="+", metavar="DIR", help="directories of runs that are there")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures" / "effect.png", help="where it goes")
    options = parser.parse_args(arguments)
    for run in options.runs or []:
        if not (run / "metrics.csv").is_file() or not (run / "summary.json").is_file():
            parser.error(f"--runs: {run} is not the directory of a run, since it lacks metrics.csv or summary.json")
    draw(options.runs or [train(strategy) for strategy in TITLES], options.out)
    print(options.out)


if __name__ == "__main__":
    main()
