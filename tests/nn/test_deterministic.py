"""What a network computes does not depend on how many threads compute it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.fx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from metaplast.errors import UserError
from metaplast.nn import BatchNorm, BinaryLinear, binarize, bnn, mlp
from metaplast.optim import MetaplasticAdam, parameter_groups

pytestmark = pytest.mark.usefixtures("threads_as_before")


def trained(make: Callable[[], nn.Module], threads: int, steps: int, images: int) -> dict[str, Tensor]:
    """Every parameter and buffer after some steps on random images with many dark pixels."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network = make()
    optimizer = MetaplasticAdam(parameter_groups(network, 2.0), lr=0.005, weight_decay=1e-7)
    for _ in range(steps):
        x = torch.rand(images, 1, 28, 28) * (torch.rand(images, 1, 28, 28) < 0.3)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(x), torch.randint(10, (images,)))
        torch.autograd.backward(loss)
        optimizer.step()
    return network.state_dict()


@pytest.mark.parametrize(
    ("settings", "images"),
    [
        ({"hidden": [512, 512], "test_statistics": "batch"}, 100),
        ({"hidden": [512, 512], "test_statistics": "running"}, 100),
        ({"hidden": [512, 512], "norm_affine": False}, 100),
        ({"hidden": [300, 1000], "gamma_init": "uniform"}, 64),
        ({"hidden": [64]}, 37),
        ({"hidden": [10, 6]}, 100),
        ({"hidden": [512, 512]}, 10),
        ({"hidden": [512, 512], "norm": "layer"}, 100),
        ({"hidden": [512, 512], "norm": "none"}, 100),
    ],
    ids=str,
)
def test_a_binary_network_learns_the_same_bits_on_any_number_of_threads(settings: dict[str, Any], images: int) -> None:
    def make() -> nn.Module:
        return bnn((1, 28, 28), 10, n_tasks=2, **settings)

    one, *several = (trained(make, threads, steps=8, images=images) for threads in (1, 2, 4))
    assert [name for name in one for other in several if not torch.equal(one[name], other[name])] == []


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 600), st.integers(1, 1200), st.integers(1, 300), st.integers(0, 2**31))
def test_the_products_of_a_layer_have_the_same_bits_on_any_number_of_threads(n: int, i: int, o: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    layer = BinaryLinear(i, o)
    x, pull = torch.rand(n, i, generator=generator), torch.randn(n, o, generator=generator)
    found = []
    for threads in (1, 2, 3, 16):
        torch.set_num_threads(threads)
        inputs = x.clone().requires_grad_()
        y = layer(inputs)
        found.append((y, *torch.autograd.grad(y, (inputs, layer.weight), pull)))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))
    assert torch.allclose(found[0][0], x @ binarize(layer.weight).t(), rtol=1e-4, atol=1e-4)


def test_batch_norm_on_one_thread_is_batch_norm() -> None:
    """Output, gradients and running averages are PyTorch's to the bit, on one thread."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    ours, theirs = BatchNorm(33, gamma_init="uniform", test_statistics="running"), nn.BatchNorm1d(33)
    theirs.load_state_dict({"weight": ours.weight, "bias": ours.bias}, strict=False)
    x, gradient = torch.randn(50, 33), torch.randn(50, 33)
    results = []
    for norm in (ours, theirs):
        image = x.clone().requires_grad_()
        y = norm(image)
        results.append([y, *torch.autograd.grad(y, [image, *norm.parameters()], gradient)])
    results[0] += [ours.mean, ours.var]
    results[1] += [theirs.running_mean, theirs.running_var]
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


def test_the_number_of_threads_is_as_before_behind_a_layer() -> None:
    torch.set_num_threads(2)
    network = bnn((1, 28, 28), 10, hidden=[64])
    torch.autograd.backward(network(torch.rand(9, 1, 28, 28)).sum())
    assert torch.get_num_threads() == 2


def test_a_batch_of_one_is_refused() -> None:
    with pytest.raises(UserError, match="more than one image in a batch"):
        BatchNorm(3)(torch.rand(1, 3))


def test_batch_normalization_can_still_be_traced() -> None:
    """As plugins of Avalanche's do that look for a layer's output."""
    network = mlp((1, 2, 2), 3, hidden=[4], test_statistics="batch").train()
    x = torch.rand(5, 1, 2, 2)
    assert torch.equal(torch.fx.symbolic_trace(network)(x), network(x))
