"""The memory draws what a DataLoader would, can be taken up anywhere, and Avalanche's buffers survive a checkpoint."""

import io
from typing import Any

import pytest
import torch
from avalanche.training.storage_policy import ExperienceBalancedBuffer
from avalanche.training.supervised.der import ClassBalancedBufferWithLogits
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from metaplast.strategies.buffers import Memory, buffer_state, columns_of, load_buffer_state
from metaplast.testing.avalanche_parity import small_digits


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32))
def test_it_draws_the_batches_of_a_shuffled_loader_that_drops_the_last(n: int, batch_size: int, seed: int) -> None:
    batch_size = min(batch_size, n)
    columns = [torch.arange(n), torch.arange(n) * 10]
    loader = DataLoader(TensorDataset(*columns), batch_size, shuffle=True, drop_last=True)
    torch.manual_seed(seed)
    expected = [batch for _ in range(3) for batch in loader]
    after = torch.rand(1)
    torch.manual_seed(seed)
    memory = Memory(columns, batch_size)
    assert [[column.tolist() for column in memory.draw()] for _ in expected] == [
        [column.tolist() for column in batch] for batch in expected
    ]
    assert torch.equal(torch.rand(1), after)


def test_a_draw_is_never_larger_than_the_memory() -> None:
    (drawn,) = Memory([torch.arange(3)], batch_size=8).draw()
    assert sorted(drawn.tolist()) == [0, 1, 2]


class Strategy:
    """What a buffer reads of a strategy."""

    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    train_mb_size, device = 30, torch.device("cpu")

    def __init__(self, experience: Any) -> None:
        self.experience = experience


def through_a_file(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.filterwarnings("ignore:.*deprecated function update:DeprecationWarning")
@pytest.mark.parametrize("kind", [ExperienceBalancedBuffer, ClassBalancedBufferWithLogits])
def test_a_buffer_goes_on_from_its_state_as_if_nothing_had_happened(kind: type[Any]) -> None:
    experiences = [Strategy(experience) for experience in small_digits().benchmark.train_stream]
    whole, first, second = kind(50), kind(50), kind(50)
    torch.manual_seed(0)
    for strategy in experiences:
        whole.update(strategy)
    torch.manual_seed(0)
    for strategy in experiences[:2]:
        first.update(strategy)
    load_buffer_state(second, through_a_file(buffer_state(first)))
    for name, value in (("_num_exps", 2), ("seen_classes", set(second.buffer_groups))):
        if hasattr(second, name):
            setattr(second, name, value)
    second.update(experiences[2])
    assert len(second.buffer) == 50
    for ours, theirs in zip(columns_of(second.buffer), columns_of(whole.buffer), strict=True):
        assert torch.equal(ours, theirs)


def test_an_empty_group_is_kept() -> None:
    buffer = ExperienceBalancedBuffer(2)
    for strategy in map(Strategy, small_digits().benchmark.train_stream):
        buffer.post_adapt(strategy, strategy.experience)  # three experiences for two places
    other = ExperienceBalancedBuffer(2)
    load_buffer_state(other, through_a_file(buffer_state(buffer)))
    assert [len(group.buffer) for group in other.buffer_groups.values()] == [1, 1, 0]
