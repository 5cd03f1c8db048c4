"""Random orders and seeds that are the same under every version of every library."""

import numpy as np
import torch
from torch import Tensor


def seed_of(seed: int, *key: int) -> int:
    """Return 32 bits, all that torch's generator on a CPU keeps, as a pure function of `seed` ≥ 0 and `key` ≥ 0.

    >>> seed_of(0, 1), seed_of(2**16, 1)
    (673228719, 1349317456)
    """
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1)[0])


def random_permutation(n: int, seed: int, *key: int) -> Tensor:
    """Return a random order of n things, int64 (n,), as a pure function of `seed` ≥ 0 and of the numbers of `key` ≥ 0.

    It is the order of n random 64-bit numbers. NumPy guarantees that the bit streams of its generators never change;
    it does not for `permutation`, nor does torch for `randperm`. All bits of the seed count, whereas torch's generator
    on a CPU keeps 32.

    >>> random_permutation(8, 0, 1)
    tensor([1, 3, 6, 2, 0, 7, 5, 4])
    """
    bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)).random_raw(n)
    return torch.from_numpy(np.argsort(bits, kind="stable"))
