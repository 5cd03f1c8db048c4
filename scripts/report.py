"""The same as `metaplast report`."""

import sys

from metaplast.cli.commands.report import main

if __name__ == "__main__":
    sys.exit(main())
