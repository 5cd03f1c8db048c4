"""What the size of a hidden weight means in a trained network: how much the loss rises when its sign is switched.

The binary weights of one layer are binned by |W^h| / max|W^h|. From a bin, a batch of weights is drawn, their signs are
switched, and the loss of the network is measured; then they are put back. The rise is given per weight switched. A bin
that holds fewer weights than a batch has no draws to average over: it is measured once, all of it switched, and shown,
but has no rank, as in the published code. Source: Laborieux et al. 2021 (arXiv 2101.07592), Fig. 5c–e.

**No network is rebuilt for a draw.** Let X be the inputs of the layer, (N, in), and S = sign(W^h), (out, in). Switching
the weights of a set B changes its product by

    (1)    ΔY[:, o] = −2 Σ_{(o, i) in B} S[o, i] · X[:, i]

so that X and Y = X Sᵀ are computed once for a layer, and a draw costs |B| columns and the layers behind.

**Which statistics.** The loss that training brought down normalizes by the mean and variance of the batch it is taken
on, and with the weights of that moment. So does `statistics="batch"`: the data given here are one batch. With "fixed"
the normalization keeps the mean and variance that the unswitched network has on these data: then a switch also pays for
the shift of its neuron's mean, which in training costs nothing.

The figure of switched signs: the rise of the loss against the size of the hidden weight, a panel a layer.
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
"""Batches drawn from a bin, the paper's number."""
SWITCHED = (1000, 2000, 100)
"""Weights switched at once in the paper's three layers."""
CROSS_ENTROPY = nn.CrossEntropyLoss()


