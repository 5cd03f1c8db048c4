"""Report on many runs: a table of settings, sweep.csv, pictures, and a page that works offline.

    metaplast report outputs/multirun/2026-11-24/10-00-00
    metaplast report outputs/train outputs/multirun --out outputs/report

Runs are found in and below each DIR; runs that differ only in the seed are averaged. A sweep may still be running:
running, failed and killed runs are listed with their status. For interrupted runs, accuracy_matrix.csv and .png and
accuracy_curves.png are made from metrics.csv.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from metaplast.cli.script import OneLineParser, script


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = OneLineParser(__doc__)
    parser.add_argument(
        "directories", nargs="+", type=Path, metavar="DIR", help="a run, or a folder that contains runs"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the report (default: the common parent of all DIR)"
    )
    return parser.parse_args(argv)


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    arguments = parse(argv)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # leaves the cores to a running sweep
    from metaplast.report.report import report_sweep

    print(f"page: {report_sweep(arguments.directories, arguments.out)}")
