"""The same as `metaplast normalization-study`."""

import sys

from metaplast.cli.commands.normalization_study import main

if __name__ == "__main__":
    sys.exit(main())
