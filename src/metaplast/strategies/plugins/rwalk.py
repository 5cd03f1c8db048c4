"""Riemannian Walk: the importance of a weight is its Fisher information plus how much its path lowered the loss."""

from typing import Any

import torch
from avalanche.training.plugins import RWalkPlugin
from avalanche.training.utils import copy_params_dict
from torch import Tensor

from metaplast.config.targets import check_arguments
from metaplast.strategies.buffers import parameter_data, tensors
from metaplast.strategies.regularization import check_norm_parameters, penalized_weights, statistics_kept

KEPT = (
    "checkpoint_params",
    "checkpoint_loss",
    "checkpoint_scores",
    "iter_importance",
    "exp_params",
    "exp_scores",
    "exp_penalties",
)
"""Attributes of Avalanche's plugin that persist across iterations, each with a tensor per parameter."""


class RWalk(RWalkPlugin):  # type: ignore[misc]
    """`RWalkPlugin` of Avalanche, corrected in two ways, with a state that a checkpoint can hold.

    Avalanche's switches the network to evaluation mode to take its gradient and never back, so the whole task is
    trained in evaluation mode: with stored statistics in batch normalization, and without dropout. Here the gradient is
    taken in training mode, and this pass does not update running averages.

    Avalanche's scales penalties by the largest of all, which is one of the last γ, so weights are hardly penalized.
    Here γ and β are left out unless `norm_parameters`. In binary layers the hidden weights are penalized. Otherwise,
    and with at least `delta_t` iterations per task, the two train the same.

    Args:
        ewc_lambda: weight of the penalty, ≥ 0.
        ewc_alpha: share of the newest batch in the moving Fisher information, in [0, 1].
        delta_t: iterations between two updates of the scores, ≥ 1.
        norm_parameters: penalize γ and β of normalizations too.

    Raises:
        UserError: here, for a setting out of its range; before training, with `norm_parameters` if each task keeps
            its own γ and β.

    Source: Chaudhry et al. 2018 (arXiv 1801.10112).
    """

    def __init__(
        self, ewc_lambda: float = 0.1, ewc_alpha: float = 0.9, delta_t: int = 10, norm_parameters: bool = False
    ) -> None:
        settings = {"ewc_lambda": ewc_lambda, "ewc_alpha": ewc_alpha, "delta_t": delta_t}
        check_arguments("metaplast.strategies.plugins.rwalk.RWalk", **settings, norm_parameters=norm_parameters)
        super().__init__(ewc_lambda, ewc_alpha, delta_t)
        self.norm_parameters = norm_parameters

    def before_training_exp(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Check the network before the first step."""
        check_norm_parameters(self.norm_parameters, strategy.model)
        super().before_training_exp(strategy, *args, **kwargs)

    def _update_grad(self, strategy: Any) -> None:
        strategy.optimizer.zero_grad()
        with statistics_kept(strategy.model):
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
        penalized = penalized_weights(strategy.model, "hidden", self.norm_parameters)
        of_importance = _up_to_one({name: self.exp_importance[name].data for name in penalized})
        of_score = _up_to_one({name: self.exp_scores[name].data.clamp(min=0) for name in penalized})
        for name, penalty in self.exp_penalties.items():
            penalty.data = of_importance[name] + of_score[name] if name in penalized else torch.zeros_like(penalty.data)

    def state_dict(self) -> dict[str, Any]:
        """Scores, importances and weights, by name of the attribute and of the parameter."""
        return {name: tensors(getattr(self, name)) for name in KEPT}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        for name in KEPT:
            setattr(self, name, parameter_data(state[name]))


def _up_to_one(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """All of them divided by their largest element, if that is above 0."""
    largest = max(float(tensor.max()) for tensor in tensors.values())
    return {name: tensor / largest if largest > 0 else tensor for name, tensor in tensors.items()}
