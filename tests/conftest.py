"""What all tests share: reproducible property-based tests, one thread a process, and a small USPS beside MNIST."""

import bz2
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: spinning threads make neighbours wait

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Imports and compilation happen inside a first example; draws are the same in every run.
settings.register_profile("metaplast", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("metaplast")


@pytest.fixture
def threads_as_before() -> Iterator[None]:
    """Give torch the number of threads back that it had before the test."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def mnist_and_usps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `data_dir` with real MNIST, and 12 training and 7 test images of USPS whose pixels are drawn."""
    import torch

    from metaplast.data import load_mnist

    data = Path(__file__).parents[1] / "data"
    load_mnist(data, train=True)  # sees to it that the files are there
    folder = tmp_path_factory.mktemp("data")
    (folder / "mnist").symlink_to(data / "mnist")
    generator = torch.Generator().manual_seed(0)
    for name, n in (("usps.bz2", 12), ("usps.t.bz2", 7)):
        values = torch.rand(n, 256, generator=generator) * 2 - 1
        values[torch.rand(n, 256, generator=generator) < 0.5] = -1  # background
        lines = (
            f"{1 + i % 10} " + " ".join(f"{k}:{value:.4f}" for k, value in enumerate(row, 1))
            for i, row in enumerate(values.tolist())
        )
        (folder / name).write_bytes(bz2.compress("\n".join(lines).encode()))
    return folder
