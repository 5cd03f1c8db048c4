"""The page: what it says, that it needs nothing else, and how it behaves in a browser.

Figures as SVG for a page: sound markup, no clash of names, readable on light and on dark paper.
"""

import json
import os
import re
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes

from metaplast.report.aggregate import make_sweep
from metaplast.report.page import inline_svg, light_and_dark, page_content, write_page
from metaplast.runs.index import find_runs

LayRun = Callable[..., Path]
CHROMIUM = shutil.which("chromium")
# No network and no set-up; root, as in a container, needs --no-sandbox.
FLAGS = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"]
FLAGS += ["disable-component-update", "disable-sync", "remote-debugging-pipe"]
VOID = {"meta", "link", "input"}
EVIL = "<script>alert(1)</script> & {{ 7 * 7 }}"


class Browser:
    """Chromium, driven by its DevTools protocol over a pair of pipes: JSON messages, each ended by a zero byte."""

    def __init__(self, profile: Path) -> None:
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        start = f'exec "$@" 3<&{commands} 4>&{answers}'  # where Chromium looks for them
        flags = [f"--{flag}" for flag in [*FLAGS, f"user-data-dir={profile}"]]
        self._process = subprocess.Popen(
            ["bash", "-c", start, "bash", str(CHROMIUM), *flags, "about:blank"],
            pass_fds=(commands, answers),
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._unread = b""
        self._session: dict[str, str] = {}
        self._events: list[dict[str, Any]] = []
        self._calls = 0
        [page] = [one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol and return its result."""
        self._calls += 1
        message = {"id": self._calls, "method": method, "params": parameters, **self._session}
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._calls:
            self._events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, address: str) -> None:
        """Open a page, and wait until it is loaded."""
        self._events.clear()
        self.call("Page.navigate", url=address)
        while not self.events("Page.loadEventFired"):
            self._events.append(self._read())

    def evaluate(self, script: str) -> Any:
        """Return the value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def click(self, selector: str) -> None:
        """Click with the mouse on the middle of an element."""
        box = f"document.querySelector({json.dumps(selector)})"
        self.evaluate(f"{box}.scrollIntoView({{block: 'center', inline: 'center'}})")
        x, y = self.evaluate(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({box}.getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self.call("Input.insertText", text=text)

    def events(self, *methods: str) -> list[dict[str, Any]]:
        """What happened since the page was opened, of these kinds."""
        return [event for event in self._events if event.get("method") in methods]

    def complaints(self) -> list[dict[str, Any]]:
        """Errors and messages on the console, by scripts and by the browser."""
        return self.events("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        self._process.wait()
        os.close(self._commands)
        os.close(self._answers)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._answers], [], [], 60)
            part = os.read(self._answers, 1 << 16) if ready else b""
            assert part, "the browser ended, or said nothing for a minute"
            self._unread += part
        first, self._unread = self._unread.split(b"\0", 1)
        message: dict[str, Any] = json.loads(first)
        return message


class Nesting(HTMLParser):
    """Checks that every element is closed in its turn, and collects identifiers and places."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.places: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.places += [value for name in ("href", "src", "xlink:href") if (value := named.get(name))]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, lay_run: LayRun) -> Path:
    """The page of a sweep: a strategy without m and three values of m, two seeds each; one run failed."""
    folder = tmp_path_factory.mktemp("sweep")
    settings: list[dict[str, Any]] = [{"strategy": "finetune"}, {"m": 0.0}, {"m": 1.0}, {"m": 10.0}]
    for index, (one, seed) in enumerate((one, seed) for one in settings for seed in (0, 1)):
        lay_run(folder / str(index), "failed" if index == 3 else "completed", seed=seed, **one)
    summary = json.loads((folder / "3" / "summary.json").read_text())
    (folder / "3" / "summary.json").write_text(json.dumps(summary | {"error": EVIL, "overrides": ["m=0", "seed=1"]}))
    write_page(folder / "sweep.html", make_sweep(find_runs([folder])), "a sweep")
    return folder / "sweep.html"


def content(folder: Path) -> dict[str, Any]:
    return page_content(folder, make_sweep(find_runs([folder])), "title")


def test_the_markup_is_sound_and_no_identifier_stands_twice(page: Path) -> None:
    nesting = Nesting()
    nesting.feed(page.read_text())
    assert nesting.open == []
    assert len(nesting.ids) == len(set(nesting.ids))


def test_links_lead_to_places_on_the_page_and_to_files_that_are_there(page: Path) -> None:
    nesting = Nesting()
    nesting.feed(page.read_text())
    anchors = {f"#{name}" for name in nesting.ids}
    files = [place for place in nesting.places if not place.startswith(("#", "data:"))]
    assert {place for place in nesting.places if place.startswith("#")} <= anchors
    assert {"0/metrics.csv", "7/config.yaml"} <= set(files)
    assert all((page.parent / place).is_file() for place in files)


def test_text_of_a_run_is_text_and_nothing_else(page: Path) -> None:
    html = page.read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; {{ 7 * 7 }}" in html
    assert html.count("<script") == 1


def test_it_names_no_place_outside(page: Path) -> None:
    addresses = set(re.findall(r"https?://[^\s\"'<]+", page.read_text()))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # names of SVG's, never fetched


def test_conditions_and_overrides_are_in_plain_sight(page: Path) -> None:
    html = page.read_text()
    assert "norm batch, per task, γ uniform, population · optimizer kept · task boundary in training: yes" in html
    assert "python src/train.py m=0 seed=1" in html
    assert "strategy=finetune seed=0" in html  # of a run that kept no overrides, what singles it out


def test_runs_under_unlike_conditions_are_said_not_to_be_alike(tmp_path: Path, lay_run: LayRun) -> None:
    for index in range(2):
        lay_run(tmp_path / str(index), m=float(index))
    assert content(tmp_path)["differing"] == []
    summary = json.loads((tmp_path / "1" / "summary.json").read_text())
    (tmp_path / "1" / "summary.json").write_text(json.dumps(summary | {"task_label_used": False}))
    assert content(tmp_path)["differing"] == ["task label in testing"]
    assert content(tmp_path)["facts"]["task label in testing"] == "yes / no"


def test_a_sweep_without_a_completed_run_has_a_page_too(tmp_path: Path, lay_run: LayRun) -> None:
    lay_run(tmp_path / "0", "failed")
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "summary.json").write_text("{")
    write_page(tmp_path / "sweep.html", make_sweep(find_runs([tmp_path])), "title")
    html = (tmp_path / "sweep.html").read_text()
    assert "No run is completed yet" in html
    assert "the loss is not finite" in html
    assert "JSONDecodeError" in html


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser without a window."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    started = Browser(tmp_path_factory.mktemp("profile"))
    yield started
    started.close()


@pytest.fixture
def opened(browser: Browser, page: Path) -> Iterator[Browser]:
    """The page in the browser, which has nothing to complain of at the end either."""
    browser.call("Emulation.setDeviceMetricsOverride", width=1300, height=900, deviceScaleFactor=1, mobile=False)
    browser.call("Emulation.setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": "light"}])
    browser.open(page.as_uri())
    yield browser
    assert browser.complaints() == []


ORDER = "[...document.querySelectorAll('#runs > tbody')].filter(b => !b.hidden).map(b => b.id.slice(4)).join('')"


def test_a_click_on_a_head_sorts_by_size_and_a_second_one_turns_it_round(opened: Browser) -> None:
    assert opened.evaluate(ORDER) == "01234567"
    opened.click("#runs th:nth-child(4) button")  # m: a dash comes last either way, 10 after 1
    assert opened.evaluate(ORDER) == "23456701"
    assert opened.evaluate("document.querySelector('#runs th:nth-child(4)').ariaSort") == "ascending"
    opened.click("#runs th:nth-child(4) button")
    assert opened.evaluate(ORDER) == "67452301"
    opened.click("#runs th:nth-child(2) button")
    assert opened.evaluate(ORDER)[-1] == "3"  # completed, then failed
    assert opened.evaluate("document.querySelectorAll('#runs th[aria-sort=none]').length") == 12


def test_the_table_of_settings_sorts_too(opened: Browser) -> None:
    row = "document.querySelector('.wide tbody').innerText.split('\\t').slice(0, 2).join()"
    opened.click(".wide th:nth-child(5) button")  # forgetting
    assert opened.evaluate(row) == "meta,10"
    opened.click(".wide th:nth-child(5) button")
    assert opened.evaluate(row) == "finetune,–"


def test_what_is_typed_into_the_filter_narrows_the_runs(opened: Browser) -> None:
    opened.click("#filter")
    opened.type("m=1")
    assert opened.evaluate(ORDER) == "45"  # and not those of m = 10
    assert opened.evaluate("document.getElementById('count').textContent") == "2 of 8 runs"
    opened.type(" seed=1")
    assert opened.evaluate(ORDER) == "5"
    opened.evaluate("document.getElementById('filter').select()")
    opened.type("FINE")
    assert opened.evaluate(ORDER) == "01"
    opened.evaluate("document.getElementById('filter').select()")
    opened.type("nothing")
    assert opened.evaluate(ORDER) == ""


def test_a_click_on_a_status_shows_the_runs_that_stand_so_and_another_all(opened: Browser) -> None:
    opened.click("button[data-filter='status=failed']")
    assert opened.evaluate(ORDER) == "3"
    opened.click("button[data-filter='status=failed']")
    assert opened.evaluate(ORDER) == "01234567"


def test_a_click_on_a_run_shows_all_of_it(opened: Browser) -> None:
    seen = "document.getElementById('run-3-all').checkVisibility()"
    assert not opened.evaluate(seen)
    opened.click("#run-3 .opener")
    assert opened.evaluate(seen)
    assert "python src/train.py m=0 seed=1" in opened.evaluate("document.getElementById('run-3').innerText")
    opened.click("#run-3 .opener")
    assert not opened.evaluate(seen)


def test_a_click_on_a_seed_leads_to_its_run(opened: Browser) -> None:
    opened.click("a[href='#run-5']")
    opened.evaluate("new Promise(requestAnimationFrame)")
    assert opened.evaluate("document.getElementById('run-5-all').checkVisibility()")
    assert not opened.evaluate("document.getElementById('run-4-all').checkVisibility()")


def test_nothing_is_fetched_but_the_page(opened: Browser, page: Path) -> None:
    asked = {event["params"]["request"]["url"] for event in opened.events("Network.requestWillBeSent")}
    assert {address for address in asked if not address.startswith("data:")} == {page.as_uri()}


@pytest.mark.parametrize("width", [360, 800, 1300])
def test_no_width_has_to_be_scrolled_sideways(opened: Browser, width: int) -> None:
    opened.call("Emulation.setDeviceMetricsOverride", width=width, height=700, deviceScaleFactor=1, mobile=width < 500)
    opened.click("#run-3 .opener")
    assert opened.evaluate("document.documentElement.scrollWidth") <= width


def brightness(browser: Browser, selector: str, what: str) -> float:
    """The mean of red, green and blue that an element comes to, 0 to 255."""
    color = browser.evaluate(f"getComputedStyle(document.querySelector('{selector}')).{what}")
    return sum(map(float, re.findall(r"[\d.]+", color)[:3])) / 3


def test_dark_readers_get_dark_paper_and_light_ink_and_paper_stays_white(opened: Browser) -> None:
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    assert brightness(opened, "figure svg text", "fill") < 100 < 200 < brightness(opened, "figure", "backgroundColor")
    opened.call("Emulation.setEmulatedMedia", media="", features=dark)
    assert brightness(opened, "figure", "backgroundColor") < 50 < 150 < brightness(opened, "figure svg text", "fill")
    opened.call("Emulation.setEmulatedMedia", media="print", features=dark)
    assert brightness(opened, "figure svg text", "fill") < 100 < 200 < brightness(opened, "figure", "backgroundColor")


COLORS = st.integers(0, 0xFFFFFF).map("#{:06x}".format)


def draw(ax: Axes) -> None:
    ax.imshow([[0.0, 1.0]])
    ax.plot([0, 1], [0, 1], color="#0d0887")
    ax.set_title("m < 1")


def luminance(color: str) -> float:
    """Relative luminance of #rrggbb, 0 to 1 (WCAG 2.2)."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
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


@given(COLORS)
def test_no_color_but_those_of_heat_maps_is_dark_on_dark_paper_if_it_is_seen_on_light(color: str) -> None:
    both = re.fullmatch(r"light-dark\((#.{6}),(#.{6})\)", light_and_dark(color))
    if both is None:
        assert color in ("#ffffff", "#000000")
        return
    assert both[1] == color
    if luminance(color) < 0.18:  # at least 4.5 to 1 on white
        assert luminance(both[2]) > 0.1


@pytest.mark.parametrize("faint", ["#e6e6e6", "#f2f2f2"])
def test_what_is_faint_on_light_paper_is_faint_on_dark_paper(faint: str) -> None:
    assert luminance(light_and_dark(faint)[-8:-1]) < 0.05


def test_of_a_long_stream_the_page_draws_the_matrix_and_repeats_no_number(tmp_path: Path, lay_run: LayRun) -> None:
    lay_run(tmp_path / "0", n_tasks=200)
    start = time.process_time()
    write_page(tmp_path / "sweep.html", make_sweep(find_runs([tmp_path])), "title")
    assert time.process_time() - start < 20
    html = (tmp_path / "sweep.html").read_text()
    assert 'class="heat"' not in html
    pictures = [part.partition("</svg>")[0] for part in html.split("<svg")[1:]]
    assert max(map(len, pictures)) < 300_000
