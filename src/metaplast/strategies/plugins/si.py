"""Synaptic Intelligence: the importance of a weight is how much its path through a task lowered the task's loss."""

from typing import Any

import torch
from torch import Tensor, nn

from metaplast.config.targets import check_arguments
from metaplast.strategies.regularization import (
    ConsolidationPlugin,
    QuadraticPenalty,
    Weights,
    penalized_weights,
    snapshot,
)


class SI(ConsolidationPlugin):
    """Quadratic penalty on changes of the weights since the last task, weighted by their path integrals.

    With w̃ the weights at the end of the last task, and within a task g = ∂L/∂w of its loss without the penalty::

        L ← L + c Σ_i Ω_i (w_i − w̃_i)²
        every step    ω_i ← ω_i − g_i Δp_i                       Δp: what the optimizer has changed in this step
        task's end    Ω_i ← max(0, Ω_i + ω_i / (Δ_i² + ξ))       Δ: what the whole task has changed;  then ω ← 0

    The maximum and the gradient without the penalty are those of the authors' code. In a binary layer the penalized w
    is W^b, or W^h with weights="hidden"; p, along which the path runs, is W^h, as in the reference. With path="binary"
    it is W^b, so Δp is ±2 at a flip and 0 elsewhere: a weight that never flips is never important, and accuracy is much
    lower (5 tasks of permuted digits, 256-256, one seed: 0.39 at the best of four c, against 0.85).

    Differences to Avalanche's `SynapticIntelligencePlugin`: on a CPU its copies of old and new weights are views of the
    parameters, so every Δp, and with it every importance, is 0. On a GPU it moves all weights and gradients to the CPU
    in every step; this one stays on the device. Its penalty has a ½ and its importances are clipped at 0.001.
    The SI of the reference multiplies a gradient by the change of the previous step instead.

    Args:
        si_lambda: c ≥ 0; Zenke et al. use 0.1 for permuted MNIST.
        xi: ξ > 0, keeps the quotient finite where a weight has hardly moved; Zenke et al. and the reference use 0.1.
        weights: "binary" or "hidden", the weights that are penalized.
        path: "hidden" or "binary", the weights whose path is integrated.
        norm_parameters: penalize γ and β of normalizations too; the reference does not.

    Raises:
        UserError: a setting out of its range.

    Source: Zenke, Poole & Ganguli 2017 (arXiv 1703.04200), equations 3 to 5, and the authors' code.
    """

    def __init__(
        self,
        si_lambda: float,
        xi: float = 0.1,
        weights: Weights = "binary",
        path: Weights = "hidden",
        norm_parameters: bool = False,
    ) -> None:
        settings = {"si_lambda": si_lambda, "xi": xi, "weights": weights, "path": path}
        check_arguments("metaplast.strategies.plugins.si.SI", **settings, norm_parameters=norm_parameters)
        super().__init__(si_lambda, weights, norm_parameters)
        self.xi, self.path = xi, path
        self.integral: dict[str, Tensor] = {}
        """ω of the current task."""
        self.start: dict[str, Tensor] = {}
        """p at the start of the current task."""
        self._step: dict[str, tuple[Tensor, Tensor]] = {}  # p and g before the optimizer moves the weights

    def _path_weights(self, network: nn.Module) -> dict[str, Tensor]:
        return penalized_weights(network, self.path, self.norm_parameters)

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Start a path."""
        super().before_training_exp(strategy, **kwargs)
        self.start = snapshot(self._path_weights(strategy.model))
        self.integral = {name: torch.zeros_like(weight) for name, weight in self.start.items()}

    @torch.no_grad()
    def before_update(self, strategy: Any, **kwargs: Any) -> None:
        """Store the current weights and the gradient of the task's own loss."""
        acted = self.penalized_weights(strategy.model)
        parameters = dict(strategy.model.named_parameters())
        self._step = {}
        for name, weight in snapshot(self._path_weights(strategy.model)).items():
            gradient = parameters[name].grad
            if gradient is not None:
                self._step[name] = weight, self.penalty.removed_from(gradient, name, acted[name], self.strength)

    @torch.no_grad()
    def after_update(self, strategy: Any, **kwargs: Any) -> None:
        """Add the step to the path integrals."""
        weights = self._path_weights(strategy.model)
        for name, (before, gradient) in self._step.items():
            gradient.nan_to_num_(0.0, 0.0, 0.0)  # loss scaling skips steps whose gradient is infinite; those count 0
            self.integral[name].addcmul_(gradient, weights[name] - before, value=-1)
        self._step = {}

    @torch.no_grad()
    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Turn the path integrals into importances."""
        weights = self._path_weights(strategy.model)
        importance = dict(self.penalty.importance)
        for name, integral in self.integral.items():
            added = integral / ((weights[name] - self.start[name]).square() + self.xi)
            importance[name] = (importance.get(name, 0) + added).clamp_(min=0)
        self.penalty = QuadraticPenalty(importance, snapshot(self.penalized_weights(strategy.model)))
        self.integral, self.start = {}, {}

    def state_dict(self) -> dict[str, Any]:
        """The penalty, and the path of a task that has not ended."""
        return {**super().state_dict(), "integral": dict(self.integral), "start": dict(self.start)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        super().load_state_dict(state)
        self.integral = {name: tensor.clone() for name, tensor in state["integral"].items()}  # it is added to in place
        self.start = dict(state["start"])
