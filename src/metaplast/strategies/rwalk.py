"""Riemannian Walk: importance is the Fisher information of a weight plus how much its way has lowered the loss."""

from typing import Any

import torch
from avalanche.training.plugins import RWalkPlugin
from avalanche.training.utils import copy_params_dict
from torch import Tensor

from metaplast.strategies.parameter_data import parameter_data, tensors

KEPT = (
    "checkpoint_params",
    "checkpoint_loss",
    "checkpoint_scores",
    "iter_importance",
    "exp_params",
    "exp_scores",
    "exp_penalties",
)
"""Attributes of Avalanche's plugin that outlive an iteration, each with a tensor for every parameter."""


class RWalk(RWalkPlugin):  # type: ignore[misc]
    """`RWalkPlugin` of Avalanche with a state that a checkpoint can hold, and with its networks left in training mode.

    Avalanche's puts the network into evaluation mode to take its gradient and never back, so that from the first step
    of a task on everything is trained in evaluation mode: batch normalization by the statistics it has, no dropout.
    Here the gradient is taken in the mode that the network is trained in. Without such layers, and with at least
    `delta_t` iterations a task, the two train the same.

    Args:
        ewc_lambda: weight of the penalty, ≥ 0.
        ewc_alpha: share of the newest batch in the moving Fisher information, in [0, 1].
        delta_t: iterations between two updates of the scores, ≥ 1.

    Source: Chaudhry et al. 2018 (arXiv 1801.10112).
    """

    def __init__(self, ewc_lambda: float = 0.1, ewc_alpha: float = 0.9, delta_t: int = 10) -> None:
        super().__init__(ewc_lambda, ewc_alpha, delta_t)

    def _update_grad(self, strategy: Any) -> None:
        strategy.optimizer.zero_grad()
        strategy._criterion(strategy.model(strategy.mb_x), strategy.mb_y).backward()
        self.iter_grad = copy_params_dict(strategy.model, copy_grad=True)

    @torch.no_grad()
    def after_training_exp(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Turn scores into penalties; a task shorter than `delta_t` has one score, that of its whole way.

        Avalanche's divides by the largest score even where none is above 0, and the penalty is NaN from then on.
        """
        if not any(score.data.any() for score in self.checkpoint_scores.values()):
            self._update_score(strategy)
        super().after_training_exp(strategy, *args, **kwargs)
        importances = {name: item.data for name, item in self.exp_importance.items()}
        scores = {name: item.data.clamp(min=0) for name, item in self.exp_scores.items() if name in importances}
        of_importance, of_score = _up_to_one(importances), _up_to_one(scores)
        for name, penalty in self.exp_penalties.items():
            penalty.data = of_importance[name] + of_score[name]

    def state_dict(self) -> dict[str, Any]:
        """Scores, importances and weights, by name of the attribute and of the parameter."""
        return {name: tensors(getattr(self, name)) for name in KEPT}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict`."""
        for name in KEPT:
            setattr(self, name, parameter_data(state[name]))


def _up_to_one(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """All of them divided by their largest element, if that is above 0."""
    largest = max(float(tensor.max()) for tensor in tensors.values())
    return {name: tensor / largest if largest > 0 else tensor for name, tensor in tensors.items()}
