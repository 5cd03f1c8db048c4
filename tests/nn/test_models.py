"""The networks have the shapes asked for, and refuse what cannot be built."""

from typing import Any

import pytest
import torch
from torch import nn

from metaplast.errors import UserError
from metaplast.nn import (
    BinaryConv2d,
    BinaryLinear,
    FixedScale,
    GateActivation,
    bcnn,
    bnn,
    hidden_weights,
    mlp,
    set_population_statistics,
    vgg,
)


@pytest.mark.parametrize(("make", "n_gates"), [(bnn, 2), (bcnn, 3), (vgg, 8)])
def test_every_gate_of_a_binary_network_has_the_threshold_and_the_window_asked_for(make, n_gates) -> None:  # type: ignore[no-untyped-def]
    network = make((1, 32, 32), 3, activation="gate", gate_threshold=0.8, gate_window=[0.2, 1.1])
    gates = [(m.threshold, m.window) for m in network.modules() if isinstance(m, GateActivation)]
    assert gates == n_gates * [(0.8, (0.2, 1.1))]


def test_a_gate_that_cannot_be_is_refused_by_the_name_of_its_setting() -> None:
    with pytest.raises(UserError, match=r"^model\.gate_threshold=-1: expected a finite number >= 0"):
        bnn((1, 4, 4), 3, activation="gate", gate_threshold=-1)
    with pytest.raises(UserError, match=r"^model\.gate_window=.*expected two finite numbers"):
        bnn((1, 4, 4), 3, activation="gate", gate_window=[1, 0.5])


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
@pytest.mark.parametrize("make", [bnn, mlp, bcnn])
def test_every_network_answers_with_one_logit_a_class_under_every_norm(make, shape, norm) -> None:  # type: ignore[no-untyped-def]
    network = make(shape, 7, n_tasks=2, norm=norm)
    logits = network(torch.rand(3, *shape))
    assert logits.shape == (3, 7)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("make", "shape"), [(bnn, (1, 28, 28)), (bcnn, (1, 28, 28)), (mlp, (1, 28, 28)), (vgg, (3, 16, 16))]
)
def test_logits_are_scaled_and_nothing_else_is(make, shape) -> None:  # type: ignore[no-untyped-def]
    logits = []
    for settings in ({}, {"logit_scale": 0.5}):
        torch.manual_seed(0)
        network = make(shape, 10, norm="layer", **settings).eval()
        logits.append(network(torch.rand(3, *shape, generator=torch.Generator().manual_seed(1))))
    assert torch.equal(logits[0] * 0.5, logits[1])


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


def test_a_full_precision_network_without_normalization_has_biases_instead() -> None:
    layers = list(mlp((1, 4, 4), 3, hidden=[6], norm="none"))
    assert [type(layer) for layer in layers] == [nn.Flatten, nn.Linear, nn.ReLU, nn.Linear]
    assert [tuple(p.shape) for p in mlp((1, 4, 4), 3, hidden=[6], norm="none").parameters()] == [
        (6, 16),
        (6,),
        (3, 6),
        (3,),
    ]


def test_images_too_small_for_the_convolutions_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"model.channels=\[12, 20, 30\]: images of 8x8 pixels are used up at convolution 3"
    ):
        bcnn((1, 8, 8), 10)


def test_an_unknown_norm_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"model\.norm=group: expected one of batch, layer, none"):
        bnn((1, 8, 8), 10, norm="group")


def small_vgg(shape: tuple[int, int, int] = (3, 16, 16), **settings: Any) -> torch.nn.Sequential:
    return vgg(shape, 7, **{"channels": [4, 4, 6, 6], "hidden": [9], "norm_per_task": False, **settings})


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
@pytest.mark.parametrize("channels", [[4], [4, 5], [4, 5, 6], [4, 5, 6, 7]])
def test_the_vgg_like_network_answers_with_one_logit_a_class(channels: list[int], norm: str) -> None:
    network = small_vgg(channels=channels, norm=norm)
    logits = network(torch.rand(3, 3, 16, 16))
    assert logits.shape == (3, 7)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_papers_vgg_like_network_has_its_shapes() -> None:
    network = vgg((3, 32, 32), 10)
    convolutions = [(128, 3), (128, 128), (256, 128), (256, 256), (512, 256), (512, 512)]
    shapes = [(o, i, 3, 3) for o, i in convolutions] + [(2048, 512 * 9), (2048, 2048), (10, 2048)]
    assert [tuple(w.shape) for w in hidden_weights(network).values()] == shapes
    kinds = [type(module).__name__ for module in network]
    first, second = (
        ["BinaryConv2d", "BatchNorm", "SignActivation"],
        ["BinaryConv2d", "MaxPool2d", "BatchNorm", "SignActivation"],
    )
    dense = ["BinaryLinear", "BatchNorm", "SignActivation", "Dropout"]
    assert kinds == [*(first + second) * 3, "Flatten", *dense * 2, "BinaryLinear", "BatchNorm"]


def test_the_hidden_weights_of_the_vgg_like_network_start_by_their_widths_or_uniform() -> None:
    torch.manual_seed(0)
    wide = hidden_weights(small_vgg(channels=[64, 64], hidden=[256]))
    for weight in wide.values():
        outputs, inputs = weight.shape[0] * weight[0, 0].numel(), weight[0].numel()
        assert weight.std().item() == pytest.approx((2 / (inputs + outputs)) ** 0.5, rel=0.1)
    for weight in hidden_weights(small_vgg(init_bound=0.01)).values():
        assert weight.abs().max() <= 0.01


def test_dropout_is_for_training_alone() -> None:
    network, x = small_vgg(), torch.rand(8, 3, 16, 16)
    assert not torch.equal(network(x), network(x))
    set_population_statistics(network, lambda: [x])
    network.eval()
    assert torch.equal(network(x), network(x))


def test_images_too_small_for_the_vgg_like_network_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"model.channels=\[4, 4, 6, 6\]: images of 4x4 pixels are used up at convolution 4"
    ):
        small_vgg((3, 4, 4))
