"""The study of normalization, of runs in several folders: one table, one picture, and what was measured inside.

    python src/train.py experiment=normalization seed=3,4 hydra.sweep.dir=outputs/more_seeds
    python scripts/normalization_study.py outputs/normalization outputs/more_seeds --out outputs/all_seeds

Writes what the experiment itself draws from its own runs when it ends: normalization.csv (every number),
normalization.md (the table, and each arm against the published code's settings) and normalization.png (retention
against plasticity), to --out. Runs in and below each DIR count.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from metaplast.cli.script import OneLineParser, script
from metaplast.errors import UserError


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(__doc__)
    parser.add_argument(
        "directories", nargs="+", type=Path, metavar="DIR", help="a run, or a folder with runs below it"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the results (default: the first DIR)")
    return parser.parse_args(argv)


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    arguments = parse(argv)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a sweep may be running beside it
    from metaplast.report.aggregate import make_sweep
    from metaplast.report.figures.normalization import write_normalization
    from metaplast.runs.index import find_runs

    folder = arguments.out or arguments.directories[0]
    sweep = make_sweep(find_runs(arguments.directories))
    try:
        paths = write_normalization(folder, sweep)
    except OSError as error:
        raise UserError(f"{folder} cannot be written to: {error.strerror}; give another folder by --out") from error
    if not paths:
        raise UserError("no completed run of two tasks or more among them; a study needs some")
    print("Written: " + ", ".join(map(str, paths)))


if __name__ == "__main__":
    sys.exit(main())
