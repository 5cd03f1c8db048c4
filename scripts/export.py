"""Export the trained network of a run; the command is in src/metaplast/cli/commands/export.py."""

import sys

from metaplast.cli.commands.export import main, parse

__all__ = ["main", "parse"]

if __name__ == "__main__":
    sys.exit(main())
