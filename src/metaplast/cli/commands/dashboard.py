"""Build a team's workspace and report in Weights & Biases: curves, accuracy against m, all settings, matrices.

    metaplast dashboard --entity my-team --project metaplast
    metaplast dashboard --print > dashboard.json

Without a server, or with --print, it prints the specification of both as JSON. It needs the extra `team`:
pip install -e '.[team]'.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from metaplast.cli.script import OneLineParser, script
from metaplast.errors import UserError


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = OneLineParser(__doc__)
    parser.add_argument("--entity", help="user or team (default: the user who is logged in)")
    parser.add_argument(
        "--project", default=os.environ.get("WANDB_PROJECT", "metaplast"), help="project (default: %(default)s)"
    )
    parser.add_argument("--print", action="store_true", help="print the specification and save nothing")
    return parser.parse_args(argv)


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    arguments = parse(argv)
    from metaplast.loggers.wandb_workspace import save, specification

    reason = "" if arguments.print else _why_no_server()
    if arguments.print or reason:
        print(specification(arguments.entity or "", arguments.project))
    else:
        print("\n".join(save(arguments.entity, arguments.project)))
    if reason:
        print(f"not saved, the specification is printed instead: {reason}", file=sys.stderr)


def _why_no_server() -> str:
    """Why there is no server; empty if there is one."""
    from metaplast.loggers.wandb import require_server

    try:
        require_server()
    except UserError as error:
        return str(error)
    return ""
