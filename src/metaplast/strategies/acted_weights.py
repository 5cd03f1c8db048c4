"""The weights that a penalty acts on: those that the loss sees, or the hidden ones behind them."""

from typing import Literal

from torch import Tensor, nn

from metaplast.nn import TaskNorm, binarize, hidden_weights

Weights = Literal["binary", "hidden"]

NORMALIZATIONS = (TaskNorm, nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
"""Layers whose γ and β are not counted among the weights, unless asked for."""


def acted_weights(network: nn.Module, weights: Weights = "binary", norm_parameters: bool = False) -> dict[str, Tensor]:
    """Trainable weights of `network` by parameter name, each with its graph to the parameter.

    With "binary" the weight of a binary layer is W^b = sign(W^h), whose gradient passes straight through to W^h; with
    "hidden" it is W^h. The weights of every other layer are themselves. γ and β of normalizations are left out, as the
    reference does, unless `norm_parameters`.

    >>> import torch
    >>> from metaplast.nn import BinaryLinear
    >>> network = nn.Sequential(BinaryLinear(2, 2), TaskNorm(2))
    >>> acted = acted_weights(network)
    >>> list(acted), acted["0.weight"].abs()
    (['0.weight'], tensor([[1., 1.],
            [1., 1.]], grad_fn=<AbsBackward0>))
    """
    binary = {id(hidden) for hidden in hidden_weights(network).values()} if weights == "binary" else set()
    left_out = set() if norm_parameters else _norm_parameters(network)
    return {
        name: binarize(parameter) if id(parameter) in binary else parameter
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and id(parameter) not in left_out
    }


def snapshot(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies of the weights as they are now, without a graph, on the same device."""
    return {name: weight.detach().clone() for name, weight in weights.items()}


def normalizations(network: nn.Module) -> list[nn.Module]:
    """All layers of `network` whose parameters are γ and β, in the order of registration."""
    return [module for module in network.modules() if isinstance(module, NORMALIZATIONS)]


def _norm_parameters(network: nn.Module) -> set[int]:
    return {id(parameter) for norm in normalizations(network) for parameter in norm.parameters(recurse=False)}
