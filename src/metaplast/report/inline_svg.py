"""A figure as SVG that stands in an HTML page: text in the page's font, colours for light and for dark paper."""

import colorsys
import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#222222"
STYLE: Any = {  # matplotlib types its settings by the name of each
    "svg.fonttype": "none",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
}
"""No paper of its own; ink that can be told from the black and white on a heat map, which stay as they are."""
COLOUR = re.compile(r"(?<=: )#[0-9a-f]{6}\b")
LONG_NUMBER = re.compile(r"(?<=\d\.\d{3})\d+")


def inline_svg(name: str, about: str, size: tuple[float, float], draw: Callable[[Axes], object]) -> Markup:
    """Draw one pair of axes, and return the picture as an `<svg>` element.

    Args:
        name: unlike that of any other picture on the page; its identifiers begin with it.
        about: what the picture shows, for those who do not see it.
        size: width and height in inches.
        draw: draws on the axes it is given.
    """
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        target = io.StringIO()
        figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = target.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>|font-family: [^;\"]*; ?", "", svg, flags=re.DOTALL)  # the page's hold
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r"(url\(|href=\")#", rf"\1#{name}-", svg)
    svg = COLOUR.sub(lambda match: for_both_papers(match[0]), LONG_NUMBER.sub("", svg))
    return Markup(f'<svg role="img" aria-label="{escape(about)}" {svg.removeprefix("<svg ").strip()}')


def for_both_papers(colour: str) -> str:
    """Return a colour that is the given one on light paper, and one as easily seen on dark paper.

    Greys change sides, so that faint stays faint; other colours are lightened where they are dark. White and black,
    which stand on coloured cells, stay.

    >>> for_both_papers("#e6e6e6"), for_both_papers("#0d0887"), for_both_papers("#ffffff")
    ('light-dark(#e6e6e6,#333333)', 'light-dark(#0d0887,#908bf8)', '#ffffff')
    """
    if colour in ("#ffffff", "#000000"):
        return colour
    hue, lightness, saturation = colorsys.rgb_to_hls(*(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)))
    on_dark = 0.92 - 0.8 * lightness if saturation < 0.05 else max(lightness, 0.9 - 0.5 * lightness)
    rgb = colorsys.hls_to_rgb(hue, on_dark, saturation)
    return f"light-dark({colour},#{''.join(f'{round(255 * part):02x}' for part in rgb)})"
