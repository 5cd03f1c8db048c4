"""Figures as SVG for a page: sound markup, no clash of names, readable on light and on dark paper."""

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes

from metaplast.report.inline_svg import for_both_papers, inline_svg

COLOURS = st.integers(0, 0xFFFFFF).map("#{:06x}".format)


def draw(ax: Axes) -> None:
    ax.imshow([[0.0, 1.0]])
    ax.plot([0, 1], [0, 1], color="#0d0887")
    ax.set_title("m < 1")


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb, 0 to 1 (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_it_is_sound_xml_with_text_as_text_and_a_name_for_those_who_do_not_see_it() -> None:
    svg = inline_svg("a", 'm < 1 & "so on"', (3, 2), draw)
    root = ElementTree.fromstring(svg)
    assert root.attrib["aria-label"] == 'm < 1 & "so on"'
    assert "m < 1" in [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_two_pictures_share_no_identifier_and_refer_to_their_own() -> None:
    names = []
    for name in ("a", "b"):
        svg = inline_svg(name, "", (3, 2), draw)
        names.append(set(re.findall(r'\bid="([^"]*)"', svg)))
        assert set(re.findall(r"url\(#([^)]*)\)", svg)) <= names[-1]
    assert not names[0] & names[1]


def test_it_asks_for_nothing_outside_and_styles_nothing_outside() -> None:
    svg = inline_svg("a", "", (3, 2), draw)
    assert all(place.startswith(("#", "data:")) for place in re.findall(r'href="([^"]*)"', svg))
    assert "<style" not in svg


def test_it_is_the_same_each_time() -> None:
    assert inline_svg("a", "", (3, 2), draw) == inline_svg("a", "", (3, 2), draw)


@given(COLOURS)
def test_no_colour_but_those_of_heat_maps_is_dark_on_dark_paper_if_it_is_seen_on_light(colour: str) -> None:
    both = re.fullmatch(r"light-dark\((#.{6}),(#.{6})\)", for_both_papers(colour))
    if both is None:
        assert colour in ("#ffffff", "#000000")
        return
    assert both[1] == colour
    if luminance(colour) < 0.18:  # at least 4.5 to 1 on white
        assert luminance(both[2]) > 0.1


@pytest.mark.parametrize("faint", ["#e6e6e6", "#f2f2f2"])
def test_what_is_faint_on_light_paper_is_faint_on_dark_paper(faint: str) -> None:
    assert luminance(for_both_papers(faint)[-8:-1]) < 0.05
