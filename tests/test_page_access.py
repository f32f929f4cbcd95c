"""The page for everyone: axe, keyboard alone, zoom, paper, reduced motion, names from right to left."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from lookingglass.pictures import draw
from lookingglass.pictures.board import Row, board
from lookingglass.pictures.verdicts import of_outcome
from tests.pages import LOSSY, RUNNING, answer, opened, refuse, result, run, view
from tests.support import Serve, Server

pytestmark = pytest.mark.browser
ECHO = {"cmd4": ["echo", "{{TARGET}}"], "cmd6": ["echo", "{{TARGET}}"], "description": "Say it"}
WAIT = {"cmd": ["sh", "-c", "echo begin; exec sleep 1000"], "description": "Wait"}
BACKWARDS = "\u202e\u05d0\u05d1\u05d2 <b>&amp;\u202c"
COMMANDS = {"echo": ECHO, "wait": WAIT, "vrf": {"cmd": ["echo", "{{VRF}}"]}}
ROUTERS = [
    {"name": "one.example", "city": "Berlin", "country": "de", "source4": "192.0.2.1", "vrfs": ["red"]},
    {"name": "two.example", "city": BACKWARDS, "vrfs": ["red"]},
    *({"name": f"r{number}.example", "vrfs": ["red"]} for number in range(3, 7)),
]
REPLIES = [
    {"seq": seq, "rtt": 9 + seq % 4, "ttl": 60, "address": "192.0.2.1"} for seq in range(1, 31) if seq % 5
]
PINGED = {"output": [], "sent": 30, "received": 24, "min": 9.0, "avg": 10.4, "max": 12.0, "replies": REPLIES}
PING = draw(PINGED, True)
HOPS = [{"hop": hop, "address": f"192.0.2.{hop}", "name": "x" * 40, "loss": 0.0, "sent": 5, "best": 1.0 * hop,
         "avg": 1.5 * hop, "worst": 2.0 * hop, "last": 1.0, "stdev": 0.1} for hop in range(1, 8)]  # fmt: skip
MTR = draw({"hops": HOPS}, True)
LONGEST = "2001:db8:1111:2222:3333:4444:5555:6666"
PING6 = draw({**PINGED, "replies": [{**reply, "address": LONGEST} for reply in REPLIES]}, True)
DRAWN = {
    "ping": PING.figures + PING.picture,
    "ping6": PING6.figures + PING6.picture,
    "mtr": MTR.figures + MTR.picture,
}
NAMES = [
    "ber1.lg.example.net",
    "fra1-core-router-17.frankfurt-am-main.example.net",
    "rechenzentrum.neustadtanderweinstrasse.example.net",
    "ae1.as64500.example",
    "r5.example",
    "r6.example",
]
# The lines on which elements stand.
LINES = """(elements) => elements.map((element) => {
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    const range = document.createRange(), lines = [];
    for (let bottom = -1; walker.nextNode(); ) {
        [...walker.currentNode.data].forEach((letter, at) => {
            range.setStart(walker.currentNode, at);
            range.setEnd(walker.currentNode, at + 1);
            const box = range.getBoundingClientRect();
            if (box.top >= bottom) lines.push("");
            bottom = box.bottom - 1;
            lines.push(lines.pop() + letter);
        });
    }
    return lines;
})"""
LOOKS = [(360, "light"), (360, "dark"), (1024, "light"), (1920, "dark")]


def shown(page: Page, drawing: str) -> None:
    """Have an answer on the page with a drawing."""
    answer(page, ("output", {"text": "from 192.0.2.7\n" * 50}), view(drawing=drawing), result())
    run(page, "echo", "192.0.2.1")
    expect(page.get_by_role("button", name="Again").first).to_be_visible()
    expect(page.locator("pre a").first).to_be_attached()


def blank(page: Page) -> None:
    pass


def with_others(page: Page) -> None:
    page.get_by_text("and from others").click()


def wrong(page: Page) -> None:
    page.get_by_text("and from others").click()
    run(page, "echo", "")


def refused(page: Page) -> None:
    refuse(page, 429, "Too fast.", **{"Retry-After": "30"})
    run(page, "echo", "192.0.2.1")


def with_vrf(page: Page) -> None:
    page.get_by_label("Command").select_option("vrf")


def running(page: Page) -> None:
    run(page, "wait")
    expect(page.locator("pre")).to_contain_text("begin")
    page.evaluate("html => [...underWay.panels.values()][0].view(html)", view(RUNNING)[1]["html"])


def ping(page: Page) -> None:
    shown(page, DRAWN["ping"])


def ping6(page: Page) -> None:
    shown(page, DRAWN["ping6"])


def mtr(page: Page) -> None:
    shown(page, DRAWN["mtr"])


def menu(page: Page) -> None:
    home = page.url.partition("?")[0]
    answer(page, view(), result(result=f"{home}results/{'a' * 22}"))
    run(page, "echo", "192.0.2.1")
    page.get_by_text("More").click()


def twice(page: Page) -> None:
    shown(page, DRAWN["ping"])
    shown(page, DRAWN["mtr"])


def lost(page: Page) -> None:
    answer(page, ("output", {"text": "x"}))
    run(page, "echo", "192.0.2.1")
    expect(page.locator(".verdict")).to_contain_text("lost")


def gone(page: Page) -> None:
    answer(page, view(), result(result=f"{page.url}results/{'a' * 22}"))
    run(page, "echo", "192.0.2.1")
    expect(page.get_by_role("link", name="Link")).to_be_visible()
    expect(page.locator("#run")).to_be_visible()
    page.reload()
    expect(page.locator("#gone a")).to_be_visible()


def four(page: Page) -> None:
    several(page, 4)


def six(page: Page) -> None:
    several(page, 6)


def several(page: Page, number: int) -> None:
    names = [str(router["name"]) for router in ROUTERS[:number]]
    rows = [Row(name, "Berlin DE", of_outcome(200, {"data": PINGED}), PINGED, True) for name in names]
    views = [("view", {"router": name, **view(drawing=DRAWN["ping"])[1]}) for name in names]
    answer(page, *views, *([("view", {"html": board(rows)})] if number > 4 else []))
    ask(page, number)
    if number > 4:
        page.locator(".board tbody tr").nth(1).click()
    expect(page.locator(".answer:visible")).to_have_count(2 if number > 4 else number)


def ask(page: Page, number: int) -> None:
    """Ask that many routers."""
    page.get_by_text("and from others").click()
    for box in page.locator("#others input").all()[1:number]:
        box.check()
    run(page, "echo", "192.0.2.1")


STATES: list[Callable[[Page], None]] = [
    *(
        blank,
        with_others,
        with_vrf,
        wrong,
        refused,
        running,
        ping,
        ping6,
        mtr,
        menu,
        twice,
        lost,
        gone,
        four,
        six,
    )
]


@pytest.fixture
def server(serve: Serve) -> Server:
    return serve(
        routers=[{**router, "commands": COMMANDS} for router in ROUTERS], info={"contact": "a@b.example"}
    )


def overflow(page: Page) -> int:
    """Return how many pixels the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_axe_finds_nothing_and_nothing_is_wider_than_the_window(
    browser: Browser, server: Server, state: Callable[[Page], None]
) -> None:
    for width, scheme in LOOKS:
        options: dict[str, Any] = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
        with opened(browser, server, **options) as page:
            state(page)
            found = Axe().run(page).response["violations"]
            told = [(each["id"], [node["target"] for node in each["nodes"]][:3]) for each in found]
            assert (width, scheme, told) == (width, scheme, [])
            assert overflow(page) <= 0
            page.goto("about:blank")


