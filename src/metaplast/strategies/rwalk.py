"""Riemannian Walk: importance is the Fisher information of a weight plus how much its way has lowered the loss."""

from typing import Any

from avalanche.training.plugins import RWalkPlugin
from avalanche.training.utils import copy_params_dict

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
    Here the gradient is taken in the mode that the network is trained in. Without such layers the two train the same.

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

    def state_dict(self) -> dict[str, Any]:
        """Scores, importances and weights, by name of the attribute and of the parameter."""
        return {name: tensors(getattr(self, name)) for name in KEPT}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict`."""
        for name in KEPT:
            setattr(self, name, parameter_data(state[name]))
