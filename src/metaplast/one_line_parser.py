"""The parser of the scripts' arguments: an error of the user's is one line here too."""

import argparse
from collections.abc import Callable
from typing import Never


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line, without the usage before them.

    Its help is the docstring `doc` of a script: the first paragraph, then the options, then the rest as it stands.
    """

    def __init__(self, doc: str | None) -> None:
        about, _, epilog = (doc or "").partition("\n\n")
        super().__init__(
            description=about,
            epilog=epilog,
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=110),
        )

    def error(self, message: str) -> Never:
        """Say what is wrong and leave with status 2."""
        self.exit(2, f"error: {message}\n")


def whole(lowest: int, highest: int) -> Callable[[str], int]:
    """Return the reader of an argument that is a whole number from `lowest` to `highest`."""

    def read(text: str) -> int:
        allowed = f"has to be a whole number from {lowest} to {highest}, but is {text!r}"
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(allowed) from None
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(allowed)
        return value

    return read
