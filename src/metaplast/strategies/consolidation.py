"""What the consolidation plugins share: a quadratic penalty on the weights, added to the loss of every step."""

from typing import Any

from avalanche.training.plugins import SupervisedPlugin
from torch import Tensor, nn

from metaplast.errors import UserError
from metaplast.nn import task_norms
from metaplast.strategies.acted_weights import Weights, acted_weights
from metaplast.strategies.arguments import check_choice
from metaplast.strategies.quadratic_penalty import QuadraticPenalty


class ConsolidationPlugin(SupervisedPlugin):  # type: ignore[misc]
    """Adds strength · Σ_i A_i (w_i − w̄_i)² to the loss; a subclass sets `penalty` at the end of an experience.

    Nothing is kept in objects of Avalanche's or tied to its clock: `state_dict()`, tensors on the network's device and
    plain numbers, is all there is to save.

    Args:
        strength: factor of the penalty, ≥ 0.
        weights: "binary" penalizes W^b in binary layers, "hidden" W^h; elsewhere both mean the weight itself.
        norm_parameters: penalize γ and β of normalizations too.

    Raises:
        UserError: here, for a setting out of its range; before training, where γ and β are asked for although each task
            keeps its own, so that those of old tasks cannot change and the live ones belong to no old task.
    """

    def __init__(self, strength: float, weights: Weights, norm_parameters: bool) -> None:
        super().__init__()
        check_choice("weights", weights, Weights)
        self.strength, self.weights, self.norm_parameters = strength, weights, norm_parameters
        self.penalty = QuadraticPenalty()
        """Without its factor; 0 until the first experience has ended."""

    def acted_weights(self, network: nn.Module) -> dict[str, Tensor]:
        """The weights that the penalty sees, by parameter name."""
        return acted_weights(network, self.weights, self.norm_parameters)

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Refuse what cannot work before the first step."""
        check_norm_parameters(self.norm_parameters, strategy.model)

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Add the penalty to the loss."""
        if self.penalty.importance:
            strategy.loss = strategy.loss + self.strength * self.penalty(self.acted_weights(strategy.model))

    def state_dict(self) -> dict[str, Any]:
        """Everything that training has changed, as tensors and numbers."""
        return {"penalty": self.penalty.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict`."""
        self.penalty = QuadraticPenalty.from_state_dict(state["penalty"])


def check_norm_parameters(norm_parameters: bool, network: nn.Module) -> None:
    """Raise UserError where γ and β are to be held although each task keeps its own."""
    if norm_parameters and any(norm.n_states > 1 for norm in task_norms(network)):
        raise UserError(
            "norm_parameters=true: model.norm_per_task=true keeps γ and β of each task as they are; "
            "one of the two has to be false"
        )
