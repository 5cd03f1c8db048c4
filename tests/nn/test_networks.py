"""The networks have the shapes asked for, and refuse what cannot be built."""

import pytest
import torch

from metaplast.errors import UserError
from metaplast.nn import BinaryConv2d, BinaryLinear, FixedScale, bcnn, bnn, hidden_weights, mlp


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
@pytest.mark.parametrize("make", [bnn, mlp, bcnn])
def test_every_network_answers_with_one_logit_a_class_under_every_norm(make, shape, norm) -> None:  # type: ignore[no-untyped-def]
    network = make(shape, 7, n_tasks=2, norm=norm)
    logits = network(torch.rand(3, *shape))
    assert logits.shape == (3, 7)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_papers_network_has_its_widths() -> None:
    network = bnn((1, 28, 28), 10, hidden=[4096, 4096])
    assert [tuple(w.shape) for w in hidden_weights(network).values()] == [(4096, 784), (4096, 4096), (10, 4096)]


def test_the_twin_has_no_binary_layer_and_the_same_shapes() -> None:
    binary, real = bnn((1, 8, 8), 10, hidden=[6, 5]), mlp((1, 8, 8), 10, hidden=[6, 5])
    assert not hidden_weights(real)
    assert [p.shape for p in binary.parameters()] == [p.shape for p in real.parameters()]


def test_the_convolutional_network_ends_in_120_features_for_mnist() -> None:
    layers = [m for m in bcnn((1, 28, 28), 10).modules() if isinstance(m, BinaryConv2d | BinaryLinear)]
    assert [tuple(layer.weight.shape) for layer in layers] == [(12, 1, 4, 4), (20, 12, 4, 4), (30, 20, 4, 4), (10, 120)]


def test_without_normalization_a_layer_is_scaled_by_its_fan_in() -> None:
    scales = [m.fan_in for m in bnn((1, 4, 4), 3, hidden=[6], norm="none").modules() if isinstance(m, FixedScale)]
    assert scales == [16, 6]


def test_images_too_small_for_the_convolutions_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"model.channels=\[12, 20, 30\]: images of 8x8 pixels are used up at convolution 3"
    ):
        bcnn((1, 8, 8), 10)


def test_an_unknown_norm_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"model\.norm=group is not known; choose from batch, layer, none"):
        bnn((1, 8, 8), 10, norm="group")
