"""Experience replay: every batch is trained on together with a batch from a memory of earlier tasks."""

from typing import Any

import torch
from avalanche.training.plugins import ReplayPlugin

from metaplast.config.targets import check_arguments
from metaplast.strategies.buffers import Memory, columns_of, load_memory_state, memory_state


class Replay(ReplayPlugin):  # type: ignore[misc]
    """`ReplayPlugin` of Avalanche with its memory, but drawn from as tensors, so that a run can be resumed anywhere.

    Avalanche's loader reads every sample of the task and of the memory by itself and keeps its place in an iterator
    that no checkpoint can hold. Here batches of the task come as they always do, and each is extended by
    `batch_size_mem` samples of the memory. What the memory holds is Avalanche's: a random sample, as many from each
    experience.

    Args:
        mem_size: samples the memory holds, over all experiences.
        batch_size_mem: samples of the memory in a batch; None takes as many as come from the task.

    Source: Rolnick et al. 2019 (arXiv 1811.11682); Chaudhry et al. 2019 (arXiv 1902.10486).
    """

    def __init__(self, mem_size: int = 200, batch_size_mem: int | None = None) -> None:
        target = "metaplast.strategies.plugins.replay.Replay"
        check_arguments(target, mem_size=mem_size, batch_size_mem=batch_size_mem)
        super().__init__(mem_size, batch_size_mem=batch_size_mem)
        self.memory: Memory | None = None
        """What the current experience rehearses; None in the first."""

    def before_training_exp(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Load the samples of earlier experiences."""
        buffer = self.storage_policy.buffer
        batch_size = self.batch_size_mem or strategy.train_mb_size
        self.memory = Memory(columns_of(buffer, strategy.device), batch_size) if len(buffer) else None

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Extend the batch."""
        if self.memory is not None:
            strategy.mbatch = [torch.cat(parts) for parts in zip(strategy.mbatch, self.memory.draw(), strict=True)]

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Take samples of the experience into the memory."""
        self.storage_policy.post_adapt(strategy, strategy.experience)

    def state_dict(self) -> dict[str, Any]:
        """The memory, and what is left of the current round through it."""
        return memory_state(self.storage_policy, self.memory)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        load_memory_state(self.storage_policy, self.memory, state)
        self.storage_policy._num_exps = len(state["buffer"])
