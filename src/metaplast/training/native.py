"""Training steps of a binary network on a CPU, as many as wanted in one call of a compiled kernel, `native.cpp`.

The kernel covers what :func:`metaplast.nn.bnn` builds, trained by an optimizer of :mod:`metaplast.optim`:
:func:`native_steps` says what else a network has, and is then left to torch. Torch's own step is also the judge of the
kernel: from the same weights both give the same activations, and gradients that differ by rounding alone.

Weights, running averages and the state of the optimizer are the tensors of the network and the optimizer, changed in
place, so that either path may take the next step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor, nn

from metaplast.nn import (
    BatchNorm,
    BinaryLinear,
    FixedScale,
    GateActivation,
    LayerNorm,
    SignActivation,
    TaskCrossEntropy,
    sign,
)
from metaplast.nn._deterministic import HAS_ONEDNN
from metaplast.nn.models import LogitScale
from metaplast.optim import MetaplasticAdam, MetaplasticSGD
from metaplast.optim._base import MetaplasticOptimizer, is_metaplastic
from metaplast.private_api import has_hooks
from metaplast.training.native_build import load_kernel

NORMS: Sequence[type[nn.Module]] = (BatchNorm, LayerNorm, FixedScale)
ACTIVATIONS: Sequence[type[nn.Module]] = (SignActivation, GateActivation)
CONSOLIDATIONS = ("none", "tanh", "exponential")
"""In the order of the kernel's numbers for them."""
MOST_STEPS = 32
"""Of one call, unless the user asks for more: Lightning's share of a step is small by then."""
WEIGHTS_PER_CALL = 20_000_000
"""Weights that a call of several steps updates: about 50 ms, for which signals and progress wait."""
STEP_HOOKS = (
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)


@dataclass
class _Layer:
    linear: BinaryLinear
    norm: nn.Module
    activation: nn.Module | None


class NativeSteps:
    """Calls of the kernel for one network, loss and optimizer, made by :func:`native_steps`."""

    def __init__(
        self,
        layers: Sequence[_Layer],
        logit_scale: float,
        criterion: nn.CrossEntropyLoss,
        optimizer: MetaplasticOptimizer,
    ) -> None:
        self._layers, self._optimizer = layers, optimizer
        self._allowed = criterion.allowed if isinstance(criterion, TaskCrossEntropy) else torch.empty(0)
        norm, activation = layers[0].norm, layers[0].activation
        gate = activation if isinstance(activation, GateActivation) else GateActivation()
        momentum = norm.momentum if isinstance(norm, BatchNorm) else 0.0
        self._kinds = [NORMS.index(type(norm)), 0 if activation is None else ACTIVATIONS.index(type(activation))]
        numbers = [getattr(norm, "eps", 0.0), momentum, gate.threshold, *gate.window, logit_scale]
        self._numbers = [float(number) for number in numbers]
        self._signs: list[tuple[Tensor, Tensor]] = []
        self._versions: list[tuple[int, int]] = []
        """Of which content of which weights the signs are."""

    def __call__(self, images: Tensor, labels: Tensor, order: Tensor, sizes: Sequence[int]) -> list[float]:
        """Take a step on each of the batches, and return their losses.

        Args:
            images: (N, P), uint8 from 0 to 255, which stand for [0, 1], or float32.
            labels: (N,), int64.
            order: indices (n,) of the images of all batches, int64.
            sizes: images of each batch; n in all.
        """
        weights = [layer.linear.weight for layer in self._layers]
        versions = [(weight.data_ptr(), weight._version) for weight in weights]
        if versions != self._versions:  # the kernel itself changes no version
            signs = [sign(weight) for weight in weights]
            self._signs = [(s, s.to(torch.int8) if i else torch.empty(0)) for i, s in enumerate(signs)]
            self._versions = versions
        tensors, table, states = self._arguments()
        losses: Tensor = torch.ops.metaplast_native.train_steps(
            images,
            labels,
            order,
            sizes,
            tensors,
            torch.tensor(table, dtype=torch.float64),
            self._allowed,
            isinstance(self._optimizer, MetaplasticAdam),
            self._kinds,
            self._numbers,
        )
        for state in states:
            if "step" in state:
                state["step"] += len(sizes)
        return losses.tolist()

    def _arguments(self) -> tuple[list[Tensor], list[list[float]], list[dict[str, Any]]]:
        """All tensors of every layer, the settings of every parameter, and the states of the optimizer."""
        groups = {id(p): group for group in self._optimizer.param_groups for p in group["params"]}
        empty = torch.empty(0)
        tensors, table, states = [], [], []
        for layer, signs in zip(self._layers, self._signs, strict=True):
            norm = layer.norm
            for parameter in (layer.linear.weight, getattr(norm, "weight", None), getattr(norm, "bias", None)):
                if parameter is None:
                    tensors += [empty] * 3
                    table.append([0.0] * 10)
                    continue
                state = self._state(parameter)
                states.append(state)
                kept = [state[name] for name in self._optimizer.STATE_TENSORS]
                tensors += [parameter.detach(), *kept, *[empty] * (2 - len(kept))]
                table.append(_settings(parameter, groups[id(parameter)], state))
            if isinstance(norm, BatchNorm) and norm.test_statistics == "running":
                tensors += [norm.mean, norm.var]
            else:
                tensors += [empty] * 2
            tensors += signs
        return tensors, table, states

    def _state(self, parameter: Tensor) -> dict[str, Any]:
        """The state of the optimizer for `parameter`, a new one before its first step."""
        state: dict[str, Any] = self._optimizer.state[parameter]
        if not state and isinstance(self._optimizer, MetaplasticAdam):
            state["step"] = 0
        for name in self._optimizer.STATE_TENSORS:
            state[name] = state[name].contiguous() if name in state else torch.zeros_like(parameter)
        return state


