"""What the tests of W&B share."""

import gc
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Processes = Callable[[], list["subprocess.Popen[bytes]"]]


@pytest.fixture
def wandb_processes() -> Processes:
    """The processes that W&B has running here; it keeps them in no public place, and leaves them when it ends."""
    return lambda: [
        found
        for found in gc.get_objects()
        if type(found) is subprocess.Popen and "wandb-core" in str(found.args) and found.returncode is None
    ]


@pytest.fixture
def wandb_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, wandb_processes: Processes
) -> Iterator[Path]:
    """The home of a user without credentials or settings, of whom W&B remembers nothing."""
    import wandb

    home = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    wandb.teardown()
    yield home
    processes = wandb_processes()
    wandb.teardown()
    for process in processes:
        process.wait(timeout=30)
