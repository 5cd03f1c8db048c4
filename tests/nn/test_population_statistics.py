"""Population statistics are those of all the data, whatever batches they come in."""

from collections.abc import Iterable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from metaplast.nn import BatchNorm, LayerNorm, bnn, set_population_statistics


def images(seed: int, n: int = 64) -> Tensor:
    return torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 1000), st.integers(1, 64))
def test_with_population_statistics_an_answer_does_not_depend_on_its_batch(seed: int, n: int) -> None:
    network = bnn((1, 4, 4), 3, hidden=[6, 5])
    x = images(seed)
    set_population_statistics(network, lambda: [x])
    network.eval()
    # float32 sums of other lengths round differently; an answer that moved with its batch would move by far more.
    assert torch.allclose(network(x)[:n], network(x[:n]), atol=1e-5)


@given(st.integers(0, 1000), st.integers(1, 64))
def test_population_statistics_are_those_of_what_a_layer_gets_from_all_the_data(seed: int, batch: int) -> None:
    network, x = bnn((1, 4, 4), 3, hidden=[6, 5]), images(seed)
    set_population_statistics(network, lambda: torch.split(x, batch))
    assert network.training
    a = x
    for module in network.eval():
        if isinstance(module, BatchNorm):
            assert torch.allclose(module.mean, a.mean(0), atol=1e-5)
            assert torch.allclose(module.var, a.var(0, correction=0), atol=1e-4)
        a = module(a)


def test_every_module_goes_back_to_its_own_mode() -> None:
    network = bnn((1, 4, 4), 3, hidden=[6, 5])
    network.get_submodule("norm2").eval()
    set_population_statistics(network, lambda: [images(0)])
    assert [name for name, module in network.named_modules() if not module.training] == ["norm2"]


def test_modes_come_back_after_an_error() -> None:
    network = bnn((1, 4, 4), 3, hidden=[6, 5])
    with pytest.raises(RuntimeError, match="no images today"):
        set_population_statistics(network, raise_an_error)
    assert all(module.training for module in network.modules())
    assert not any(module._forward_pre_hooks for module in network.modules())


def raise_an_error() -> Iterable[Tensor]:
    raise RuntimeError("no images today")


def test_batches_that_can_be_had_once_only_are_refused() -> None:
    once = iter([images(0), images(1)])
    with pytest.raises(ValueError, match="batches: expected a function that gives all batches at every call, got none"):
        set_population_statistics(bnn((1, 4, 4), 3, hidden=[6]), lambda: once)


def test_no_batches_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="batches: expected a function"):
        set_population_statistics(BatchNorm(3), list)


def test_a_network_without_such_layers_needs_no_batches() -> None:
    set_population_statistics(nn.Sequential(LayerNorm(3), BatchNorm(3, test_statistics="running")), list)


def test_statistics_of_half_precision_are_summed_in_more() -> None:
    x = (torch.randn(4096, 3, generator=torch.Generator().manual_seed(0)) + 100).half()
    norm = BatchNorm(3).half()
    set_population_statistics(norm, lambda: torch.split(x, 64))
    torch.testing.assert_close(norm.mean, x.double().mean(0).half())
    torch.testing.assert_close(norm.var, x.double().var(0, correction=0).half())
