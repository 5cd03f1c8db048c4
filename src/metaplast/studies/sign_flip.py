"""The cost of sign flips in a trained network: how much the loss increases, by size of the hidden weight.

The binary weights of one layer are binned by |W^h| / max|W^h|. A batch of weights is drawn from a bin, their signs are
flipped, and the increase of the loss per flipped weight is measured. A bin with fewer weights than a batch is measured
once, with all its weights flipped; it is drawn, but not ranked, as in the published code. Source: Laborieux et al. 2021
(arXiv 2101.07592), Fig. 5c–e.

**Computation.** Let X be the inputs of the layer, (N, in), and S = sign(W^h), (out, in). Flipping the weights of a set
B changes its product by

    (1)    ΔY[:, o] = −2 Σ_{(o, i) in B} S[o, i] · X[:, i]

so X and Y = X Sᵀ are computed once per layer, and a draw costs |B| columns and the later layers.

**Statistics.** In training, batch normalization uses the mean and variance of the current batch and weights. So does
`statistics="batch"`, with all data as one batch. With "fixed", the mean and variance are those of the unflipped
network: then a flip also costs the shift of its neuron's mean, which has no cost in training.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from metaplast.errors import UserError
from metaplast.nn import BatchNorm, BinaryLinear, hidden_weights, set_population_statistics, sign
from metaplast.report.figures.style import tidy
from metaplast.studies.quadratic_experiment import N_BINS, RANK_CORRELATION_NEEDED, rank_correlation

Array = NDArray[np.float64]
SwitchStatistics = Literal["batch", "fixed"]

DRAWS = 100
"""Batches drawn from a bin, as in the paper."""
SWITCHED = (1000, 2000, 100)
"""Weights flipped at once in the paper's three layers."""
CROSS_ENTROPY = nn.CrossEntropyLoss()


