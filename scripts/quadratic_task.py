"""The same as `metaplast quadratic-task`."""

import sys

from metaplast.cli.commands.quadratic_task import main

if __name__ == "__main__":
    sys.exit(main())
