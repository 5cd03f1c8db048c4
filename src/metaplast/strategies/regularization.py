"""Shared parts of the regularization methods: which weights are penalized, the quadratic penalty, fixed statistics.

The sum of quadratic penalties over tasks is stored as a single quadratic form, with one importance and one center per
weight however many tasks have been added:

    Σ_t F_t (w − w_t)² = A (w − w̄)² + R    with A = Σ_t F_t,  w̄ = Σ_t F_t w_t / A,  R = Σ_t F_t (w_t − w̄)²

Two forms are merged like weighted means and variances (Chan et al. 1979), which avoids the cancellation that expanding
A w² − 2 B w + C would cause.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from avalanche.training.plugins import SupervisedPlugin
from torch import Tensor, nn

from metaplast.config.targets import check_arguments
from metaplast.errors import UserError
from metaplast.nn import BatchNorm, TaskNorm, binarize, hidden_weights, set_population_statistics, task_norms

Weights = Literal["binary", "hidden"]

NORMALIZATIONS = (
    TaskNorm,
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
    *(nn.LayerNorm, nn.GroupNorm),
)
"""Layers whose γ and β are not counted among the weights, unless asked for."""


def penalized_weights(
    network: nn.Module, weights: Weights = "binary", norm_parameters: bool = False
) -> dict[str, Tensor]:
    """Trainable weights of `network` by parameter name, each with its graph to the parameter.

    With "binary" the weight of a binary layer is W^b = sign(W^h), whose gradient passes straight through to W^h; with
    "hidden" it is W^h. The weights of every other layer are themselves. γ and β of normalizations are left out, as the
    reference does, unless `norm_parameters`.

    >>> import torch
    >>> from metaplast.nn import BinaryLinear
    >>> network = nn.Sequential(BinaryLinear(2, 2), TaskNorm(2))
    >>> acted = penalized_weights(network)
    >>> list(acted), acted["0.weight"].abs()
    (['0.weight'], tensor([[1., 1.],
            [1., 1.]], grad_fn=<AbsBackward0>))
    """
    binary = {id(hidden) for hidden in hidden_weights(network).values()} if weights == "binary" else set()
    left_out = set() if norm_parameters else _norm_parameters(network)
    return {
        name: binarize(parameter) if id(parameter) in binary else parameter
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and id(parameter) not in left_out
    }


def snapshot(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies of the weights as they are now, without a graph, on the same device."""
    return {name: weight.detach().clone() for name, weight in weights.items()}


def normalizations(network: nn.Module) -> list[nn.Module]:
    """All layers of `network` whose parameters are γ and β, in the order of registration."""
    return [module for module in network.modules() if isinstance(module, NORMALIZATIONS)]


def _norm_parameters(network: nn.Module) -> set[int]:
    return {id(parameter) for norm in normalizations(network) for parameter in norm.parameters(recurse=False)}


