"""Sums over samples of squared per-sample gradients, layer by layer, from its input and the gradient at its output.

Where x_n is the input of a layer and δ_n = ∂L_n/∂y_n the gradient of sample n at its output, its gradient at the
weights is δ_n x_nᵀ, summed over positions where several share the weights. A linear layer has one position, so that the
sum of squares is itself one product: Σ_n (δ_n x_nᵀ)² = (δ²)ᵀ(x²).

A layer of another type is supported by registering a function for it with `squared_gradients.register`.
"""

from collections.abc import Iterable, Sequence
from functools import reduce, singledispatch

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from metaplast.errors import UserError
from metaplast.nn import TaskNorm

AT_ONCE = 2**22
"""Numbers that a chunk of per-sample gradients, or of unfolded images, may hold."""


@singledispatch
def squared_gradients(layer: nn.Module, x: Tensor, deltas: Sequence[Tensor]) -> dict[str, Tensor]:
    """Σ_δ Σ_n (gradient of sample n)² of each parameter of `layer`, by the parameter's name in the layer.

    `x` is the input of the layer, (N, …); each of `deltas` is one gradient at its output, with sample n in row n alone.
    Gradients are those of the weights that act in the loss: W^b in a binary layer. Nothing here needs a graph.

    >>> layer = nn.Linear(2, 1)
    >>> squared_gradients(layer, torch.tensor([[1.0, 2.0], [0.0, 3.0]]), [torch.tensor([[1.0], [2.0]])])
    {'weight': tensor([[ 1., 40.]]), 'bias': tensor([5.])}
    """
    raise NotImplementedError(type(layer).__name__)


def check_known(layer: nn.Module) -> None:
    """Raise UserError for a layer that :func:`squared_gradients` cannot do."""
    other_padding = isinstance(layer, nn.Conv2d) and (layer.padding_mode != "zeros" or isinstance(layer.padding, str))
    if other_padding or squared_gradients.dispatch(type(layer)) is squared_gradients.dispatch(object):
        raise UserError(
            f"fisher=exact: layers of type {type(layer).__name__} are not known, only linear ones, 2-d convolutions "
            "padded by a number of zeros and normalizations by channel; fisher=batch takes any"
        )


@squared_gradients.register
def _linear(layer: nn.Linear, x: Tensor, deltas: Sequence[Tensor]) -> dict[str, Tensor]:
    if x.dim() == 2:
        squares = _total(delta.square() for delta in deltas)
        return {"weight": squares.T @ x.square(), "bias": squares.sum(0)}
    inputs, *outputs = (t.flatten(1, -2).mT for t in (x, *deltas))  # (N, features, positions)
    products = _total(_squared_products(delta.unsqueeze(1), inputs.unsqueeze(1)) for delta in outputs)
    return {"weight": products[0], "bias": _squared_sums(outputs)}


@squared_gradients.register
def _convolution(layer: nn.Conv2d, x: Tensor, deltas: Sequence[Tensor]) -> dict[str, Tensor]:
    assert not isinstance(layer.padding, str)  # by check_known
    total = torch.zeros_like(layer.weight)
    positions = deltas[0].shape[2:].numel()
    rows = _rows(positions * x.shape[1] * layer.weight.shape[2:].numel())
    for i in range(0, len(x), rows):
        patches = F.unfold(x[i : i + rows], layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        inputs, *outputs = (
            t.reshape(len(patches), layer.groups, -1, positions) for t in (patches, *(d[i : i + rows] for d in deltas))
        )
        total += _total(_squared_products(delta, inputs) for delta in outputs).view_as(total)
    return {"weight": total, "bias": _squared_sums(deltas)}


@squared_gradients.register(TaskNorm)
@squared_gradients.register(nn.BatchNorm1d)
@squared_gradients.register(nn.BatchNorm2d)
@squared_gradients.register(nn.GroupNorm)
def _normalization(layer: nn.Module, x: Tensor, deltas: Sequence[Tensor]) -> dict[str, Tensor]:
    plain = {name: torch.full_like(p, name == "weight") for name, p in layer.named_parameters(recurse=False)}
    normalized = functional_call(layer, plain, (x,))  # γ = 1 and β = 0
    return {"weight": _squared_sums([delta * normalized for delta in deltas]), "bias": _squared_sums(deltas)}


def _squared_products(delta: Tensor, x: Tensor) -> Tensor:
    """Σ_n (δ_n x_nᵀ)², of shape (groups, out, in), of (N, groups, out, positions) and (N, groups, in, positions)."""
    total = delta.new_zeros(*delta.shape[1:3], x.shape[2])
    rows = _rows(total.numel())
    for delta_n, x_n in zip(delta.split(rows), x.split(rows), strict=True):  # type: ignore[no-untyped-call]
        total += (delta_n @ x_n.mT).square_().sum(0)
    return total


def _squared_sums(gradients: Iterable[Tensor]) -> Tensor:
    """Σ_g Σ_n (Σ_positions g_n)², of shape (features,), of gradients (N, features, *)."""
    return _total((g.flatten(2).sum(2) if g.dim() > 2 else g).square().sum(0) for g in gradients)


def _total(tensors: Iterable[Tensor]) -> Tensor:
    return reduce(torch.add, tensors)


def _rows(size: int) -> int:
    """Samples in a chunk, each of `size` numbers."""
    return max(1, AT_ONCE // size)
