"""Exact diagonal Fisher information from squared per-sample gradients.

With x_n the input of a layer and δ_n = ∂L_n/∂y_n the gradient of sample n at its output, the gradient of the weights
for sample n is δ_n x_nᵀ, summed over positions where several share the weights. A linear layer has a single position,
so the sum of squares is one matrix product: Σ_n (δ_n x_nᵀ)² = (δ²)ᵀ(x²).

To support another layer type, register a function for it with `squared_gradients.register`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce, singledispatch
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from metaplast.config.targets import check_arguments
from metaplast.errors import UserError
from metaplast.nn import BatchNorm, TaskNorm

AT_ONCE = 2**22
"""Numbers that a chunk of per-sample gradients, or of unfolded images, may hold."""


@singledispatch
def squared_gradients(layer: nn.Module, x: Tensor, deltas: Sequence[Tensor]) -> dict[str, Tensor]:
    """Σ_δ Σ_n (gradient of sample n)² of each parameter of `layer`, by the parameter's name in the layer.

    `x` is the input of the layer, (N, …); each of `deltas` is one gradient at its output, with sample n in row n alone.
    Gradients are those of the weights that act in the loss: W^b in a binary layer. Nothing here needs a graph.

    >>> layer = nn.Linear(2, 1)
    >>> squared_gradients(layer, torch.tensor([[1.0, 2.0], [0.0, 3.0]]), [torch.tensor([[1.0], [2.0]])])
    {'weight': tensor([[ 1., 40.]]), 'bias': tensor([5.])}
    """
    raise NotImplementedError(type(layer).__name__)


def check_known(layer: nn.Module) -> None:
    """Raise UserError for a layer that :func:`squared_gradients` cannot do."""
    other_padding = isinstance(layer, nn.Conv2d) and (layer.padding_mode != "zeros" or isinstance(layer.padding, str))
    if other_padding or squared_gradients.dispatch(type(layer)) is squared_gradients.dispatch(object):
        raise UserError(
            f"fisher=exact: layers of type {type(layer).__name__} are not known, only linear ones, 2-d convolutions "
            "padded by a number of zeros and normalizations by channel; fisher=batch takes any"
        )


@squared_gradients.register
def _linear(layer: nn.Linear, x: Tensor, deltas: Sequence[Tensor]) -> dict[str, Tensor]:
    if x.dim() == 2:
        squares = _total(delta.square() for delta in deltas)
        return {"weight": squares.T @ x.square(), "bias": squares.sum(0)}
    inputs, *outputs = (t.flatten(1, -2).mT for t in (x, *deltas))  # (N, features, positions)
    products = _total(_squared_products(delta.unsqueeze(1), inputs.unsqueeze(1)) for delta in outputs)
    return {"weight": products[0], "bias": _squared_sums(outputs)}


@squared_gradients.register
def _convolution(layer: nn.Conv2d, x: Tensor, deltas: Sequence[Tensor]) -> dict[str, Tensor]:
    assert not isinstance(layer.padding, str)  # by check_known
    total = torch.zeros_like(layer.weight)
    positions = deltas[0].shape[2:].numel()
    rows = _rows(positions * x.shape[1] * layer.weight.shape[2:].numel())
    for i in range(0, len(x), rows):
        patches = F.unfold(x[i : i + rows], layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        inputs, *outputs = (
            t.reshape(len(patches), layer.groups, -1, positions) for t in (patches, *(d[i : i + rows] for d in deltas))
        )
        total += _total(_squared_products(delta, inputs) for delta in outputs).view_as(total)
    return {"weight": total, "bias": _squared_sums(deltas)}


@squared_gradients.register(TaskNorm)
@squared_gradients.register(nn.BatchNorm1d)
@squared_gradients.register(nn.BatchNorm2d)
@squared_gradients.register(nn.GroupNorm)
def _normalization(layer: nn.Module, x: Tensor, deltas: Sequence[Tensor]) -> dict[str, Tensor]:
    plain = {name: torch.full_like(p, name == "weight") for name, p in layer.named_parameters(recurse=False)}
    normalized = functional_call(layer, plain, (x,))  # γ = 1 and β = 0
    return {"weight": _squared_sums([delta * normalized for delta in deltas]), "bias": _squared_sums(deltas)}


def _squared_products(delta: Tensor, x: Tensor) -> Tensor:
    """Σ_n (δ_n x_nᵀ)², of shape (groups, out, in), of (N, groups, out, positions) and (N, groups, in, positions)."""
    total = delta.new_zeros(*delta.shape[1:3], x.shape[2])
    rows = _rows(total.numel())
    for delta_n, x_n in zip(delta.split(rows), x.split(rows), strict=True):  # type: ignore[no-untyped-call]
        total += (delta_n @ x_n.mT).square_().sum(0)
    return total


def _squared_sums(gradients: Iterable[Tensor]) -> Tensor:
    """Σ_g Σ_n (Σ_positions g_n)², of shape (features,), of gradients (N, features, *)."""
    return _total((g.flatten(2).sum(2) if g.dim() > 2 else g).square().sum(0) for g in gradients)


def _total(tensors: Iterable[Tensor]) -> Tensor:
    return reduce(torch.add, tensors)


def _rows(size: int) -> int:
    """Samples in a chunk, each of `size` numbers."""
    return max(1, AT_ONCE // size)


Labels = Literal["empirical", "sampled", "all", "predicted"]

Batch = tuple[Tensor, Tensor]
"""Inputs (N, …) and labels (N,)."""

Mask = Callable[[Tensor, Tensor], Tensor]
"""Of logits (N, K) and labels (N,): the logits, -inf where a class may not be answered."""


@torch.enable_grad()
def diagonal_fisher(
    network: nn.Module,
    batches: Iterable[Batch],
    labels: Labels = "empirical",
    n_samples: int | None = None,
    generator: torch.Generator | None = None,
    mask: Mask | None = None,
) -> dict[str, Tensor]:
    r"""Exact diagonal Fisher information of each trainable parameter, by the parameter's name and of its shape.

    With p(y|x) the softmax of the logits that `network` answers in evaluation mode::

        F_i = 1/N Σ_n Σ_y q_n(y) (∂ log p(y|x_n) / ∂w_i)²

    where q_n is, by `labels`, "empirical": 1 at the label of the data (the empirical Fisher); "sampled": 1 at a class
    drawn from p(·|x_n), an unbiased estimate; "all": p(·|x_n), the expectation itself, for one backward pass a class;
    "predicted": 1 at the most probable class. In a binary layer w is W^b, and as the gradient passes straight through,
    the number for W^h is the same.

    Squares are taken sample by sample, not of a batch's mean gradient, in one product a layer
    (:mod:`metaplast.strategies.fisher`); the batches they come in make no difference. This takes
    samples that do not see each other: the statistics of batch normalization have to be fixed ones, running averages or
    those of :func:`metaplast.strategies.regularization.frozen_batchnorm`.

    Args:
        network: maps (N, …) to logits (N, K). Each layer with parameters is called once, in the live state of its
            normalization. Gradients and modes are left as they are.
        batches: inputs and labels; 500 a batch are fast.
        labels: see above.
        n_samples: take only the first so many samples, an integer ≥ 1; None takes all.
        generator: draws the classes of "sampled"; None is torch's own.
        mask: puts -inf in place of the logits of classes that may not be answered, which then have no probability.

    Raises:
        UserError: a setting out of its range, no sample, a layer that is of an unknown type or called twice, or samples
            that see each other.

    Source: Kirkpatrick et al. 2017 (arXiv 1612.00796); Kunstner et al. 2019 (arXiv 1905.12558) on the choice of labels.

    >>> network = nn.Linear(1, 2, bias=False)
    >>> _ = nn.init.zeros_(network.weight)            # p = (1/2, 1/2), ∂ log p / ∂w = ±x/2
    >>> diagonal_fisher(network, [(torch.tensor([[1.0], [2.0]]), torch.tensor([0, 1]))])
    {'weight': tensor([[0.6250],
            [0.6250]])}
    """
    check_settings(labels, n_samples)
    check_network(network)
    _check_live_and_independent(network)
    layers = _layers(network)
    totals = {name: torch.zeros_like(p) for name, p in network.named_parameters() if p.requires_grad}
    seen = 0
    with _evaluating(network):
        for x, y in batches:
            x, y = (x, y) if n_samples is None else (x[: n_samples - seen], y[: n_samples - seen])
            if not len(x):
                break
            seen += len(x)
            with _recording(layers) as calls:
                logits = network(x)
            answers = logits if mask is None else mask(logits, y)
            losses = _losses(F.log_softmax(answers, dim=1), y, labels, generator)
            _add_squares(totals, layers, calls, losses)
    if not seen:
        raise UserError("the Fisher information needs at least one sample, but there is none")
    return {name: total.div_(seen) for name, total in totals.items()}


def check_settings(labels: Labels, n_samples: int | None) -> None:
    """Raise UserError where one of the two is out of its range."""
    check_arguments("metaplast.strategies.plugins.ewc.ewc_plugin", labels=labels, n_samples=n_samples)


def check_network(network: nn.Module) -> None:
    """Raise UserError for a network with a layer whose gradients of single samples are not known, before any work."""
    owners: dict[int, str] = {}
    for name, module in _layers(network).items():
        check_known(module)
        if hasattr(module, "running_mean") and module.running_mean is None:
            raise UserError(f"fisher=exact: {name} keeps no running averages, so that samples see each other")
        for parameter in module.parameters(recurse=False):
            if owners.setdefault(id(parameter), name) != name:
                raise UserError(
                    f"fisher=exact: {owners[id(parameter)]} and {name} share a parameter; take fisher=batch"
                )


def _losses(log_p: Tensor, y: Tensor, labels: Labels, generator: torch.Generator | None) -> list[Tensor]:
    """Sums over samples whose squared gradients, added up, are Σ_n Σ_y q_n(y) (∂ log p(y|x_n))²."""
    if labels == "all":
        roots = (log_p / 2).exp().detach()  # squared, the weight of a class is its probability
        return list((roots * log_p.clamp(min=torch.finfo(log_p.dtype).min)).sum(0))  # 0 times -inf is no number
    if labels == "sampled":
        y = _draw(log_p.detach().exp(), generator)
    elif labels == "predicted":
        y = log_p.argmax(dim=1)
    return [F.nll_loss(log_p, y, reduction="sum")]


def _draw(p: Tensor, generator: torch.Generator | None) -> Tensor:
    """One class a row of p (N, K), by inverting the cumulative sum, the same whatever batch they are in."""
    u = torch.rand(len(p), 1, generator=generator, device=generator.device if generator is not None else None)
    return (p.cumsum(dim=1) <= u.to(p.device)).sum(dim=1).clamp_(max=p.shape[1] - 1)


def _add_squares(
    totals: dict[str, Tensor], layers: dict[str, nn.Module], calls: dict[str, Batch], losses: list[Tensor]
) -> None:
    """Add to `totals` what one batch has, from the inputs and outputs of the layers that were called."""
    outputs = [output for _, output in calls.values()]
    last = len(losses) - 1
    gradients = [
        torch.autograd.grad(loss, outputs, retain_graph=i < last, allow_unused=True, materialize_grads=True)
        for i, loss in enumerate(losses)
    ]
    with torch.no_grad():
        for (name, (x, _)), deltas in zip(calls.items(), zip(*gradients, strict=True), strict=True):
            for parameter, squares in squared_gradients(layers[name], x, deltas).items():
                full_name = f"{name}.{parameter}" if name else parameter
                if full_name in totals:
                    totals[full_name] += squares


def _layers(network: nn.Module) -> dict[str, nn.Module]:
    """Modules with trainable parameters of their own, by name."""
    return {
        name: module
        for name, module in network.named_modules()
        if any(parameter.requires_grad for parameter in module.parameters(recurse=False))
    }


def _check_live_and_independent(network: nn.Module) -> None:
    for name, module in network.named_modules():
        if isinstance(module, BatchNorm) and module.test_statistics == "batch":
            raise UserError(
                f"fisher=exact: {name} normalizes by the statistics of the test batch, so that samples see each other; "
                "model.test_statistics has to be population or running here"
            )
        if isinstance(module, TaskNorm) and module.selected is not None:
            raise ValueError(f"{name} is in the state of a stored task; select_task(network, None) gives the live one")


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode, and back to its own mode at the end."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def _recording(layers: dict[str, nn.Module]) -> Iterator[dict[str, Batch]]:
    """Input and output of each layer that is called, by the layer's name."""
    calls: dict[str, Batch] = {}

    def record(name: str) -> Callable[..., Tensor]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
            if name in calls:
                raise UserError(f"fisher=exact: layer {name} is called twice in a forward pass; take fisher=batch")
            calls[name] = inputs[0].detach(), output
            return output.clone()  # an activation that works in place would turn `output` into its own result

        return hook

    handles = [module.register_forward_hook(record(name)) for name, module in layers.items()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
