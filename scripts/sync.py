"""Upload runs that were recorded offline, each once and with every row that it measured.

    python scripts/sync.py outputs/train/2026-11-24/10-00-00
    python scripts/sync.py outputs/multirun

Runs are found in and below each DIR. What W&B lost of a run that was killed is filled in from the files of its
directory, in a copy; the recording itself is never changed. The server and the API key are those of `wandb login`.
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
    return parser.parse_args(argv)


@script
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 1 if a run could not be uploaded, 2 if none could even be tried."""
    arguments = parse(argv)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a sweep may be running beside it
    from metaplast.loggers.wandb import require_server
    from metaplast.loggers.wandb_offline import skip_reason, upload
    from metaplast.runs.index import find_runs

    runs = [(run, skip_reason(run)) for run in find_runs(arguments.directories)]
    if any(reason is None for _, reason in runs):
        print(f"server: {require_server()}", flush=True)
    status = 0
    for run, reason in runs:
        try:
            print(f"{run.path}: {reason or upload(run)}", flush=True)
        except UserError as error:
            print(f"error: {run.path}: {error}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
