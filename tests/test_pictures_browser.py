"""Pictures in a real browser: where things lie, at a phone's width and on a desk, light and dark."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from lookingglass.comparisons import compare
from lookingglass.pictures import alone, draw, draw_alone
from lookingglass.pictures.board import Row, board
from lookingglass.pictures.verdicts import of_outcome, waiting
from lookingglass.resources import resource
from lookingglass.side_by_side import Head, as_html
from tests import pictures
from tests.pictures import ping
from tests.samples import read
from tests.test_pictures_odd import HOSTILE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = pytest.mark.browser

Scheme = Literal["light", "dark"]

URL = "http://glass.example/"
CSP = "default-src 'none'; style-src 'self'"
OWN = 64500
NAME = "very-long-interface-name.core-router-17.frankfurt.example.net"
LONG: Any = {
    "hops": [
        {
            "hop": 1,
            "probes": [
                {
                    "address": "2001:db8:1111:2222:3333:4444:5555:6666",
                    "name": NAME,
                    "rtt": 17.4,
                    "asn": 4200000001,
                },
                None,
                {
                    "address": "2001:db8:1111:2222:3333:4444:5555:6666",
                    "name": NAME,
                    "rtt": 170.4,
                    "note": "!X",
                },
            ],
        },
        {"hop": 2, "probes": [{"address": "192.0.2.1", "name": name, "rtt": 18.0} for name in HOSTILE]},
    ]
}
BOARD = [
    Row(
        "r1",
        "Berlin DE",
        of_outcome(200, {"data": {"output": [], **ping(30, [2])}}),
        ping(30, [2]),
        True,
    ),
    Row(NAME, "Neustadt an der Weinstraße DE", waiting(2), {}, False),
]

FAR: Any = {
    "paths": [
        {
            "prefix": prefix,
            "as_path": [64501, 64501, 4200000001],
            "next_hop": "2001:db8:1111:2222:3333:4444:5555:6666",
        }
        for prefix in ("2001:db8:1000:2000::/64", "2001:db8:1000:3000::/64")
    ]
}
HEADS = (Head("A", "a", "show route", NAME, "2026-11-25"), Head("B", "b", "show route", "r1", "2026-11-25"))


def drawn(facts: Any) -> str:
    found = draw(facts, True, own_as=OWN)
    return found.figures + found.picture


PICTURES: dict[str, str] = {
    "ping": drawn(ping(30, pictures.LOST, {7: 212.4})),
    "five": drawn(ping(5)),
    "many": drawn(ping(120)),
    "mtr": drawn(read("mtr4-raw.out")),
    "traceroute": drawn(read("traceroute4-unreachable-H.out")),
    "long": drawn(LONG),
    "paths": drawn(pictures.TWO_PATHS),
    "routes": drawn(read("birdc-r1-show-route-all.out")),
    "far": drawn({"paths": [{"prefix": "192.0.2.0/24", "as_path": list(range(1, 20))}]}),
    "neighbors": drawn(read("birdc-r1-show-protocols-all.out")),
    "board": board(BOARD),
    "comparison": as_html(HEADS, compare(FAR, {"paths": [*FAR["paths"], *FAR["paths"]]}), ""),
}
# What reaches beyond its place, outside of boxes that scroll; boxes that the keyboard does not scroll.
BEYOND = """() => [...document.querySelectorAll("main *")].filter((each) => {
    const box = each.getBoundingClientRect(), place = each.closest(".scroll, .graph");
    const seen = box.width > 1 && !each.closest(".unseen, .axis, .slot") && (!place || place === each);
    return seen && (box.right > innerWidth + 0.5 || box.left < -0.5);
}).map((each) => each.outerHTML.slice(0, 120))"""
HIDDEN = """() => [...document.querySelectorAll(".scroll, .graph")]
    .filter((each) => each.scrollWidth > each.clientWidth + 1 && each.tabIndex !== 0).length"""


HEAD = (
    '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Pictures</title>'
    '<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="style.css">'
)


class Opener:
    """Open what would come from a server, under a policy, and keep what the browser complains of."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.complaints: list[str] = []

    def picture(self, name: str, width: int) -> Page:
        """Open a picture as the page has it."""
        return self.markup(PICTURES[name], width)

    def markup(self, picture: str, width: int) -> Page:
        """Open markup as the page has it."""
        page = self._page(width, "light")
        style = resource("style.css")
        page.route(f"{URL}style.css", lambda route: route.fulfill(body=style, content_type="text/css"))
        self._go(page, f"{HEAD}<main>{picture}</main>", "text/html", CSP)
        return page

    def alone(self, svg: str, scheme: Scheme) -> Page:
        """Open a picture that stands alone."""
        page = self._page(1000, scheme)
        self._go(page, svg, "image/svg+xml", f"default-src 'none'; style-src {alone.style_source()}")
        return page

    def close(self) -> None:
        """Close all pages."""
        for context in self._contexts:
            context.close()

    def _page(self, width: int, scheme: Scheme) -> Page:
        context = self._browser.new_context(viewport={"width": width, "height": 700}, color_scheme=scheme)
        self._contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: self.complaints.append(message.text))
        page.route("**/*", lambda route: route.abort())
        return page

    def _go(self, page: Page, body: str, media: str, policy: str) -> None:
        headers = {"Content-Security-Policy": policy}
        page.route(URL, lambda route: route.fulfill(body=body, content_type=media, headers=headers))
        page.goto(URL)


