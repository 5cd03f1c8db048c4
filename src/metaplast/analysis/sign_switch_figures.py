"""The figure of switched signs: the rise of the loss against the size of the hidden weight, a panel a layer."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metaplast.analysis.sign_switch import SwitchedLayer
from metaplast.report.figure_style import tidy

_INK = "#2b2d33"
_COLOUR = "#c8553d"


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
            color=_COLOUR,
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
