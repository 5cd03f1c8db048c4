"""Build a team's workspace and report in Weights & Biases: curves, accuracy against m, all settings, matrices.

    python scripts/dashboard.py --entity my-team --project metaplast
    python scripts/dashboard.py --print > dashboard.json

Without a server, or with --print, the specification of both is printed as JSON. It needs the extra `team`:
pip install -e '.[team]'.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from metaplast.cli.script import OneLineParser, script
from metaplast.errors import UserError


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(__doc__)
    parser.add_argument("--entity", help="user or team (default: the user's own)")
    parser.add_argument(
        "--project", default=os.environ.get("WANDB_PROJECT", "metaplast"), help="(default: %(default)s)"
    )
    parser.add_argument(
        "--print", action="store_true", help="print the specification, whether there is a server or not"
    )
    return parser.parse_args(argv)


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    arguments = parse(argv)
    from metaplast.loggers.wandb_workspace import save, specification

    absent = "" if arguments.print else _absent()
    if arguments.print or absent:
        print(specification(arguments.entity or "", arguments.project))
    else:
        print("\n".join(save(arguments.entity, arguments.project)))
    if absent:
        print(f"not saved, so that this is the specification: {absent}", file=sys.stderr)


def _absent() -> str:
    """Why there is no server to save to; empty if there is one."""
    from metaplast.loggers.wandb import require_server

    try:
        require_server()
    except UserError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    sys.exit(main())