@pytest.fixture
def opener(browser: Browser) -> Iterator[Opener]:
    """Yield what opens pictures; afterwards the browser has not complained."""
    found = Opener(browser)
    yield found
    found.close()
    assert found.complaints == []


@pytest.mark.parametrize("width", [360, 700, 800, 1440])
@pytest.mark.parametrize("name", PICTURES)
def test_nothing_reaches_beyond_its_place(opener: Opener, name: str, width: int) -> None:
    page = opener.picture(name, width)
    assert page.evaluate(BEYOND) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(HIDDEN) == 0
    cells = "[...document.querySelectorAll('tbody :is(.router, .path):not(.none)')]"
    assert min(page.evaluate(f"{cells}.map((each) => each.offsetWidth)"), default=200) >= 130


@pytest.mark.parametrize("name", PICTURES)
def test_nothing_is_cut_on_paper(opener: Opener, name: str) -> None:
    page = opener.picture(name, 718)  # A4 within its margins
    page.emulate_media(media="print")
    boxes = "[...document.querySelectorAll('.scroll, .graph')]"
    assert page.evaluate(f"{boxes}.filter((each) => each.scrollWidth > each.clientWidth + 1).length") == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 718


@pytest.mark.parametrize("top", [0.04, 0.005, 20, 100_000])
def test_labels_of_the_axis_are_not_clipped(opener: Opener, top: float) -> None:
    page = opener.markup(draw(ping(5, slow={1: top}), True, scale=top).picture, 360)
    clipped = page.evaluate(
        "[...document.querySelectorAll('.strip .axis text')].map((each) => each.getBoundingClientRect().left"
        " - document.querySelector('.strip .axis').getBoundingClientRect().left)"
    )
    assert len(clipped) == 2
    assert min(clipped) >= 0


@pytest.mark.parametrize(
    ("name", "width", "least", "most"),
    [
        ("five", 360, 24, 24),
        ("ping", 1440, 24, 24),
        ("ping", 360, 8, 12),
        ("many", 360, 8, 8),
        ("many", 1440, 8, 12),
    ],
)
def test_slots_are_8_to_24_pixels_wide_and_64_high(
    opener: Opener, name: str, width: int, least: float, most: float
) -> None:
    page = opener.picture(name, width)
    boxes = page.evaluate(
        "[...document.querySelectorAll('.slot rect:not(.open)')].map((each) => each.parentNode)"
        ".map((each) => [each.width.baseVal.value, each.height.baseVal.value])"
    )
    assert all(least - 0.01 <= wide <= most + 0.01 and high == 64 for wide, high in boxes)


