"""Memories of earlier samples as tensors, and conversions between Avalanche's buffers and plain checkpoint values."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from avalanche.benchmarks.utils import (
    ConstantSequence,
    DataAttribute,
    TaskAwareSupervisedClassificationDataset,
    TaskLabels,
)
from avalanche.training.storage_policy import BalancedExemplarsBuffer, ReservoirSamplingBuffer
from avalanche.training.utils import ParamData
from torch import Tensor
from torch.utils.data import default_collate

from metaplast.private_api import reservoir_weights, set_reservoir_weights


class Memory:
    """Samples drawn in rounds, each in a new random order; an incomplete draw at the end of a round is skipped.

    It uses the random numbers of a `DataLoader` with shuffle and drop_last, but its position in a round can be saved.

    Args:
        columns: a tensor of length n ≥ 1 for every part of a sample: images, labels, task labels and what else it has.
        batch_size: samples a draw, at most n.

    >>> _ = torch.manual_seed(0)
    >>> memory = Memory([torch.arange(5)], batch_size=2)
    >>> sorted(torch.cat(memory.draw() + memory.draw()).unique().shape)
    [4]
    """

    def __init__(self, columns: Sequence[Tensor], batch_size: int) -> None:
        self.columns = list(columns)
        self.batch_size = min(batch_size, len(self.columns[0]))
        self.order = torch.empty(0, dtype=torch.int64)
        """The rest of the current round."""

    def draw(self) -> list[Tensor]:
        """`batch_size` samples, a tensor a column."""
        if len(self.order) < self.batch_size:
            self.order = _shuffled(len(self.columns[0]))
        indices, self.order = self.order[: self.batch_size], self.order[self.batch_size :]
        return [column[indices.to(column.device)] for column in self.columns]


def _shuffled(n: int) -> Tensor:
    """A random order of n, by the two draws of a `DataLoader`: a seed for its workers and one for its sampler."""
    _, seed = (int(torch.empty((), dtype=torch.int64).random_()) for _ in range(2))
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def columns_of(dataset: Any, device: torch.device | str = "cpu") -> list[Tensor]:
    """All samples of an Avalanche dataset, a tensor for every part of a sample."""
    columns: list[Tensor] = default_collate([dataset[i] for i in range(len(dataset))])
    return [column.to(device) for column in columns]


def buffer_state(policy: BalancedExemplarsBuffer) -> dict[Any, dict[str, Any]]:
    """Samples, random weights and size of every group of a buffer of reservoirs."""
    return {
        key: {
            "samples": columns_of(group.buffer) if len(group.buffer) else [],
            "weights": reservoir_weights(group),
            "max_size": group.max_size,
        }
        for key, group in policy.buffer_groups.items()
    }


def load_buffer_state(policy: BalancedExemplarsBuffer, state: dict[Any, dict[str, Any]]) -> None:
    """Restore what :func:`buffer_state` returned; the samples are tensors from then on."""
    policy.buffer_groups = {}
    for key, group_state in state.items():
        group = policy.buffer_groups[key] = ReservoirSamplingBuffer(group_state["max_size"])
        if group_state["samples"]:
            group.buffer = _dataset([column.cpu() for column in group_state["samples"]])
        set_reservoir_weights(group, group_state["weights"].cpu())


def memory_state(policy: BalancedExemplarsBuffer, memory: Memory | None) -> dict[str, Any]:
    """The buffer, and the rest of the current round of draws from it."""
    return {"buffer": buffer_state(policy), "order": None if memory is None else memory.order}


def load_memory_state(policy: BalancedExemplarsBuffer, memory: Memory | None, state: dict[str, Any]) -> None:
    """Restore what :func:`memory_state` returned."""
    load_buffer_state(policy, state["buffer"])
    if memory is not None and state["order"] is not None:
        memory.order = state["order"].cpu()


def _dataset(columns: list[Tensor]) -> Any:
    """An Avalanche dataset of images, labels, task labels and perhaps logits."""
    images, labels, task_labels, *logits = columns
    attributes = [DataAttribute(labels.tolist(), "targets"), TaskLabels(_sequence(task_labels))]
    attributes += [DataAttribute(list(values), "logits", use_in_getitem=True) for values in logits]
    samples = list(zip(images, labels.tolist(), strict=True))
    return TaskAwareSupervisedClassificationDataset([samples], data_attributes=attributes)


def _sequence(task_labels: Tensor) -> Any:
    """Task labels as Avalanche has them: it can join lists to lists, but a constant only to constants."""
    first = int(task_labels[0])
    return ConstantSequence(first, len(task_labels)) if (task_labels == first).all() else task_labels.tolist()


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
