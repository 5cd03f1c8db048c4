"""Summarize the normalization study over runs in several folders: a table, a picture and all numbers.

    metaplast train experiment=normalization seed=3,4 hydra.sweep.dir=outputs/more_seeds
    metaplast normalization-study outputs/normalization outputs/more_seeds --out outputs/all_seeds

Writes to --out the same files as the experiment itself: normalization.csv (all numbers), normalization.md (the table,
and each ablation against the settings of the published code) and normalization.png (retention against plasticity). Runs
in and below each DIR are used.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from metaplast.cli.script import OneLineParser, script
from metaplast.errors import UserError


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = OneLineParser(__doc__)
    parser.add_argument(
        "directories", nargs="+", type=Path, metavar="DIR", help="a run, or a folder that contains runs"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the results (default: the first DIR)")
    return parser.parse_args(argv)


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    arguments = parse(argv)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # leaves the cores to a running sweep
    from metaplast.report.aggregate import make_sweep
    from metaplast.report.figures.normalization import write_normalization
    from metaplast.runs.index import find_runs

    folder = arguments.out or arguments.directories[0]
    sweep = make_sweep(find_runs(arguments.directories))
    try:
        paths = write_normalization(folder, sweep)
    except OSError as error:
        raise UserError(f"--out {folder}: expected a folder that can be written to, got {error.strerror}") from error
    if not paths:
        raise UserError("DIR: expected completed runs of two or more tasks, got none")
    print("Written: " + ", ".join(map(str, paths)))
