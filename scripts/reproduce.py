"""The same as `metaplast reproduce`."""

import sys

from metaplast.cli.commands.reproduce import main

if __name__ == "__main__":
    sys.exit(main())
