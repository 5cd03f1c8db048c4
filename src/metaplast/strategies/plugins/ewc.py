"""Elastic Weight Consolidation with the exact Fisher information, on binary or hidden weights.

Beside it Avalanche's own EWC for comparison, with a state that a checkpoint can hold.
"""

import logging
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Literal

import torch
from avalanche.training.plugins import EWCPlugin
from torch import Tensor, nn

from metaplast.config.constraints import shown
from metaplast.config.targets import check_arguments
from metaplast.data import TaskTensors, seed_of
from metaplast.errors import UserError
from metaplast.nn import TaskCrossEntropy
from metaplast.scenarios import task_tensors
from metaplast.strategies.buffers import parameter_data, tensors
from metaplast.strategies.fisher import Batch, Labels, Mask, check_network, check_settings, diagonal_fisher
from metaplast.strategies.regularization import (
    ConsolidationPlugin,
    QuadraticPenalty,
    Weights,
    frozen_batchnorm,
    snapshot,
)


class AvalancheEWC(EWCPlugin):  # type: ignore[misc]
    """`EWCPlugin` as Avalanche has it, for comparison with :class:`EWC`; it trains the same.

    L ← L + λ Σ_t Σ_i F_ti (w_i − w_ti)², where F is the square of the gradient of a batch's mean loss, averaged over
    batches; w are all parameters, including hidden weights and γ and β. It adds only a state of plain tensors: the
    original keeps them in objects that need a pickle. Its arguments are unchanged.
    """

    def state_dict(self) -> dict[str, Any]:
        """Importances and weights by experience and parameter name."""
        return {
            name: {task: tensors(of_task) for task, of_task in getattr(self, name).items()}
            for name in ("importances", "saved_params")
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        for name, by_task in state.items():
            loaded = {task: parameter_data(of_task) for task, of_task in by_task.items()}
            setattr(self, name, defaultdict(dict, loaded))  # Avalanche adds experiences to it


Mode = Literal["separate", "online"]
Fisher = Literal["exact", "batch"]

BATCH = 500
"""Samples that the Fisher information is computed for at a time; it does not change the result."""
STATISTICS_SAMPLES = 500
"""Fewest images, if a task has so many, whose statistics normalize while the Fisher information is computed."""

log = logging.getLogger(__name__)


class EWC(ConsolidationPlugin):
    """Quadratic penalty on changes of the weights since earlier tasks, weighted by their Fisher information.

    After task t, with its weights w_t and the exact diagonal Fisher information F_t on its training data::

        separate   L ← L + λ/2 Σ_t Σ_i F_ti (w_i − w_ti)²   one term a task (Kirkpatrick et al. 2017)
        online     L ← L + λ/2 Σ_i F̃_i (w_i − w_ti)²        around the last weights, with F̃ ← γ F̃ + F_t (Schwarz et al.
                                                           2018, whose penalty has one more factor γ, here part of λ)

    Both are stored as a single quadratic form. w is W^b in a binary layer, as in the reference (λ = 5000, 5,000
    samples, the empirical Fisher), or W^h with weights="hidden"; the gradient passes straight through to W^h.

    Differences to Avalanche's `EWCPlugin`: that one squares the gradient of a batch's mean loss, which is not the
    Fisher information and depends on the batch size; it keeps two copies of all parameters per task; it does not know
    binary weights. Its penalty lacks the ½, so its λ is half of this one. :func:`ewc_plugin` still provides it.

    The Fisher information is that of the network in evaluation mode. Batch normalization uses running averages there,
    if it keeps them, or else the statistics of the samples that the Fisher information is taken over, or of 500 images
    of the task where that is more.

    Args:
        ewc_lambda: λ ≥ 0.
        weights: "binary" or "hidden".
        labels: which labels the Fisher information takes; see :func:`metaplast.strategies.fisher.diagonal_fisher`.
        n_samples: images of each task it is taken over, spread evenly over its data; None takes all.
        mode: "separate" or "online".
        gamma: γ in [0, 1], the factor that decays older importances at each new task; required for "online", else None.
        shuffled: permute the importances at random among the weights of each layer and keep only those: the control of
            Laborieux et al. 2021, Table 1 (whose code keeps the true ones as well).
        seed: of the permutations and of labels="sampled", together with the number of the task.
        norm_parameters: penalize γ and β of normalizations too; the reference does not.

    Raises:
        UserError: a setting out of its range, or a network whose Fisher information cannot be computed.

    Source: Kirkpatrick et al. 2017 (arXiv 1612.00796), equation 3; Schwarz et al. 2018 (arXiv 1805.06370); Huszár 2018
    (arXiv 1712.03847) on why tasks may share one quadratic form; Laborieux et al. 2021.
    """

    def __init__(
        self,
        ewc_lambda: float,
        weights: Weights = "binary",
        labels: Labels = "empirical",
        n_samples: int | None = None,
        mode: Mode = "separate",
        gamma: float | None = None,
        shuffled: bool = False,
        seed: int = 0,
        norm_parameters: bool = False,
    ) -> None:
        _check(ewc_lambda, mode, gamma)
        check_settings(labels, n_samples)
        super().__init__(ewc_lambda / 2, weights, norm_parameters)
        self.labels, self.n_samples, self.gamma = labels, n_samples, gamma
        self.shuffled, self.seed = shuffled, seed
        self.n_tasks = 0
        """Tasks consolidated so far."""

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Check the network before the first step."""
        super().before_training_exp(strategy, **kwargs)
        check_network(strategy.model)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Consolidate the experience that has just been trained."""
        generator = torch.Generator().manual_seed(seed_of(self.seed, self.n_tasks))
        weights = snapshot(self.penalized_weights(strategy.model))
        criterion = strategy._criterion
        mask = criterion.mask if isinstance(criterion, TaskCrossEntropy) else None
        fisher = self._fisher(strategy.model, task_tensors(strategy.experience), generator, mask)
        importance = {name: fisher[name] for name in weights}
        if self.shuffled:
            importance = {name: _permuted(tensor, generator) for name, tensor in importance.items()}
        self.penalty = self._with_task(importance, weights)
        self.n_tasks += 1

    def _fisher(
        self, network: nn.Module, task: TaskTensors, generator: torch.Generator, mask: Mask | None
    ) -> dict[str, Tensor]:
        parameter = next(network.parameters())
        n_samples = len(task) if self.n_samples is None else min(self.n_samples, len(task))
        # Of a few images some variances are 0, and the Fisher information beyond all measure.
        n_statistics = min(max(n_samples, STATISTICS_SAMPLES), len(task))

        def batches(n: int) -> Iterator[Batch]:
            indices = torch.arange(n, device=task.labels.device) * len(task) // n
            for part in indices.split(BATCH):  # type: ignore[no-untyped-call]
                x, y = task.batch(part)
                yield x.to(parameter), y.to(parameter.device)

        with frozen_batchnorm(network, lambda: (x for x, _ in batches(n_statistics))):
            return diagonal_fisher(network, batches(n_samples), self.labels, generator=generator, mask=mask)

    def _with_task(self, importance: dict[str, Tensor], weights: dict[str, Tensor]) -> QuadraticPenalty:
        """The penalty with one more task in it."""
        if self.gamma is None:
            return self.penalty + QuadraticPenalty(importance, weights)
        for name, older in self.penalty.importance.items():
            importance[name] = importance[name] + self.gamma * older
        return QuadraticPenalty(importance, weights)

    def state_dict(self) -> dict[str, Any]:
        """The penalty and the number of tasks in it."""
        return {**super().state_dict(), "n_tasks": self.n_tasks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        super().load_state_dict(state)
        self.n_tasks = int(state["n_tasks"])


def ewc_plugin(
    ewc_lambda: float,
    fisher: Fisher = "exact",
    weights: Weights = "binary",
    labels: Labels = "empirical",
    n_samples: int | None = None,
    mode: Mode = "separate",
    gamma: float | None = None,
    shuffled: bool = False,
    seed: int = 0,
    norm_parameters: bool = False,
) -> EWC | AvalancheEWC:
    """:class:`EWC` for fisher="exact"; for fisher="batch" Avalanche's own, :class:`AvalancheEWC`.

    Of the other settings Avalanche's takes `ewc_lambda`, without the ½, `mode` and `gamma` (its `decay_factor`).
    It acts on all parameters, hidden weights and γ and β among them. Raises UserError for a setting out of its range,
    and for shuffled importances asked of Avalanche's.
    """
    if fisher == "exact":
        return EWC(ewc_lambda, weights, labels, n_samples, mode, gamma, shuffled, seed, norm_parameters)
    check_arguments("metaplast.strategies.plugins.ewc.ewc_plugin", fisher=fisher)
    if shuffled:
        raise UserError("fisher=batch: Avalanche's own EWC cannot shuffle its importances; fisher has to be exact here")
    _check(ewc_lambda, mode, gamma)
    log.warning("fisher=batch is Avalanche's own EWC, on hidden weights: weights, labels and n_samples have no effect")
    return AvalancheEWC(ewc_lambda, mode=mode, decay_factor=gamma)


def _check(ewc_lambda: float, mode: Mode, gamma: float | None) -> None:
    check_arguments("metaplast.strategies.plugins.ewc.ewc_plugin", ewc_lambda=ewc_lambda, mode=mode, gamma=gamma)
    if (gamma is None) is (mode == "online"):
        expected = "a number from 0 to 1" if mode == "online" else "null"
        raise UserError(f"gamma={shown(gamma)}: expected {expected} with mode={mode}, got {shown(gamma)}")


def _permuted(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """The elements of `tensor` in a random order."""
    order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
    return tensor.flatten()[order].view_as(tensor)
