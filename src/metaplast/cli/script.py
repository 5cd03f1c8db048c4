"""What the command and the scripts share: an exit status around `main`, user errors in one line, and a parser."""

import argparse
import functools
import io
import sys
from collections.abc import Callable
from typing import Never, ParamSpec

from metaplast.errors import INTERRUPTED, PIPE_CLOSED, REFUSED, UserError
from metaplast.system import ensure_home, flush_stdout


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line, without the usage.

    Its help is the docstring `doc` of a script: the first paragraph, then the options, then the rest unchanged.
    """

    def __init__(self, doc: str | None) -> None:
        about, _, epilog = (doc or "").partition("\n\n")
        super().__init__(
            description=about,
            epilog=epilog,
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=110),
        )

    def error(self, message: str) -> Never:
        """Print the error and exit with status 2."""
        self.exit(2, f"error: {message}\n")


def whole(lowest: int, highest: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from `lowest` to `highest`."""

    def read(text: str) -> int:
        allowed = f"expected a whole number from {lowest} to {highest}, got {text!r}"
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(allowed) from None
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(allowed)
        return value

    return read


P = ParamSpec("P")

ENVIRONMENT = "the environment that `make train` makes has it: source .venv/bin/activate"


def script(main: Callable[P, int | None]) -> Callable[P, int]:
    """Return `main` as a function that returns the exit status, 0 where `main` returns None.

    >>> @script
    ... def main():
    ...     print("done")
    >>> main()
    done
    0
    """

    @functools.wraps(main)
    def with_status(*args: P.args, **kwargs: P.kwargs) -> int:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a path in an odd encoding must not end a run
        try:
            ensure_home()
            status = main(*args, **kwargs) or 0
            sys.stdout.flush()  # a closed pipe may show only here
            return status
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return REFUSED
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] == "metaplast":
                raise
            print(f"error: {error.name} is not installed for {sys.executable}; {ENVIRONMENT}", file=sys.stderr)
            return REFUSED
        except KeyboardInterrupt:
            return INTERRUPTED
        except BrokenPipeError:
            return PIPE_CLOSED
        finally:
            flush_stdout()

    return with_status