def test_hop_takes_two_lines_on_a_phone(opener: Opener) -> None:
    page = opener.picture("mtr", 360)
    cells = page.evaluate(
        "[...document.querySelectorAll('.hops tbody tr:first-child > *')].filter((each) => each.offsetHeight)"
        ".map((each) => [each.className, Math.round(each.getBoundingClientRect().top)])"
    )
    tops = {kind.split(" ")[0]: top for kind, top in cells}
    assert tops["hop"] == tops["router"] < tops["loss"] == tops["avg"] == tops["step"]
    assert abs(tops["axis"] - tops["loss"]) < 8
    box = page.locator(".hops tbody tr").first.bounding_box()
    assert box is not None
    assert box["height"] < 60
    assert page.get_by_role("row").count() == 6  # laid out anew, it is a table still
    assert page.get_by_role("columnheader", name="Loss").count() == 1


@pytest.mark.parametrize("name", ["mtr", "board"])
@pytest.mark.parametrize("width", [360, 1440])
def test_labels_of_the_axis_stand_above_its_lines(opener: Opener, name: str, width: int) -> None:
    page = opener.picture(name, width)
    left, right = page.evaluate(
        "['thead', 'tbody tr'].map((part) => document.querySelector(`${part} .axis .range`))"
        ".map((each) => each.getBoundingClientRect()).map((box) => [box.left, box.right])"
    )
    assert left == pytest.approx(right, abs=0.6)
    labels = page.evaluate(
        "[...document.querySelectorAll('thead .range text')].map((each) => each.getBoundingClientRect())"
        ".map((box) => [box.left, box.right])"
    )
    assert all(before[1] < after[0] for before, after in itertools.pairwise(labels))


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dark + 0.05)


def test_colours_of_text_have_a_contrast_of_5_on_every_ground() -> None:
    css = resource("style.css").decode()
    part = css[css.index("/* colours */") : css.index("/* end of colours */")]
    blocks = [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in part.split("@media")]
    for colours in blocks:
        assert {"ink", "faint", "paper", "panel", "line", "rule", "data", "loss", "a", "b"} == set(colours)
        for text in ("ink", "faint", "data", "loss"):
            assert min(contrast(colours[text], colours[ground]) for ground in ("paper", "panel")) >= 5, text
        assert min(contrast(colours["ink"], colours[ground]) for ground in ("a", "b")) >= 5


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("title", "facts"), [("ping lossy.example", ping(30, pictures.LOST)), ("show route", pictures.TWO_PATHS)]
)
def test_picture_alone_has_its_styles_and_nothing_else(
    opener: Opener, title: str, facts: Any, scheme: Scheme
) -> None:
    svg = draw_alone(facts, title, OWN)
    assert svg is not None
    page = opener.alone(svg, scheme)
    paper = page.evaluate("getComputedStyle(document.querySelector('.paper')).fill")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 24, 28)"}[scheme]
    sizes = page.evaluate(
        "[...document.querySelectorAll('text')].map((each) => each.getBoundingClientRect().right"
        " <= document.documentElement.getBoundingClientRect().right)"
    )
    assert all(sizes)


def test_pictures_that_cannot_stand_alone_are_none() -> None:
    assert draw_alone(read("mtr4-raw.out"), "mtr") is None
    assert draw_alone(read("frr-r3-summary.out"), "show bgp summary") is None
    assert draw_alone(read("ping4-quiet.out"), "ping") is None
    assert draw_alone({}, "ping") is None


def test_styles_are_small() -> None:
    css = Path(__file__).parent.parent.joinpath("html/style.css").read_text()
    assert len(css[css.index("/* pictures */") : css.index("/* end of pictures */")]) <= 9216
