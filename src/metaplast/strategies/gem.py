"""Gradient Episodic Memory: the gradient nearest to the batch's that raises the loss on no earlier task's memory."""

from typing import Any

from avalanche.training.plugins import GEMPlugin

from metaplast.strategies.arguments import check_count, check_not_negative
from metaplast.strategies.fixed_statistics import statistics_kept


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
        check_count("patterns_per_experience", patterns_per_experience)
        check_not_negative("memory_strength", memory_strength)
        super().__init__(patterns_per_experience, memory_strength)

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Take every r_t; averages kept while training do not follow old images."""
        with statistics_kept(strategy.model):
            super().before_training_iteration(strategy, **kwargs)

    def state_dict(self) -> dict[str, Any]:
        """Images, labels and task labels of the memories, by experience."""
        return {"x": dict(self.memory_x), "y": dict(self.memory_y), "task_labels": dict(self.memory_tid)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict`."""
        self.memory_x, self.memory_y, self.memory_tid = dict(state["x"]), dict(state["y"]), dict(state["task_labels"])
