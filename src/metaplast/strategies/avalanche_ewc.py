"""Avalanche's own EWC, with a state that a checkpoint can hold."""

from collections import defaultdict
from typing import Any

from avalanche.training.plugins import EWCPlugin
from avalanche.training.utils import ParamData
from torch import Tensor


class AvalancheEWC(EWCPlugin):  # type: ignore[misc]
    """`EWCPlugin` as Avalanche has it, for comparison with :class:`metaplast.strategies.ewc.EWC`; it trains the same.

    L ← L + λ Σ_t Σ_i F_ti (w_i − w_ti)², where F is the square of the gradient of a batch's mean loss, averaged over
    batches; w are all parameters, hidden weights and γ and β among them. All it adds is the way into a checkpoint and
    out of it, since the original keeps its tensors in objects that only a pickle can hold. Its arguments are unchanged.
    """

    def state_dict(self) -> dict[str, Any]:
        """Importances and weights by experience and parameter name."""
        return {"importances": _tensors(self.importances), "saved_params": _tensors(self.saved_params)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict`."""
        self.importances = _objects(state["importances"])
        self.saved_params = _objects(state["saved_params"])


def _tensors(data: dict[int, dict[str, ParamData]]) -> dict[int, dict[str, Tensor]]:
    return {task: {name: item.data for name, item in of_task.items()} for task, of_task in data.items()}


def _objects(tensors: dict[int, dict[str, Tensor]]) -> defaultdict[int, dict[str, ParamData]]:
    return defaultdict(
        dict,
        {
            task: {name: ParamData(name, init_tensor=tensor, device=tensor.device) for name, tensor in of_task.items()}
            for task, of_task in tensors.items()
        },
    )
