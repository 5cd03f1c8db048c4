"""Which weights a penalty acts on, and that its gradient arrives at the hidden ones."""

import pytest
import torch
from torch import nn

from metaplast.nn import bnn, mlp, sign
from metaplast.strategies.acted_weights import Weights, acted_weights, snapshot


def test_binary_layers_act_by_their_signs_and_pass_the_gradient_straight_through() -> None:
    network = bnn((4,), 3, hidden=[5])
    acted = acted_weights(network, "binary")
    assert list(acted) == ["layer1.weight", "layer2.weight"]
    hidden = network.get_parameter("layer1.weight")
    assert torch.equal(acted["layer1.weight"], sign(hidden))
    (3 * acted["layer1.weight"]).sum().backward()  # type: ignore[no-untyped-call]
    assert hidden.grad is not None
    assert bool(hidden.grad.eq(3).all())


@pytest.mark.parametrize(("network", "weights"), [(bnn((4,), 3, hidden=[5]), "hidden"), (mlp((4,), 3), "binary")])
def test_hidden_weights_and_those_of_other_layers_are_the_parameters_themselves(
    network: nn.Module, weights: Weights
) -> None:
    assert all(weight is network.get_parameter(name) for name, weight in acted_weights(network, weights).items())


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(3), nn.LayerNorm(3), nn.GroupNorm(1, 3)])
def test_normalizations_are_left_out_unless_asked_for_and_frozen_parameters_always(norm: nn.Module) -> None:
    network = nn.Sequential(nn.Linear(4, 3), norm)
    network[0].weight.requires_grad_(False)
    assert list(acted_weights(network)) == ["0.bias"]
    assert list(acted_weights(network, norm_parameters=True)) == ["0.bias", "1.weight", "1.bias"]


def test_a_snapshot_does_not_follow_the_weights() -> None:
    network = nn.Linear(2, 2)
    before = snapshot(acted_weights(network))
    with torch.no_grad():
        network.weight.add_(1)
    torch.testing.assert_close(before["weight"], network.weight - 1)
