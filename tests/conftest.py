"""What all tests share: reproducible property-based tests, one thread a process."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: spinning threads make neighbours wait

from collections.abc import Iterator

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
