"""A random order is a permutation, and a pure function of its seed and key, now and under later versions."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from metaplast.data import random_permutation

seeds = st.integers(0, 2**63)
keys = st.lists(st.integers(0, 1000), max_size=3)


@given(n=st.integers(0, 1000), seed=seeds, key=keys)
def test_everything_comes_once_and_in_the_same_order_each_time(n: int, seed: int, key: list[int]) -> None:
    order = random_permutation(n, seed, *key)
    assert order.dtype == torch.int64
    assert torch.equal(order.sort().values, torch.arange(n))
    torch.rand(1)  # other draws have no say in it
    assert torch.equal(order, random_permutation(n, seed, *key))


@given(one=st.tuples(seeds, keys), other=st.tuples(seeds, keys))
def test_another_seed_or_key_gives_another_order(one: tuple[int, list[int]], other: tuple[int, list[int]]) -> None:
    orders = [random_permutation(784, seed, *key) for seed, key in (one, other)]
    assert torch.equal(*orders) == (one == other)


def test_no_seed_stands_for_another_seed_and_key() -> None:
    """Seeds are cut into words of 32 bits: they must not run over into the key, nor a key's zeros be lost."""
    cases = [(5, ()), (5, (0,)), (5, (0, 0)), (5, (7,)), (5 + 7 * 2**32, ()), (5 + 7 * 2**32, (0,)), (0, (5, 7))]
    assert len({tuple(random_permutation(784, seed, *key).tolist()) for seed, key in cases}) == len(cases)


def test_orders_do_not_change_between_versions() -> None:
    assert random_permutation(12, 0, 0).tolist() == [6, 11, 3, 8, 1, 4, 5, 9, 2, 7, 10, 0]
    assert random_permutation(12, 3, 1).tolist() == [9, 0, 6, 7, 10, 5, 8, 2, 1, 4, 3, 11]
