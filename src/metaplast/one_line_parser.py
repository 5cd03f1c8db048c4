"""The parser of the scripts' arguments: an error of the user's is one line here too."""

import argparse
from typing import Never


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line, without the usage before them."""

    def error(self, message: str) -> Never:
        """Say what is wrong and leave with status 2."""
        self.exit(2, f"error: {message}\n")
