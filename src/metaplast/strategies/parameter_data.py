"""Avalanche's `ParamData`, a tensor a parameter, as plain tensors and back, since a checkpoint holds no objects."""

from collections.abc import Mapping

from avalanche.training.utils import ParamData
from torch import Tensor


def tensors(data: Mapping[str, ParamData] | None) -> dict[str, Tensor] | None:
    """The tensors by parameter name; None stays None."""
    return None if data is None else {name: item.data for name, item in data.items()}


def parameter_data(state: Mapping[str, Tensor] | None) -> dict[str, ParamData] | None:
    """What :func:`tensors` was given, on the device of the tensors.

    >>> import torch
    >>> tensors(parameter_data({"weight": torch.ones(2)}))
    {'weight': tensor([1., 1.])}
    """
    if state is None:
        return None
    return {name: ParamData(name, init_tensor=tensor, device=tensor.device) for name, tensor in state.items()}
