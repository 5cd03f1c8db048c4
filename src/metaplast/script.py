"""What the command and the scripts have around their `main`: an exit status, and a user's error said in a line."""

import functools
import io
import sys
from collections.abc import Callable
from typing import ParamSpec

from metaplast.errors import UserError
from metaplast.exit_status import INTERRUPTED, PIPE_CLOSED, REFUSED
from metaplast.stdout import flush_stdout

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
    def ending(*args: P.args, **kwargs: P.kwargs) -> int:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a path in an odd encoding must not end a training
        try:
            status = main(*args, **kwargs) or 0
            sys.stdout.flush()  # where nobody reads any more, this may be the first to notice
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

    return ending
