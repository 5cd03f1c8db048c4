"""Dark Experience Replay: stored samples are replayed together with the logits that the network gave for them."""

from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from avalanche.training.supervised.der import ClassBalancedBufferWithLogits
from torch import Tensor
from torch.nn import functional as F

from metaplast.config.targets import check_arguments
from metaplast.strategies.buffers import Memory, columns_of, load_memory_state, memory_state


class DER(SupervisedPlugin):  # type: ignore[misc]
    """Avalanche's strategy `DER` as a plugin, which has the same trajectory and can be resumed anywhere.

        L ← CE(z, y) + α MSE(z_m, z′_m) + β CE(z_m, y_m)       m: a batch from memory, z′: the logits stored with it

    It replaces the loss, so it goes first where there are several plugins. The memory is Avalanche's: a random sample
    with as many of each class; logits are those in evaluation mode at the end of the task, where the paper takes them
    while training.

    Args:
        mem_size: samples the memory holds.
        batch_size_mem: samples of the memory in a batch; None takes as many as come from the task. A memory that holds
            fewer is not used.
        alpha: α ≥ 0.
        beta: β ≥ 0; 0 is DER, more is DER++.

    Source: Buzzega et al. 2020 (arXiv 2004.07211).
    """

    def __init__(
        self, mem_size: int = 200, batch_size_mem: int | None = None, alpha: float = 0.1, beta: float = 0.5
    ) -> None:
        target = "metaplast.strategies.plugins.der.DER"
        check_arguments(target, mem_size=mem_size, batch_size_mem=batch_size_mem, alpha=alpha, beta=beta)
        super().__init__()
        self.batch_size_mem, self.alpha, self.beta = batch_size_mem, alpha, beta
        self.storage_policy = ClassBalancedBufferWithLogits(mem_size)
        self.memory: Memory | None = None
        """What the current experience rehearses; None where there is too little."""
        self._logits: Tensor | None = None  # of the samples from memory that the current batch begins with

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Load the samples of earlier experiences."""
        buffer = self.storage_policy.buffer
        batch_size = self.batch_size_mem or strategy.train_mb_size
        enough = len(buffer) >= batch_size
        self.memory = Memory(columns_of(buffer, strategy.device), batch_size) if enough else None

    def before_forward(self, strategy: Any, **kwargs: Any) -> None:
        """Put a batch from memory before the batch."""
        self._logits = None
        if self.memory is not None:
            *samples, self._logits = self.memory.draw()
            strategy.mbatch = [torch.cat(parts) for parts in zip(samples, strategy.mbatch, strict=True)]

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Replace the loss by that of the two parts."""
        if self._logits is None:
            return
        n, z, y = len(self._logits), strategy.mb_output, strategy.mb_y
        strategy.loss = (
            strategy._criterion(z[n:], y[n:])
            + self.alpha * F.mse_loss(z[:n], self._logits)
            + self.beta * strategy._criterion(z[:n], y[:n])
        )

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Take samples of the experience into the memory, with the logits that the network gives now."""
        self.storage_policy.update(strategy)

    def state_dict(self) -> dict[str, Any]:
        """The memory with its logits, and what is left of the current round through it."""
        return memory_state(self.storage_policy, self.memory)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        load_memory_state(self.storage_policy, self.memory, state)
        self.storage_policy.seen_classes = set(state["buffer"])
