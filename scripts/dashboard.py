"""The same as `metaplast dashboard`."""

import sys

from metaplast.cli.commands.dashboard import main

if __name__ == "__main__":
    sys.exit(main())
