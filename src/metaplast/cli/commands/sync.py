"""Upload runs recorded offline to Weights & Biases, each once and with all its rows.

    metaplast sync outputs/train/2026-11-24/10-00-00
    metaplast sync outputs/multirun

Runs are found in and below each DIR. Rows that W&B lost when a run was killed are restored from the files of the run,
in a copy; the recording itself is not changed. The server and the API key are those of `wandb login`.
"""

import argparse
import os
import sys
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
    return parser.parse_args(argv)


@script
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 1 if an upload failed, 2 for an invalid argument or no server."""
    arguments = parse(argv)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # leaves the cores to a running sweep
    from metaplast.loggers.wandb import require_server
    from metaplast.loggers.wandb_offline import skip_reason, upload_all
    from metaplast.runs.index import find_runs

    runs = [(run, skip_reason(run)) for run in find_runs(arguments.directories)]
    waiting = [run for run, reason in runs if reason is None]
    if waiting:
        print(f"server: {require_server()}", flush=True)
    for run, reason in runs:
        if reason is not None:
            print(f"{run.path}: {reason}", flush=True)
    status = 0
    for number, (run, outcome) in enumerate(upload_all(waiting), start=1):
        if isinstance(outcome, UserError):
            print(f"error: {run.path}: {outcome}", file=sys.stderr)
            status = 1
        else:
            print(f"{number}/{len(waiting)} {run.path}: {outcome}", flush=True)
    return status
