"""Memory Aware Synapses: the importance of a weight is how strongly the length of the output depends on it."""

from collections.abc import Iterator
from typing import Any

import torch
from avalanche.training.plugins import MASPlugin
from avalanche.training.utils import ParamData
from torch import Tensor

from metaplast.config.targets import check_arguments
from metaplast.data import batch_slices
from metaplast.errors import UserError
from metaplast.nn import LayerNorm
from metaplast.scenarios import task_tensors
from metaplast.strategies.buffers import parameter_data, tensors
from metaplast.strategies.regularization import (
    check_norm_parameters,
    frozen_batchnorm,
    normalizations,
    penalized_weights,
)


class MAS(MASPlugin):  # type: ignore[misc]
    """`MASPlugin` of Avalanche, corrected for networks that are normalized, with a state that a checkpoint can hold.

        L ← L + λ Σ_i Ω_i (w_i − w̃_i)²                       w̃: the weights at the end of the last task
        task's end    Ω ← α Ω + (1 − α) mean |∂ ‖z‖² / ∂w|    z: logits; over batches, and in them over samples in ‖z‖²

    After the first task Ω is the mean itself; w are the hidden weights in binary layers.

    Avalanche's takes Ω in training mode. Where batch normalization is the last layer, the mean of ‖z‖² over a batch is
    then Σ_k γ_k² + β_k² whatever the weights are, so only that γ and β are penalized. Here each image is normalized by
    fixed statistics (:func:`metaplast.strategies.regularization.frozen_batchnorm`), and γ and β are not penalized
    unless `norm_parameters`. Avalanche's also skips a loss of exactly 0. Otherwise the two train the same.

    Args:
        lambda_reg: λ ≥ 0.
        alpha: α in [0, 1], how much of the old importances is kept.
        norm_parameters: penalize γ and β of normalizations too.

    Raises:
        UserError: here, for a setting out of its range; before training, if the length of the logits is constant, or
            with `norm_parameters` if each task keeps its own γ and β.

    Source: Aljundi et al. 2018 (arXiv 1711.09601), who sum importances and take the absolute value for each sample.
    """

    def __init__(self, lambda_reg: float = 1.0, alpha: float = 0.5, norm_parameters: bool = False) -> None:
        target = "metaplast.strategies.plugins.mas.MAS"
        check_arguments(target, lambda_reg=lambda_reg, alpha=alpha, norm_parameters=norm_parameters)
        super().__init__(lambda_reg, alpha)
        self.norm_parameters = norm_parameters

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Check the network before the first step."""
        check_norm_parameters(self.norm_parameters, strategy.model)
        norms = normalizations(strategy.model)
        if norms and isinstance(norms[-1], LayerNorm) and norms[-1].weight is None:
            raise UserError(
                "model.norm_affine=false: behind a layer norm without γ all answers have one length, from which MAS "
                "takes what matters; it has to be true here"
            )

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Add the penalty."""
        if self.importance is None or self.params is None:  # the first task
            return
        penalties = [
            (self.importance[name].data * (parameter - self.params[name].data).square()).sum()
            for name, parameter in strategy.model.named_parameters()
            if name in self.importance
        ]
        strategy.loss += self._lambda * sum(penalties)

    def _get_importance(self, strategy: Any) -> dict[str, ParamData]:
        """Mean over batches of |∂ ‖z‖² / ∂w|, in the order of the original."""
        model, task = strategy.model.eval(), task_tensors(strategy.experience)
        parameters = penalized_weights(model, "hidden", self.norm_parameters)
        total = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
        slices, like = batch_slices(len(task), strategy.train_mb_size), next(model.parameters())

        def batches() -> Iterator[Tensor]:
            return (task.batch(part)[0].to(like) for part in slices)

        with frozen_batchnorm(model, batches):
            for x in batches():
                strategy.optimizer.zero_grad()
                z = model(x)
                torch.norm(z, p="fro", dim=1).pow(2).mean().backward()  # literally the original's, to the same bits
                for name, parameter in parameters.items():
                    if parameter.grad is not None:
                        total[name] += parameter.grad.abs()
        model.train()
        return parameter_data({name: tensor / len(slices) for name, tensor in total.items()}) or {}

    def state_dict(self) -> dict[str, Any]:
        """Importances and weights of the last task, by parameter name; None before it."""
        return {"importance": tensors(self.importance), "params": tensors(self.params)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        self.importance, self.params = parameter_data(state["importance"]), parameter_data(state["params"])
