"""Rewrite docs/settings.md and conf/schema.json after a change of the schema or of a default.

python scripts/settings_page.py
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from metaplast.cli.script import OneLineParser, script

ROOT = Path(__file__).resolve().parents[1]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    return OneLineParser(__doc__).parse_args(argv)


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parse(argv)
    from metaplast.config.reference import write

    write(ROOT / "conf", ROOT / "docs")
    print(f"wrote {ROOT / 'docs' / 'settings.md'} and {ROOT / 'conf' / 'schema.json'}")


if __name__ == "__main__":
    sys.exit(main())