@pytest.mark.parametrize("percent", [200, 400])
@pytest.mark.parametrize(
    "state", [with_others, wrong, ping, ping6, mtr, menu], ids=lambda state: state.__name__
)
def test_zoomed_page_needs_no_scrolling_in_two_directions(
    browser: Browser, server: Server, state: Callable[[Page], None], percent: int
) -> None:
    # WCAG 2.2, 1.4.10: 1280 pixels at 400 % are 320
    size = {"width": 1280 * 100 // percent, "height": 1024 * 100 // percent}
    with opened(browser, server, viewport=size, device_scale_factor=percent / 100) as page:
        state(page)
        assert overflow(page) <= 0
        page.locator("#ip").scroll_into_view_if_needed()
        expect(page.locator("#ip")).to_be_in_viewport()


@pytest.mark.parametrize("width", [320, 360])
@pytest.mark.parametrize("state", [mtr, six], ids=lambda state: state.__name__)
def test_labels_of_an_axis_stand_clear_of_each_other(
    browser: Browser, server: Server, state: Callable[[Page], None], width: int
) -> None:
    with opened(browser, server, viewport={"width": width, "height": 800}) as page:
        state(page)
        boxes = [each.bounding_box() for each in page.locator("thead .range text:visible").all()]
        places = [(box["x"], box["x"] + box["width"]) for box in boxes if box]
        assert len(places) == 2 + (width == 360)
        assert all(end < begin for (_, end), (begin, _) in itertools.pairwise(places))


@pytest.mark.parametrize("width", [320, 360, 414, 768])
def test_names_on_the_board_break_behind_dots_and_dashes_where_they_have_to(
    browser: Browser, server: Server, width: int
) -> None:
    good = of_outcome(200, {"data": PINGED})
    drawn = board([Row(name, "Neustadt an der Weinstraße DE", good, PINGED, True) for name in NAMES])
    with opened(browser, server, viewport={"width": width, "height": 800}) as page:
        answer(page, ("view", {"html": drawn}))
        ask(page, len(NAMES))
        names = page.locator(".board tbody .router bdi")
        expect(names).to_have_count(len(NAMES))
        lines: list[list[str]] = names.evaluate_all(LINES)
    assert ["".join(each) for each in lines] == NAMES
    assert all(line.endswith((".", "-")) for each in lines for line in each[:-1])
    assert all(len(each) == 1 for each in lines if width == 768 or len("".join(each)) < 30)


def test_everything_is_done_with_the_keyboard_alone(page: Page) -> None:
    answer(page, ("output", {"text": "from 192.0.2.7\n"}), view(), result())
    page.keyboard.press("Tab")
    expect(page.get_by_label("From", exact=True)).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Command")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#ip")).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.type("192.0.2.1")
    page.keyboard.press("Enter")
    expect(page.locator(".verdict")).to_contain_text("37 %")
    expect(page.locator("#ip")).to_be_focused()
    seen = []
    outlines = set()
    for _ in range(16):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            break
        outlines.add(page.evaluate("getComputedStyle(document.activeElement).outlineStyle"))
        seen.append(page.evaluate("document.activeElement.textContent || document.activeElement.tagName"))
    for name in ("Run", "and from others", "Copy", "Link", "Again", "More", "Text", "192.0.2.7"):
        assert name in seen
    assert "none" not in outlines


