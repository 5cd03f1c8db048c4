"""Memory Aware Synapses: a weight matters as much as the length of the output depends on it."""

from typing import Any

import torch
from avalanche.training.plugins import MASPlugin
from avalanche.training.utils import ParamData

from metaplast.data import batch_slices
from metaplast.scenarios import task_tensors
from metaplast.strategies.parameter_data import parameter_data, tensors


class MAS(MASPlugin):  # type: ignore[misc]
    """`MASPlugin` of Avalanche with a state that a checkpoint can hold; else it trains the same.

        L ← L + λ Σ_i Ω_i (w_i − w̃_i)²                       w̃: the weights at the end of the last task
        task's end    Ω ← α Ω + (1 − α) mean |∂ ‖z‖² / ∂w|    z: logits; over batches, and in them over samples in ‖z‖²

    After the first task Ω is the mean itself. The original stops at a loss of exactly 0, and shows the network a last
    image that is left over alone, which batch normalization cannot work on.

    Args:
        lambda_reg: λ ≥ 0.
        alpha: α in [0, 1], how much of the old importances is kept.

    Source: Aljundi et al. 2018 (arXiv 1711.09601), who sum importances and take the absolute value for each sample.
    """

    def __init__(self, lambda_reg: float = 1.0, alpha: float = 0.5) -> None:
        super().__init__(lambda_reg, alpha)

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Add the penalty."""
        if self.importance is None or self.params is None:  # the first task
            return
        pulls = [
            (self.importance[name].data * (parameter - self.params[name].data).square()).sum()
            for name, parameter in strategy.model.named_parameters()
            if name in self.importance
        ]
        strategy.loss += self._lambda * sum(pulls)

    def _get_importance(self, strategy: Any) -> dict[str, ParamData]:
        """Mean over batches of |∂ ‖z‖² / ∂w|, in the order and the mode of the original."""
        model, task = strategy.model.train(), task_tensors(strategy.experience)
        parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        total = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
        slices = batch_slices(len(task), strategy.train_mb_size)
        for part in slices:
            x, _ = task.batch(part)
            strategy.optimizer.zero_grad()
            z = model(x.to(next(iter(parameters.values()))))
            torch.norm(z, p="fro", dim=1).pow(2).mean().backward()  # literally the original's, to the same bits
            for name, parameter in parameters.items():
                if parameter.grad is not None:
                    total[name] += parameter.grad.abs()
        return parameter_data({name: tensor / len(slices) for name, tensor in total.items()}) or {}

    def state_dict(self) -> dict[str, Any]:
        """Importances and weights of the last task, by parameter name; None before it."""
        return {"importance": tensors(self.importance), "params": tensors(self.params)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict`."""
        self.importance, self.params = parameter_data(state["importance"]), parameter_data(state["params"])