class Switchable:
    """One binary linear layer of a network on fixed data, and the loss after flipping some of its binary weights.

    Args:
        network: a sequence of layers, in evaluation mode, from :func:`prepare`.
        layer: the name of a :class:`BinaryLinear` in it.
        x: images (N, …).
        y: classes (N,).
        criterion: the loss, a function of logits (N, K) in float64 and classes.

    >>> from metaplast.nn import bnn
    >>> x, y = torch.rand(9, 1, 2, 2), torch.arange(9) % 3
    >>> network = prepare(bnn((1, 2, 2), 3, hidden=[4]), x, "batch")
    >>> layer = Switchable(network, "layer1", x, y)
    >>> nothing = torch.tensor([], dtype=torch.int64)
    >>> abs(layer.loss(nothing) - nn.CrossEntropyLoss()(network(x), y).item()) < 1e-6
    True
    """

    @torch.no_grad()
    def __init__(
        self, network: nn.Sequential, layer: str, x: Tensor, y: Tensor, criterion: nn.Module = CROSS_ENTROPY
    ) -> None:
        names = [name for name, _ in network.named_children()]
        place = names.index(layer)
        self.linear = cast(BinaryLinear, network[place])
        self._behind = network[place + 1 :]
        inputs: Tensor = network[:place](x)
        self._product: Tensor = self.linear(inputs)
        self._inputs = inputs.T.contiguous()
        self._signs = sign(self.linear.weight).flatten()
        self._classes, self._criterion = y, criterion

    @torch.no_grad()
    def loss(self, switched: Tensor) -> float:
        """The loss with the signs at `switched`, distinct indices int64 (k,) into the flattened weight, flipped."""
        width, weights = self.linear.in_features, self.linear.weight
        places = torch.stack([switched // width, switched % width])
        changes = -2 * self._signs[switched]
        # Four times as fast as summing rows of the inputs, twice as fast as a dense product.
        change = torch.sparse.mm(
            torch.sparse_coo_tensor(places, changes, weights.shape, check_invariants=True), self._inputs
        )
        logits = self._behind(self._product + change.T)
        return float(self._criterion(logits.double(), self._classes))


def prepare(network: nn.Module, x: Tensor, statistics: SwitchStatistics) -> nn.Sequential:
    """Put a trained network in evaluation mode with the given statistics, and return it.

    Raises UserError if it is not a sequence of layers, or if a binary layer is not linear.
    """
    convolutions = [n for n in hidden_weights(network) if not isinstance(network.get_submodule(n), BinaryLinear)]
    if not isinstance(network, nn.Sequential) or convolutions or not hidden_weights(network):
        raise UserError(
            "model: expected a sequence of layers whose binary ones are linear (model=bnn), got another network"
        )
    network.eval()
    for norm in network.modules():
        if isinstance(norm, BatchNorm):
            norm.test_statistics = "batch" if statistics == "batch" else "population"
    set_population_statistics(network, lambda: [x])  # no effect for "batch"
    return network


def batch_sizes(n_layers: int) -> list[int]:
    """Weights to flip at once in each layer: the paper's numbers, with its middle one for all middle layers.

    >>> batch_sizes(2), batch_sizes(4)
    ([1000, 100], [1000, 2000, 2000, 100])
    """
    first, middle, last = SWITCHED
    return [first, *[middle] * (n_layers - 2), last][-n_layers:]


@dataclass(frozen=True, eq=False)
class SwitchedLayer:
    """The cost of sign flips in one layer, by bin of |W^h| / max|W^h|, each array of shape (bins,)."""

    name: str
    loss: float
    """Loss of the network without flips."""
    largest: float
    """max |W^h|."""
    count: NDArray[np.int64]
    """Weights in each bin."""
    switched: NDArray[np.int64]
    """Weights flipped at once: the given number, or all weights of a smaller bin."""
    draws: NDArray[np.int64]
    """Batches drawn; 1 if a batch is the whole bin, 0 if the bin is empty."""
    mean: Array
    """Mean increase of the loss per flipped weight, over the draws; NaN in an empty bin."""
    spread: Array
    """Its standard deviation over the draws; NaN for fewer than two."""

    @property
    def center(self) -> Array:
        """Middle of each bin, in (0, 1)."""
        return (np.arange(len(self.count)) + 0.5) / len(self.count)

    @property
    def full(self) -> NDArray[np.bool_]:
        """Whether the bin has more weights than are flipped at once, so that there are several draws."""
        several: NDArray[np.bool_] = self.draws > 1
        return several

    @property
    def rank_correlation(self) -> float:
        """Spearman's ρ of bin and mean increase over the full bins; NaN for fewer than two."""
        return self._ranks(self.full)

    @property
    def rank_correlation_of_all(self) -> float:
        """The same over all bins with at least one weight."""
        return self._ranks(self.count > 0)

    @property
    def passed(self) -> bool:
        """Whether flips cost more for larger hidden weights: a rank correlation of at least 0.9."""
        return self.rank_correlation >= RANK_CORRELATION_NEEDED

    def _ranks(self, chosen: NDArray[np.bool_]) -> float:
        return rank_correlation(self.center[chosen], self.mean[chosen])


def measure_layer(
    network: nn.Sequential,
    layer: str,
    x: Tensor,
    y: Tensor,
    switched: int,
    rng: np.random.Generator,
    bins: int = N_BINS,
    draws: int = DRAWS,
    criterion: nn.Module = CROSS_ENTROPY,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> SwitchedLayer:
    """Flip `switched` ≥ 1 weights of `layer` at a time, `draws` ≥ 2 times per bin, and measure the loss.

    `network` is from :func:`prepare`; `x` (N, …) and `y` (N,) are the data, `criterion` is the loss. `progress` is
    called with the number of bins done and the total.
    """
    switchable = Switchable(network, layer, x, y, criterion)
    size = switchable.linear.weight.detach().abs().double().flatten().numpy()
    bin_of = np.minimum((bins * size / size.max()).astype(np.int64), bins - 1)
    base = switchable.loss(torch.empty(0, dtype=torch.int64))
    increases: list[Array] = []
    for b in range(bins):
        members = np.flatnonzero(bin_of == b)
        n = min(switched, members.size)
        times = 0 if n == 0 else 1 if n == members.size else draws  # a whole bin is the same batch every time
        batches = (torch.from_numpy(rng.choice(members, n, replace=False)) for _ in range(times))
        increases.append(np.array([(switchable.loss(batch) - base) / n for batch in batches]))
        progress(b + 1, bins)
    count = np.bincount(bin_of, minlength=bins)
    return SwitchedLayer(
        name=layer,
        loss=base,
        largest=float(size.max()),
        count=count,
        switched=np.minimum(count, switched),
        draws=np.array([increase.size for increase in increases]),
        mean=np.array([increase.mean() if increase.size else np.nan for increase in increases]),
        spread=np.array([increase.std() if increase.size > 1 else np.nan for increase in increases]),
    )


_INK = "#2b2d33"
_COLOR = "#c8553d"


def draw_sign_switch(layers: Sequence[SwitchedLayer], title: str) -> Figure:
    """Draw the increase of the loss against the size of the hidden weight, one panel per layer."""
    figure = Figure(figsize=(4.6 * len(layers), 4.4), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    for layer, ax in zip(layers, figure.subplots(1, len(layers), squeeze=False)[0], strict=True):
        _draw_layer(ax, layer)
    return figure


def _draw_layer(ax: Axes, layer: SwitchedLayer) -> None:
    full, thin = layer.full, (layer.count > 0) & ~layer.full
    ax.axhline(0, color=_INK, linewidth=0.6)
    if full.any():
        ax.errorbar(
            layer.center[full],
            layer.mean[full],
            layer.spread[full],
            fmt="o-",
            color=_COLOR,
            markersize=6,
            capsize=3,
            label=f"mean ± spread of {layer.draws.max()} draws of {layer.switched.max()} weights",
        )
    if thin.any():
        label = "smaller bins: all weights, once"
        ax.plot(layer.center[thin], layer.mean[thin], "o", color="#9a9da5", markerfacecolor="white", label=label)
    ax.set(xlabel=rf"$|W^h|\,/\,\max |W^h|$   (max {layer.largest:.2f})", xlim=(-0.02, 1.02))
    ax.set_ylabel("increase of the loss per flipped weight")
    ax.set_title(f"{layer.name}: rank correlation {layer.rank_correlation:.3f}", loc="left", fontsize=11)
    # The limits ignore small bins, which may be outliers.
    if full.any():
        top = float((layer.mean + layer.spread)[full].max())
        ax.set_ylim(bottom=min(-0.1 * top, float((layer.mean - layer.spread)[full].min())), top=2 * top)
    tidy(ax, grid="both")
    ax.legend(loc="upper left", fontsize=8.5, frameon=False)
