"""Gradient Episodic Memory (GEM) and its averaged variant (A-GEM): gradients projected to protect earlier tasks."""

import random
from typing import Any

import torch
from avalanche.training.plugins import AGEMPlugin, GEMPlugin
from torch import Tensor

from metaplast.config.targets import check_arguments
from metaplast.strategies.buffers import Memory, columns_of
from metaplast.strategies.regularization import statistics_kept


class GEM(GEMPlugin):  # type: ignore[misc]
    """`GEMPlugin` of Avalanche with a state that a checkpoint can hold; it trains the same as the original.

        g ← argmin_v ½ ‖g − v‖²   with   vᵀ r_t ≥ 0 for every earlier task t       r_t: gradient on its whole memory

    by the dual program, whose variables are ≥ `memory_strength`. A step costs a forward and a backward pass a task.

    Args:
        patterns_per_experience: samples kept of each experience.
        memory_strength: γ ≥ 0; more pulls further towards the earlier tasks.

    Source: Lopez-Paz & Ranzato 2017 (arXiv 1706.08840), equations 10 to 12.
    """

    def __init__(self, patterns_per_experience: int, memory_strength: float) -> None:
        target = "metaplast.strategies.plugins.gem.GEM"
        check_arguments(target, patterns_per_experience=patterns_per_experience, memory_strength=memory_strength)
        super().__init__(patterns_per_experience, memory_strength)

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Compute every r_t, without updating running averages by old images."""
        with statistics_kept(strategy.model):
            super().before_training_iteration(strategy, **kwargs)

    def state_dict(self) -> dict[str, Any]:
        """Images, labels and task labels of the memories, by experience."""
        return {"x": dict(self.memory_x), "y": dict(self.memory_y), "task_labels": dict(self.memory_tid)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        self.memory_x, self.memory_y, self.memory_tid = dict(state["x"]), dict(state["y"]), dict(state["task_labels"])


class AGEM(AGEMPlugin):  # type: ignore[misc]
    """`AGEMPlugin` of Avalanche with its memory as tensors, so that a run can be resumed anywhere.

        g ← g − (gᵀr / rᵀr) r    where gᵀr < 0       r: gradient of the loss on samples of all earlier experiences

    Avalanche reads its memory sample by sample through an endless iterator, which cannot be saved in a checkpoint.

    Args:
        patterns_per_experience: samples kept of each experience.
        sample_size: samples that r is taken on, divided among the experiences.

    Source: Chaudhry et al. 2019 (arXiv 1812.00420), equation 11.
    """

    def __init__(self, patterns_per_experience: int, sample_size: int) -> None:
        target = "metaplast.strategies.plugins.gem.AGEM"
        check_arguments(target, patterns_per_experience=patterns_per_experience, sample_size=sample_size)
        super().__init__(patterns_per_experience, sample_size)
        self.buffers: list[Memory] = []

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Compute r, without updating running averages by old images."""
        with statistics_kept(strategy.model):
            super().before_training_iteration(strategy, **kwargs)

    def update_memory(self, dataset: Any, *args: Any, **kwargs: Any) -> None:
        """Keep a random choice of the samples of an experience."""
        indices = random.sample(range(len(dataset)), min(len(dataset), self.patterns_per_experience))
        self._remember([*(memory.columns for memory in self.buffers), columns_of(dataset.subset(indices))])

    def _remember(self, experiences: list[list[Tensor]]) -> None:
        batch_size = max(1, self.sample_size // max(1, len(experiences)))
        self.buffers = [Memory(columns, batch_size) for columns in experiences]

    def sample_from_memory(self) -> list[Tensor]:
        """Images, labels and task labels, as many from each experience."""
        return [torch.cat(parts) for parts in zip(*(memory.draw() for memory in self.buffers), strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """The samples of every experience, and the rest of the current round through each."""
        return {
            "experiences": [memory.columns for memory in self.buffers],
            "orders": [memory.order for memory in self.buffers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        self._remember([[column.cpu() for column in columns] for columns in state["experiences"]])
        for memory, order in zip(self.buffers, state["orders"], strict=True):
            memory.order = order.cpu()