def _settings(parameter: Tensor, group: Mapping[str, Any], state: Mapping[str, Any]) -> list[float]:
    """The row of a parameter, in the order of the kernel's `Setting`."""
    beta1, beta2 = group["betas"] if "betas" in group else (group["momentum"], 0.0)
    m, decay = (group["m"], group["decoupled_weight_decay"]) if is_metaplastic(parameter) else (0.0, 0.0)
    numbers = [group["lr"], m, beta1, beta2, group.get("eps", 0.0), group["weight_decay"], decay]
    return [*numbers, group["relative_m"], CONSOLIDATIONS.index(group["consolidation"]), state.get("step", 0)]


def steps_per_call(network: nn.Module) -> int:
    """How many steps of `network` make a call long enough, yet short enough to wait for."""
    weights = sum(parameter.numel() for parameter in network.parameters())
    return max(1, min(MOST_STEPS, WEIGHTS_PER_CALL // weights))


def needs_single_steps(trainer: Any) -> str | None:
    """What of a trainer has to see or change single steps; None where nothing does."""
    if trainer.precision != "32-true" or trainer.gradient_clip_val or trainer.lr_scheduler_configs:
        return "the trainer changes gradients, precision or learning rate"
    whole_epochs = trainer.limit_train_batches == trainer.val_check_interval == 1.0 and trainer.max_steps == -1
    if trainer.accumulate_grad_batches != 1 or not whole_epochs:
        return "the trainer counts batches"
    for callback in trainer.callbacks:
        sees_steps = any(is_overridden(hook, callback, pl.Callback) for hook in STEP_HOOKS)
        if sees_steps and not getattr(callback, "takes_several_steps", False):
            return f"{type(callback).__name__} takes part in each step"
    return None


def native_steps(
    network: nn.Module, criterion: nn.CrossEntropyLoss, optimizer: torch.optim.Optimizer
) -> NativeSteps | str:
    """The kernel for such a training or, where it covers none such, what is in its way.

    Raises:
        NoKernelError: it would cover the training, but there is none on this machine.
    """
    modules = [*network.children()] if type(network) is nn.Sequential else []
    last = modules[-1] if modules else None
    logit_scale = last.scale if isinstance(last, LogitScale) else 1.0
    layers = _layers(modules[:-1] if isinstance(last, LogitScale) else modules)
    if isinstance(layers, str):
        return layers
    reason = _not_covered(network, layers, criterion, optimizer)
    if reason is not None:
        return reason
    assert isinstance(optimizer, MetaplasticOptimizer), "checked"
    load_kernel()
    return NativeSteps(layers, logit_scale, criterion, optimizer)


def _layers(modules: list[nn.Module]) -> list[_Layer] | str:
    """The layers of a network as `bnn` builds it, or what else there is."""
    if not modules or type(modules.pop(0)) is not nn.Flatten:
        return "the network is no bnn"
    layers: list[_Layer] = []
    while modules:
        if len(modules) < 2 or type(modules[0]) is not BinaryLinear or type(modules[1]) not in NORMS:
            return "the network is no bnn"
        linear, norm, activation = modules[0], modules[1], modules[2] if len(modules) > 2 else None
        if activation is not None and type(activation) not in ACTIVATIONS:
            return f"the activation is {type(activation).__name__}"
        layers.append(_Layer(linear, norm, activation))
        modules = modules[3:]
    if not layers or layers[-1].activation is not None:
        return "the network is no bnn"
    kinds = {(type(layer.norm), getattr(layer.norm, "eps", None)) for layer in layers}
    activations = {repr(layer.activation) for layer in layers[:-1]}
    if len(kinds) > 1 or len(activations) > 1:
        return "its layers differ in kind"
    if any(isinstance(x.norm, FixedScale) and x.norm.fan_in != x.linear.in_features for x in layers):
        return "a FixedScale is not by its layer's inputs"
    return layers


def _not_covered(
    network: nn.Module, layers: Sequence[_Layer], criterion: nn.CrossEntropyLoss, optimizer: torch.optim.Optimizer
) -> str | None:
    if not HAS_ONEDNN:
        return "torch has no oneDNN here"
    if type(optimizer) not in (MetaplasticAdam, MetaplasticSGD):
        return f"the optimizer is {type(optimizer).__name__}"
    plain = criterion.weight is None and not criterion.label_smoothing and criterion.reduction == "mean"
    if type(criterion) not in (nn.CrossEntropyLoss, TaskCrossEntropy) or not plain or criterion.ignore_index >= 0:
        return "the loss is no plain cross entropy"
    if any(map(has_hooks, network.modules())):
        return "the network has hooks"
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for parameter in network.parameters():
        if parameter.device.type != "cpu" or parameter.dtype != torch.float32 or not parameter.is_contiguous():
            return "not all parameters are plain float32 of a CPU"
        if id(parameter) not in trained or not parameter.requires_grad:
            return "not all parameters are trained"
    return None
