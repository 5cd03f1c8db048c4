"""A network in integers answers as the network does, ties included."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from metaplast.errors import UserError
from metaplast.export.folding import ThresholdLinear, fold
from metaplast.nn import BatchNorm, bcnn, bnn, mlp


def trained(seed: int = 0, shape: tuple[int, int, int] = (1, 3, 5), **changed: Any) -> nn.Sequential:
    """A network whose γ, β and statistics are drawn, γ of either sign or 0."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    network = bnn(shape, 4, **{"hidden": [70, 9], "gate_threshold": 0.5, **changed}).eval()
    for norm in (module for module in network if isinstance(module, BatchNorm)):
        norm.mean.normal_(0, 2, generator=generator)
        norm.var.uniform_(0.5, 30, generator=generator)
        if norm.weight is not None and norm.bias is not None:
            nn.init.normal_(norm.weight, generator=generator)
            nn.init.normal_(norm.bias, generator=generator)
            norm.weight.data[0] = 0
    return network


def images_of(n: int, shape: tuple[int, ...] = (1, 3, 5), seed: int = 0) -> Tensor:
    """Images of 8-bit pixels, as uint8."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, *shape), generator=generator, dtype=torch.uint8)


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**20),
    activation=st.sampled_from(["sign", "gate"]),
    norm=st.sampled_from(["batch", "none"]),
    affine=st.booleans(),
    hidden=st.lists(st.integers(1, 90), min_size=1, max_size=3),
)
def test_the_network_in_integers_answers_as_the_network(
    seed: int, activation: str, norm: str, affine: bool, hidden: list[int]
) -> None:
    network = trained(seed, activation=activation, norm=norm, norm_affine=affine, hidden=hidden)
    images = images_of(20, seed=seed) / 255
    if norm == "none":  # sums of 0 are frequent there, and float32 sums other pixels to a little beside it
        images = images.round()
    with torch.no_grad():
        torch.testing.assert_close(fold(network)(images), network(images), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("activation", ["sign", "gate"])
@pytest.mark.parametrize("gamma", [1.0, -0.3, 0.0])
@pytest.mark.parametrize("beta", [0.0, 0.1, -1e-7])
def test_a_hidden_unit_answers_every_sum_as_its_normalization_and_activation_do(
    activation: str, gamma: float, beta: float
) -> None:
    """Sums equal to the mean among them, where the sign of 0 is 0."""
    network: Any = trained(activation=activation, hidden=[5, 4])
    nn.init.constant_(network.norm2.weight, gamma)
    nn.init.constant_(network.norm2.bias, beta)
    network.norm2.mean.copy_(torch.tensor([1.0, 0.0, -3.0, 0.5]))
    layer = fold(network).hidden[1]
    x = torch.tensor([*itertools.product([-1.0, 0.0, 1.0], repeat=5)])
    with torch.no_grad():
        assert torch.equal(layer(x), network.act2(network.norm2(network.layer2(x))))


def test_a_first_layer_decides_by_the_exact_sum_of_pixels() -> None:
    network: Any = bnn((1, 1, 3), 2, hidden=[1]).eval()
    network.norm2.mean.fill_(1)
    network.layer1.weight.data.fill_(1.0)
    network.norm1.mean.fill_(0.6)  # in float32 a little more than 153 / 255
    layer = fold(network).hidden[0]
    assert isinstance(layer, ThresholdLinear)
    mean = float(network.norm1.mean)
    assert mean > 153 / 255
    assert (layer.at_most.tolist(), layer.at_least.tolist()) == ([153], [154])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: trained(norm="layer"), "fixed statistics, or none, got a LayerNorm"),
        (lambda: trained(test_statistics="batch"), "fixed statistics, or none, got a BatchNorm"),
        (lambda: trained(activation="kwta"), "expected the activation sign or gate, got a KWTA"),
        (lambda: trained(hidden=[]), "expected a bnn with a hidden layer"),
        (lambda: trained(shape=(1, 1, 65794), hidden=[1]), "expected layers of at most 65,793 inputs, got 65,794"),
        (lambda: mlp((1, 3, 5), 4, hidden=[6]), "expected binary linear layers, got a Linear"),
        (lambda: bcnn((1, 8, 8), 3, channels=[2]), "packed: expected"),
        (lambda: nn.Flatten(), "expected a bnn with a hidden layer"),
    ],
)
def test_a_network_without_an_integer_form_is_refused_in_a_line(make: Callable[[], nn.Module], said: str) -> None:
    with pytest.raises(UserError, match="packed: ") as refused:
        fold(make().eval())
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
