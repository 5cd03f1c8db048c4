"""The last word on standard output, which whoever reads it may have closed."""

import os
import sys


def flush_stdout() -> None:
    """Flush what was printed while a closed pipe can still be forgiven; at exit Python would complain."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
