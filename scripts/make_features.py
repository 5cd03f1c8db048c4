"""The same as `metaplast make-features`."""

import sys

from metaplast.cli.commands.make_features import main

if __name__ == "__main__":
    sys.exit(main())
