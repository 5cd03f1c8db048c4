"""The same as `metaplast sync`."""

import sys

from metaplast.cli.commands.sync import main

if __name__ == "__main__":
    sys.exit(main())