def test_paper_shows_the_whole_text_and_no_controls(page: Page, tmp_path: Path) -> None:
    shown(page, DRAWN["mtr"])
    page.locator(".text summary").click()
    page.set_viewport_size({"width": 718, "height": 1000})  # A4 without its margins, at 96 pixels an inch
    page.emulate_media(media="print")
    assert overflow(page) <= 0
    for part in ("#form", ".actions", "footer"):
        expect(page.locator(part)).to_be_hidden()
    cut = page.evaluate("(box => box.scrollHeight - box.clientHeight)(document.querySelector('pre'))")
    assert cut <= 0
    wide = page.locator(".hops").evaluate("table => table.scrollWidth - table.parentElement.clientWidth")
    assert wide <= 0
    page.pdf(path=str(tmp_path / "page.pdf"), format="A4")
    assert (tmp_path / "page.pdf").stat().st_size > 5000


def test_reduced_motion_ticks_once_a_second(browser: Browser, server: Server) -> None:
    with opened(browser, server, reduced_motion="reduce") as page:
        run(page, "wait")
        expect(page.locator(".verdict")).to_have_text(re.compile("● running, [1-9] of 30 s"))
        moving = "document.getAnimations().length"
        assert page.evaluate(moving) == 0
        page.keyboard.press("Escape")


def test_names_from_right_to_left_turn_nothing_around(page: Page) -> None:
    page.get_by_label("From", exact=True).select_option("two.example")
    answer(page, view(f'{LOSSY}<span class="when">\u202enow</span>', title=f"echo {BACKWARDS}"), result())
    run(page, "echo", "192.0.2.1")
    expect(page.locator("h2")).to_be_visible()
    places = [page.locator(part).bounding_box() for part in ("h2", ".place", ".verdict", ".when")]
    lefts = [place["x"] for place in places if place]
    assert lefts == sorted(lefts)
    assert page.locator("h2 b").count() == 1  # the server's markup is not the script's concern
