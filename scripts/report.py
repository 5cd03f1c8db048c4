"""One look at many runs: the table of settings, sweep.csv, pictures, and a page that needs no network.

    python scripts/report.py outputs/multirun/2026-11-24/10-00-00
    python scripts/report.py outputs/train outputs/multirun --out outputs/report

Runs are found in and below each DIR, whatever they vary; those that differ in the seed alone are averaged. It can be
called while a sweep is going on: runs that are running, failed or were killed are listed with what is known of them.
Those that were cut off get what they lack, drawn from metrics.csv: accuracy_matrix.csv and .png, accuracy_curves.png.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from metaplast.cli.script import OneLineParser, script


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(__doc__)
    parser.add_argument(
        "directories", nargs="+", type=Path, metavar="DIR", help="a run, or a folder with runs below it"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the report (default: the one holding every DIR)"
    )
    return parser.parse_args(argv)


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    arguments = parse(argv)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a sweep may be running beside it
    from metaplast.report.report import report_sweep

    print(f"page: {report_sweep(arguments.directories, arguments.out)}")


if __name__ == "__main__":
    sys.exit(main())
