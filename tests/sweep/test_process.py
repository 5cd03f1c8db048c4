"""Work in a fork of the fork server."""

import os
from pathlib import Path

from metaplast.sweep.process import preload, run_in_forkserver


def test_a_fork_of_the_server_does_what_it_is_given_and_says_how_it_ended(tmp_path: Path) -> None:
    """Standard functions, since the fork could not import this file."""
    preload([])
    assert run_in_forkserver(os.mkdir, tmp_path / "made") == 0
    assert (tmp_path / "made").is_dir()
    assert run_in_forkserver(os._exit, 7) == 7