class Switchable:
    """One binary linear layer of a network on fixed data, and the loss after switching any of its binary weights.

    Args:
        network: a sequence of layers, in evaluation mode, as :func:`prepare` leaves it.
        layer: the name of a :class:`BinaryLinear` in it.
        x: images (N, …).
        y: classes (N,).
        criterion: the loss of logits (N, K), here in float64, and classes.

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
        """The loss with the signs of the weights at `switched`, int64 (k,) into the flattened weight, turned.

        No index may come twice.
        """
        width, weights = self.linear.in_features, self.linear.weight
        places = torch.stack([switched // width, switched % width])
        turned = -2 * self._signs[switched]
        # Four times as fast as adding up rows of the inputs, and twice as fast as a dense product.
        change = torch.sparse.mm(
            torch.sparse_coo_tensor(places, turned, weights.shape, check_invariants=True), self._inputs
        )
        logits = self._behind(self._product + change.T)
        return float(self._criterion(logits.double(), self._classes))


def prepare(network: nn.Module, x: Tensor, statistics: SwitchStatistics) -> nn.Sequential:
    """Put a trained network in evaluation mode with the statistics asked for, and return it.

    Raises UserError where its layers are no sequence, or a binary one is no linear one.
    """
    convolutions = [n for n in hidden_weights(network) if not isinstance(network.get_submodule(n), BinaryLinear)]
    if not isinstance(network, nn.Sequential) or convolutions or not hidden_weights(network):
        raise UserError(
            "the network has to be a sequence of binary linear layers and others (model=bnn) to switch signs"
        )
    network.eval()
    for norm in network.modules():
        if isinstance(norm, BatchNorm):
            norm.test_statistics = "batch" if statistics == "batch" else "population"
    set_population_statistics(network, lambda: [x])  # nothing to do for "batch"
    return network


def batch_sizes(n_layers: int) -> list[int]:
    """Weights to switch at once in each layer: the paper's numbers, that of its middle layer in all middle ones.

    >>> batch_sizes(2), batch_sizes(4)
    ([1000, 100], [1000, 2000, 2000, 100])
    """
    first, middle, last = SWITCHED
    return [first, *[middle] * (n_layers - 2), last][-n_layers:]


@dataclass(frozen=True, eq=False)
class SwitchedLayer:
    """What switching signs in one layer costs, by bin of |W^h| / max|W^h|, each array of shape (bins,)."""

    name: str
    loss: float
    """Loss of the network as it is."""
    largest: float
    """max |W^h|."""
    count: NDArray[np.int64]
    """Weights in each bin."""
    switched: NDArray[np.int64]
    """Weights switched at once: the number asked for, or all that the bin holds."""
    draws: NDArray[np.int64]
    """Batches drawn; 1 where a batch is the whole bin, 0 where the bin is empty."""
    mean: Array
    """Mean rise of the loss per weight switched, over the draws; NaN in an empty bin."""
    spread: Array
    """Standard deviation of that over the draws; NaN below two draws."""

    @property
    def centre(self) -> Array:
        """Middle of each bin, in (0, 1)."""
        return (np.arange(len(self.count)) + 0.5) / len(self.count)

    @property
    def full(self) -> NDArray[np.bool_]:
        """Whether the bin holds as many weights as are switched at once, so that its draws can be compared."""
        several: NDArray[np.bool_] = self.draws > 1
        return several

    @property
    def rank_correlation(self) -> float:
        """Spearman's ρ of bin and mean rise, over the full bins; NaN below two of them."""
        return self._ranks(self.full)

    @property
    def rank_correlation_of_all(self) -> float:
        """The same over all bins that hold a weight, however few."""
        return self._ranks(self.count > 0)

    @property
    def held(self) -> bool:
        """Whether the larger a hidden weight, the dearer its switch: a rank correlation of at least 0.9."""
        return self.rank_correlation >= RANK_CORRELATION_NEEDED

    def _ranks(self, kept: NDArray[np.bool_]) -> float:
        return rank_correlation(self.centre[kept], self.mean[kept])


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
    """Switch `switched` ≥ 1 weights of `layer` at a time, `draws` ≥ 2 times a bin, and measure the rise of the loss.

    `network` is what :func:`prepare` returned; `x` (N, …) and `y` (N,) are the data, `criterion` is their loss.
    `progress` is called with the number of bins done and of all.
    """
    switchable = Switchable(network, layer, x, y, criterion)
    size = switchable.linear.weight.detach().abs().double().flatten().numpy()
    bin_of = np.minimum((bins * size / size.max()).astype(np.int64), bins - 1)
    base = switchable.loss(torch.empty(0, dtype=torch.int64))
    rises: list[Array] = []
    for b in range(bins):
        members = np.flatnonzero(bin_of == b)
        n = min(switched, members.size)
        times = 0 if n == 0 else 1 if n == members.size else draws  # all of a bin is the same batch every time
        batches = (torch.from_numpy(rng.choice(members, n, replace=False)) for _ in range(times))
        rises.append(np.array([(switchable.loss(batch) - base) / n for batch in batches]))
        progress(b + 1, bins)
    count = np.bincount(bin_of, minlength=bins)
    return SwitchedLayer(
        name=layer,
        loss=base,
        largest=float(size.max()),
        count=count,
        switched=np.minimum(count, switched),
        draws=np.array([rise.size for rise in rises]),
        mean=np.array([rise.mean() if rise.size else np.nan for rise in rises]),
        spread=np.array([rise.std() if rise.size > 1 else np.nan for rise in rises]),
    )


_INK = "#2b2d33"
_COLOR = "#c8553d"


def draw_sign_switch(layers: Sequence[SwitchedLayer], title: str) -> Figure:
    """Draw one panel a layer, left to right; the figure belongs to no window and is saved by the caller."""
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
            layer.centre[full],
            layer.mean[full],
            layer.spread[full],
            fmt="o-",
            color=_COLOR,
            markersize=6,
            capsize=3,
            label=f"mean ± spread of {layer.draws.max()} draws of {layer.switched.max()} weights",
        )
    if thin.any():
        label = "bins with fewer: all of it, once"
        ax.plot(layer.centre[thin], layer.mean[thin], "o", color="#9a9da5", markerfacecolor="white", label=label)
    ax.set(xlabel=rf"$|W^h|\,/\,\max |W^h|$   (max {layer.largest:.2f})", xlim=(-0.02, 1.02))
    ax.set_ylabel("rise of the loss per weight switched")
    ax.set_title(f"{layer.name}: rank correlation {layer.rank_correlation:.3f}", loc="left", fontsize=11)
    # A bin of two or three weights may lie far off, and would press all others flat.
    if full.any():
        top = float((layer.mean + layer.spread)[full].max())
        ax.set_ylim(bottom=min(-0.1 * top, float((layer.mean - layer.spread)[full].min())), top=2 * top)
    tidy(ax, grid="both")
    ax.legend(loc="upper left", fontsize=8.5, frameon=False)
