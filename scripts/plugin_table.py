"""Run each of Avalanche's plugins through the bridge, and write docs/plugins.md with the results.

python scripts/plugin_table.py
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from metaplast.cli.script import OneLineParser, script
from metaplast.io import check_target, write_text

PAGE = Path(__file__).resolve().parents[1] / "docs" / "plugins.md"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = OneLineParser(__doc__)
    parser.add_argument(
        "--out", type=Path, default=PAGE, metavar="FILE", help="page to write (default docs/plugins.md)"
    )
    return parser.parse_args(argv)


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    arguments = parse(argv)
    check_target("--out", arguments.out)
    warnings.simplefilter("ignore")  # Avalanche's own deprecations
    from metaplast.testing.plugin_docs import page

    write_text(arguments.out, page())
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    sys.exit(main())
