"""The same as `metaplast sign-switch`."""

import sys

from metaplast.cli.commands.sign_switch import main

if __name__ == "__main__":
    sys.exit(main())
