"""Simulate the quadratic binary task: which hidden weights diverge, how fast, and what a sign flip costs.

    metaplast quadratic-task        # the paper's sizes, five seeds; figures and numbers in outputs/quadratic
    metaplast quadratic-task --dimension 200 --steps 2000 --seed 7

The theory is derived at the top of src/metaplast/studies/quadratic.py.
"""

import argparse
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metaplast.cli.script import OneLineParser, script, whole
from metaplast.errors import UserError
from metaplast.io import write_text

if TYPE_CHECKING:
    from metaplast.studies.quadratic_experiment import QuadraticRun

Numbers = dict[str, float | int | bool]


def positive(text: str) -> float:
    """Parse a finite number > 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number > 0, got {text!r}")
    return value


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--dimension", type=whole(2, 2000), default=500, metavar="N", help="number of weights, 2 to 2000 (default 500)")
    add("--steps", type=whole(2, 20_000), default=1000, metavar="N", help="number of steps, 2 to 20000 (default 1000)")
    add("--lr", type=positive, default=0.01, metavar="ETA", help="learning rate, > 0 (default 0.01)")
    add(
        "--seed",
        type=whole(0, 2**32 - 1),
        default=1,
        metavar="N",
        help="seed of the first run, which is drawn (default 1)",
    )
    add("--seeds", type=whole(1, 1000), default=5, metavar="N", help="number of runs, from --seed on (default 5)")
    add(
        "--out",
        type=Path,
        default=Path("outputs/quadratic"),
        metavar="DIR",
        help="folder of the results (default outputs/quadratic)",
    )
    return parser.parse_args(argv)


def make_folder(folder: Path) -> None:
    """Create the folder of the results; UserError if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {folder}: expected a folder that can be made, got {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"--out {folder}: expected a folder that can be written to, got no permission")


def report(runs: dict[int, Numbers]) -> str:
    """The table of the runs, by seed, and how many passed."""
    from metaplast.studies.quadratic_experiment import RANK_CORRELATION_NEEDED, SPEED_CORRELATION_NEEDED

    passed = sum(numbers["passed"] for numbers in runs.values())
    lines = [
        "seed  diverge  converge  predicted   r(speed)  r(speed) at corner   rank(bins)  rank(weights)  passed",
        *(
            f"{seed:>4}  {n['diverged']:>7}  {n['settled']:>8}  {n['predicted']:>9}  {n['speed_correlation']:>9.6f}"
            f"  {n['speed_correlation_at_corner']:>18.6f}  {n['bin_rank_correlation']:>11.4f}"
            f"  {n['weight_rank_correlation']:>13.4f}  {'yes' if n['passed'] else 'no':>6}"
            for seed, n in runs.items()
        ),
        "predicted: weights that behave as the theory predicts. r(speed): predicted and measured speed, if diverging.",
        f"Needed: r(speed) ≥ {SPEED_CORRELATION_NEEDED}, rank(bins) ≥ {RANK_CORRELATION_NEEDED}. "
        f"Passed for {passed} of {len(runs)} seeds.",
    ]
    return "\n".join(lines)


def save_figures(run: "QuadraticRun", folder: Path) -> list[Path]:
    """Write the three figures and return their paths."""
    from metaplast.report.figures.style import save_figure
    from metaplast.studies.quadratic_experiment import draw_plane, draw_speed, draw_switch_cost, run_plane

    figures = {"plane": draw_plane(run_plane()), "switch_cost": draw_switch_cost(run), "speed": draw_speed(run)}
    return [save_figure(folder / f"{name}.png", figure, dpi=150) for name, figure in figures.items()]


def save_numbers(arguments: argparse.Namespace, runs: dict[int, Numbers], run: "QuadraticRun", path: Path) -> None:
    """Write the settings, the numbers of each seed and the bins of the run that is drawn; null where undefined."""
    settings = {key: value for key, value in vars(arguments).items() if key != "out"}
    bins = {
        "center": run.bins.center.tolist(),
        "mean": [_defined(x) for x in run.bins.mean.tolist()],
        "spread": [_defined(x) for x in run.bins.spread.tolist()],
        "count": run.bins.count.tolist(),
    }
    seeds = [{"seed": seed, **{k: _defined(v) for k, v in numbers.items()}} for seed, numbers in runs.items()]
    write_text(path, json.dumps({"settings": settings, "runs": seeds, "bins": bins}, indent=2, allow_nan=False) + "\n")


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value


def run(arguments: argparse.Namespace) -> None:
    """Run every seed, write the figures and numbers, and print the table."""
    make_folder(arguments.out)
    # A second thread gains nothing here, and spins beside a busy process (11 s of CPU time instead of 4).
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from metaplast.studies.quadratic_experiment import run_random, summarize

    size = arguments.dimension, arguments.steps, arguments.lr
    drawn = run_random(*size, seed=arguments.seed)
    runs = {arguments.seed: summarize(drawn)}
    for seed in range(arguments.seed + 1, arguments.seed + arguments.seeds):
        runs[seed] = summarize(run_random(*size, seed=seed))
    paths = save_figures(drawn, arguments.out)
    numbers = arguments.out / "quadratic.json"
    save_numbers(arguments, runs, drawn, numbers)
    print(report(runs))
    print("Written: " + ", ".join(str(path) for path in [*paths, numbers]))


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    run(parse(argv))
