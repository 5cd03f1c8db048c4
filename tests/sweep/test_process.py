"""Work in a fork of the warm parent."""

import os
from pathlib import Path

from metaplast.sweep.process import in_warm_fork, warm_up


def test_a_fork_of_the_warm_parent_does_what_it_is_given_and_says_how_it_ended(tmp_path: Path) -> None:
    """Standard functions, since the fork could not import this file."""
    warm_up([])
    assert in_warm_fork(os.mkdir, tmp_path / "made") == 0
    assert (tmp_path / "made").is_dir()
    assert in_warm_fork(os._exit, 7) == 7