@dataclass(frozen=True)
class QuadraticPenalty:
    """Σ_i A_i (w_i − w̄_i)² + R over all weights, a function of weights by name; without arguments it is 0 everywhere.

    Calling it gives a scalar with a graph to the weights: 2 A (w − w̄) is the gradient. Weights that it has no
    importance for do not count. The sum of two penalties is the penalty `a + b`.

    >>> first = QuadraticPenalty({"w": torch.tensor([1.0])}, {"w": torch.tensor([0.0])})
    >>> second = QuadraticPenalty({"w": torch.tensor([3.0])}, {"w": torch.tensor([4.0])})
    >>> both = first + second
    >>> both.importance["w"], both.centre["w"], both.rest
    (tensor([4.]), tensor([3.]), 12.0)
    >>> w = {"w": torch.tensor([5.0])}
    >>> both(w), first(w) + second(w)
    (tensor(28.), tensor(28.))
    """

    importance: Mapping[str, Tensor] = field(default_factory=dict)
    """A ≥ 0, by name and of the shape of the weight."""
    centre: Mapping[str, Tensor] = field(default_factory=dict)
    """w̄, where the penalty is least; the same names and shapes."""
    rest: float = 0.0
    """R, the least value. It changes the loss, never a gradient."""

    def __call__(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Value at `weights`, a scalar tensor."""
        value: Tensor | float = self.rest
        for name, importance in self.importance.items():
            value = value + _QuadraticForm.apply(weights[name], importance, self.centre[name])
        return torch.as_tensor(value)

    def removed_from(self, gradient: Tensor, name: str, weight: Tensor, strength: float) -> Tensor:
        """`gradient` − strength · 2 A (w − w̄) for the weight of that name, as a new tensor."""
        if name not in self.importance:
            return gradient.clone()
        return torch.addcmul(gradient, self.importance[name], weight - self.centre[name], value=-2 * strength)

    def __add__(self, other: "QuadraticPenalty") -> "QuadraticPenalty":
        importance, centre = dict(self.importance), dict(self.centre)
        rest = self.rest + other.rest
        for name, added in other.importance.items():
            if name not in importance:
                importance[name], centre[name] = added, other.centre[name]
                continue
            total = importance[name] + added
            share = torch.where(total > 0, added / total, 0)  # importance 0: any center will do
            distance = other.centre[name] - centre[name]
            rest += (importance[name] * share * distance.square()).sum(dtype=torch.float64).item()
            importance[name], centre[name] = total, torch.addcmul(centre[name], share, distance)
        return QuadraticPenalty(importance, centre, rest)

    def state_dict(self) -> dict[str, Any]:
        """Its tensors and its number, for a checkpoint; :meth:`from_state_dict` is the way back."""
        return {"importance": dict(self.importance), "centre": dict(self.centre), "rest": self.rest}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> "QuadraticPenalty":
        """The penalty whose :meth:`state_dict` is `state`."""
        return cls(dict(state["importance"]), dict(state["centre"]), float(state["rest"]))


class _QuadraticForm(torch.autograd.Function):
    """Σ A (w − w̄)²; half of the gradient is a by-product of the value and kept, which saves passes over the weights."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, importance: Tensor, centre: Tensor) -> Tensor:
        distance = w - centre
        half = importance * distance
        ctx.save_for_backward(half)
        return torch.dot(half.flatten(), distance.flatten())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (half,) = ctx.saved_tensors
        return half * (2 * gradient), None, None


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
        check_arguments("metaplast.strategies.plugins.ewc.ewc_plugin", weights=weights)
        self.strength, self.weights, self.norm_parameters = strength, weights, norm_parameters
        self.penalty = QuadraticPenalty()
        """Without its factor; 0 until the first experience has ended."""

    def penalized_weights(self, network: nn.Module) -> dict[str, Tensor]:
        """The weights that the penalty sees, by parameter name."""
        return penalized_weights(network, self.weights, self.norm_parameters)

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Check the network before the first step."""
        check_norm_parameters(self.norm_parameters, strategy.model)

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Add the penalty to the loss."""
        if self.penalty.importance:
            strategy.loss = strategy.loss + self.strength * self.penalty(self.penalized_weights(strategy.model))

    def state_dict(self) -> dict[str, Any]:
        """Everything that training has changed, as tensors and numbers."""
        return {"penalty": self.penalty.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        self.penalty = QuadraticPenalty.from_state_dict(state["penalty"])


def check_norm_parameters(norm_parameters: bool, network: nn.Module) -> None:
    """Raise UserError where γ and β are to be held although each task keeps its own."""
    if norm_parameters and any(norm.n_states > 1 for norm in task_norms(network)):
        raise UserError(
            "norm_parameters=true: model.norm_per_task=true keeps γ and β of each task as they are; "
            "one of the two has to be false"
        )


@contextmanager
def frozen_batchnorm(network: nn.Module, batches: Callable[[], Iterable[Tensor]]) -> Iterator[None]:
    """In evaluation mode, let every :class:`BatchNorm` normalize by statistics that no test batch changes.

    Layers with running averages keep to them. All others ("population" and "batch") use mean and variance over the
    inputs that `batches()` gives. At the end the statistics and the setting of each layer are what they were.

    >>> network = nn.Sequential(nn.Linear(1, 1), BatchNorm(1, test_statistics="batch")).eval()
    >>> x = torch.tensor([[1.0], [2.0], [6.0]])
    >>> with frozen_batchnorm(network, lambda: [x]):
    ...     torch.allclose(network(x)[:2], network(x[:2]), atol=1e-6)
    True
    """
    layers = [m for m in network.modules() if isinstance(m, BatchNorm) and m.test_statistics != "running"]
    settings = [layer.test_statistics for layer in layers]
    with statistics_kept(network):
        try:
            for layer in layers:
                layer.test_statistics = "population"
            set_population_statistics(network, batches)
            yield
        finally:
            for layer, setting in zip(layers, settings, strict=True):
                layer.test_statistics = setting


@contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """At the end, put the statistics that normalizations keep back to what they were.

    A plugin's own pass in training mode, of a batch seen already or of images of earlier tasks, is none that a test
    should go by.

    >>> norm = BatchNorm(1, test_statistics="running").train()
    >>> with statistics_kept(norm):
    ...     _ = norm(torch.tensor([[1.0], [5.0]]))
    >>> norm.mean
    tensor([0.])
    """
    buffers = [buffer for layer in normalizations(network) for buffer in layer.buffers(recurse=False)]
    kept = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, kept, strict=True):
                buffer.copy_(value)
