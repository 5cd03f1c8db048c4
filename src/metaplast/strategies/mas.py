"""Memory Aware Synapses: a weight matters as much as the length of the output depends on it."""

from typing import Any

from avalanche.training.plugins import MASPlugin

from metaplast.strategies.parameter_data import parameter_data, tensors


class MAS(MASPlugin):  # type: ignore[misc]
    """`MASPlugin` of Avalanche with a state that a checkpoint can hold; it trains the same as the original.

        L ← L + λ Σ_i Ω_i (w_i − w̃_i)²                       w̃: the weights at the end of the last task
        task's end    Ω ← α Ω + (1 − α) mean |∂ ‖z‖² / ∂w|    z: logits; over batches, and in them over samples in ‖z‖²

    Args:
        lambda_reg: λ ≥ 0.
        alpha: α in [0, 1], how much of the old importances is kept.

    Source: Aljundi et al. 2018 (arXiv 1711.09601), who sum importances and take the absolute value for each sample.
    """

    def __init__(self, lambda_reg: float = 1.0, alpha: float = 0.5) -> None:
        super().__init__(lambda_reg, alpha)

    def state_dict(self) -> dict[str, Any]:
        """Importances and weights of the last task, by parameter name; None before it."""
        return {"importance": tensors(self.importance), "params": tensors(self.params)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict`."""
        self.importance, self.params = parameter_data(state["importance"]), parameter_data(state["params"])
