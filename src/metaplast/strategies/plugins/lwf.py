"""Learning without Forgetting: the network before the task is the teacher of the network in it."""

from copy import deepcopy
from typing import Any

from avalanche.training.plugins import LwFPlugin
from torch import Tensor, nn

from metaplast.config.targets import check_arguments


class LwF(LwFPlugin):  # type: ignore[misc]
    """`LwFPlugin` of Avalanche with a state that a checkpoint can hold: the teacher as tensors, no pickled network.

        L ← L + α KL(softmax(z′/T) ‖ softmax(z/T))      z: logits, z′: those of the network as the last task left it

    over the classes seen before, averaged over the batch. It trains the same as the original, but for dropout, which
    Avalanche leaves on in the teacher, whose answers to one image then differ from step to step.

    Args:
        alpha: α ≥ 0, or a list with one for each experience.
        temperature: T > 0.

    Source: Li & Hoiem 2016 (arXiv 1606.09282).
    """

    def __init__(self, alpha: float | list[float] = 1.0, temperature: float = 2.0) -> None:
        check_arguments("metaplast.strategies.plugins.lwf.LwF", alpha=alpha, temperature=temperature)
        super().__init__(alpha, temperature)
        self._teacher: dict[str, Tensor] | None = None  # loaded, and waiting for a network to be put into

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Add the distillation loss."""
        if self._teacher is not None:
            self.lwf.prev_model = deepcopy(strategy.model)
            self.lwf.prev_model.load_state_dict(self._teacher)
            _without_dropout(self.lwf.prev_model)
            self._teacher = None
        super().before_backward(strategy, **kwargs)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Take the network as the teacher in the next task."""
        super().after_training_exp(strategy, **kwargs)
        _without_dropout(self.lwf.prev_model)

    def state_dict(self) -> dict[str, Any]:
        """The teacher, the classes it knows by task label, and the number of experiences."""
        return {
            "teacher": self._teacher if self.lwf.prev_model is None else self.lwf.prev_model.state_dict(),
            "classes": {task: sorted(classes) for task, classes in self.lwf.prev_classes_by_task.items()},
            "experiences": self.lwf.expcount,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        self.lwf.prev_model, self._teacher = None, state["teacher"]
        self.lwf.prev_classes_by_task.update({task: set(classes) for task, classes in state["classes"].items()})
        self.lwf.expcount = state["experiences"]


def _without_dropout(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()
