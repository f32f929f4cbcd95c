"""Watching an answer in a browser: verdicts, text, several routers, links to the next question."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.pages import LOSSY, RUNNING, answer, at, opened, pause, result, run, view
from tests.support import Serve, Server, gone_within, is_alive, soon, soon_gone

pytestmark = pytest.mark.browser
COUNT = "for n in range(20000): print(n, 'a line of text that is as long as they are', flush=n % 500 == 0)"
COMMANDS = {
    "ping": {"cmd4": ["echo", "{{TARGET}}"], "cmd6": ["echo", "{{TARGET}}"]},
    "show bgp": {"cmd": ["echo", "{{TARGET}}"], "argument": "asn"},
    "lines": {"cmd": ["seq", "400"]},
    "many": {"cmd": [sys.executable, "-c", COUNT]},
    "long": {"cmd": [sys.executable, "-c", "print('x' * 60000)"]},
    "slow": {"cmd": ["sh", "-c", "seq 100; sleep 1; seq 101 200; exec sleep 1000"]},
    "wait": {"cmd": ["sh", "-c", "echo begin; exec sleep 1000"]},
    "fail": {"cmd": ["sh", "-c", "echo no; exit 1"]},
}
# Let the page's questions be answered by a beginning that has no end.
HOLD = """text => { window.fetch = async () => new Response(
  new ReadableStream({ start: (controller) => controller.enqueue(new TextEncoder().encode(text)) }),
  { headers: { "Content-Type": "text/event-stream" } }) }"""
NAMES = [
    f"{name}.example" for name in ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
]


@pytest.fixture
def server(serve: Serve) -> Server:
    return serve(commands=COMMANDS, limits={"output_kib": 4096})


@pytest.fixture
def many_routers(serve: Serve, browser: Browser) -> Iterator[Page]:
    routers = [{"name": name, "commands": COMMANDS} for name in NAMES]
    with opened(browser, serve(routers=routers), viewport={"width": 1440, "height": 900}) as page:
        yield page


def scrolled(page: Page) -> float:
    """Return how many pixels of text are below what is shown."""
    found = page.evaluate(
        "() => { const box = document.querySelector('pre');"
        " return box.scrollHeight - box.clientHeight - box.scrollTop }"
    )
    return float(found)


# --- headings and verdicts


def test_answers_stand_below_each_other_under_their_own_headings(page: Page) -> None:
    run(page, "ping", "192.0.2.1")
    expect(page.locator("pre").first).to_have_text("192.0.2.1\n")
    run(page, "lines")
    expect(page.locator("h2")).to_have_text(["lines", "ping 192.0.2.1"])
    expect(page.locator("pre").last).to_have_text("192.0.2.1\n")


def test_number_of_answers_is_bounded(page: Page) -> None:
    answer(page, result())
    for number in range(15):
        run(page, "ping", f"192.0.2.{number}")
        expect(page.locator("h2").first).to_have_text(f"ping 192.0.2.{number}")
        expect(page.locator("#run")).to_be_visible()
    assert page.locator("h2").count() == 12
    expect(page.locator("h2").last).to_have_text("ping 192.0.2.3")


def test_verdict_of_the_server_is_shown_told_and_spoken(page: Page) -> None:
    answer(page, ("output", {"text": "x\n"}), view(RUNNING), view(drawing="<p>drawn</p>"), result())
    run(page, "ping", "192.0.2.1")
    expect(page.locator(".verdict")).to_have_text("◐ 37 % lost")
    expect(page.locator(".verdict")).to_have_class("verdict lossy")
    expect(page.locator(".drawing p")).to_have_text("drawn")
    expect(page.locator("#spoken")).to_have_text("37 percent lost, average 18.3 milliseconds")
    assert page.title() == "◐ 37 % lost · ping 192.0.2.1 · Looking Glass"


def test_clock_of_the_server_goes_on_in_the_page(page: Page) -> None:
    page.evaluate(HOLD, f"event: view\ndata: {json.dumps(view(RUNNING)[1])}\n\n")
    run(page, "ping", "192.0.2.1")
    expect(page.locator(".verdict")).to_have_text(re.compile(r"● running, (5\.[2-9]|[6-9]\.\d) of 30 s"))
    assert page.title().startswith("● running · ping")


def test_lost_connection_is_told_and_offers_to_ask_again(page: Page) -> None:
    asked = answer(page, ("output", {"text": "half a line"}))
    run(page, "ping", "192.0.2.1")
    expect(page.locator(".verdict")).to_have_text("⚡ connection lost")
    expect(page.locator("pre")).to_have_text("half a line")
    page.locator("#ip").fill("192.0.2.9")
    pause(page)
    page.get_by_role("button", name="Again").click()
    expect(page.locator("h2")).to_have_text(["ping 192.0.2.1"] * 2)
    assert len(asked) == 2


@pytest.mark.parametrize("broken", ["Panel.prototype.view", "keep", "offerActions"])
def test_error_of_the_script_is_no_lost_connection_and_loses_no_line(page: Page, broken: str) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    answer(page, ("output", {"text": "1\n"}), view(), ("output", {"text": "2\n"}), view(), result())
    page.evaluate(f"() => {{ {broken} = () => {{ throw new Error('meant by a test') }} }}")
    for _ in range(2):  # the page goes on
        run(page, "ping", "192.0.2.1")
        expect(page.locator("pre").first).to_have_text("1\n2\n")
        pause(page)
        assert "connection" not in page.locator(".verdict").first.inner_text()
        assert not page.locator("#status").inner_text()
    assert errors


def test_answer_without_text_has_no_empty_box(page: Page) -> None:
    answer(page, view(), result())
    run(page, "ping", "192.0.2.1")
    expect(page.locator(".verdict")).to_have_text("◐ 37 % lost")
    expect(page.locator(".text")).to_be_hidden()
    page.goto(str(page.evaluate("HOME.href")) + "?cmd=show+bgp&run=1&ip=AS1")
    expect(page.locator(".text")).to_be_visible()


def test_view_that_cannot_be_drawn_is_told(page: Page) -> None:
    answer(page, ("output", {"text": "text\n"}), view(), result())
    page.evaluate("() => { Panel.prototype.view = () => { throw new Error('meant by a test') } }")
    run(page, "ping", "192.0.2.1")
    expect(page.locator(".drawing")).to_have_text(
        "This page has failed to draw the answer. Its text goes on."
    )
    expect(page.locator(".verdict")).to_have_text("✓ done")


def test_answer_of_something_before_the_looking_glass_is_told_with_its_status(page: Page) -> None:
    page.route("**/v1/**", lambda route: route.fulfill(status=502, content_type="text/html", body="<p>proxy"))
    run(page, "ping", "192.0.2.1")
    expect(page.locator("#status")).to_contain_text("502")


def test_server_that_dies_is_a_lost_connection(page: Page, server: Server) -> None:
    run(page, "wait")
    expect(page.locator("pre")).to_contain_text("begin")
    children = server.children()
    server.process.kill()
    expect(page.locator(".verdict")).to_have_text("⚡ connection lost")
    assert soon_gone(*children)


def test_connection_over_which_not_even_a_heartbeat_comes_is_lost(page: Page, server: Server) -> None:
    run(page, "slow")
    expect(page.locator("pre")).to_contain_text("100")
    children = server.children()
    assert children
    page.evaluate("underWay.silence = SILENCE / 2")
    assert soon(lambda: page.evaluate("underWay.silence < SILENCE / 2"))  # what comes is heard
    page.evaluate("underWay.silence = SILENCE")
    expect(page.locator(".verdict")).to_have_text("⚡ connection lost")
    expect(page.get_by_role("button", name="Again")).to_be_visible()
    expect(page.locator("#run")).to_be_visible()
    assert soon_gone(*children)


def test_waiting_is_told_with_its_place(page: Page) -> None:
    answer(page, ("waiting", {"router": "x", "place": 2}))
    run(page, "ping", "192.0.2.1")
    page.wait_for_function("document.getElementById('answers').textContent.includes('connection lost')")
    words = page.evaluate("[1, 2, 3, 4, 11, 12, 13, 21, 102, 113].map(ordinal)")
    assert words == ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "113th"]


def test_waiting_is_told_with_its_reason_and_counts_down(page: Page) -> None:
    words = "… waits, 2nd in the queue, about"
    shown = f'<strong class="verdict waiting"><span>…</span>{words[1:]} 112 s</strong>'
    name, data = view(shown, '<p class="why">The limit is one.</p>')
    page.evaluate(HOLD, f"event: {name}\ndata: {json.dumps(data)}\n\n")
    run(page, "ping", "192.0.2.1")
    expect(page.locator(".why")).to_have_text("The limit is one.")
    assert page.title().startswith(words)
    expect(page.locator(".verdict")).to_have_text(re.compile(f"{words} (10[0-9]|[1-9][0-9]) s"))


def test_pressing_enter_while_it_runs_does_not_end_it(page: Page) -> None:
    run(page, "wait")
    expect(page.locator("pre")).to_contain_text("begin")
    at(page, page.evaluate("performance.now()") + 600)  # earlier it is the second press of two
    page.get_by_label("Command").select_option("ping")
    page.locator("#ip").fill("192.0.2.1")
    page.locator("#ip").press("Enter")
    expect(page.locator("#status")).to_have_text("Stop what is running first, with Stop or Esc.")
    expect(page.locator("h2")).to_have_text("wait")
    page.keyboard.press("Escape")
    expect(page.locator(".verdict")).to_have_text("■ stopped")
    expect(page.locator("#status")).to_have_text("")


def test_heading_and_stop_stay_in_view_while_the_answer_scrolls(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 640})
    run(page, "slow")
    expect(page.locator("pre")).to_contain_text("150")
    page.evaluate("scrollTo(0, document.querySelector('pre').getBoundingClientRect().top)")
    for part in ("h2", ".verdict", ".answer .stop"):
        box = page.locator(part).bounding_box()
        assert box
        assert 0 <= box["y"] <= 200
    page.locator(".answer .stop").click()
    expect(page.locator(".verdict")).to_have_text("■ stopped")


def test_fragment_of_the_server_does_not_take_the_button_from_under_the_finger(page: Page) -> None:
    run(page, "wait")
    stop = page.locator(".answer .stop")
    stop.evaluate("each => (window.kept = each)")
    page.evaluate("html => [...underWay.panels.values()][0].view(html)", view(LOSSY)[1]["html"])
    assert stop.evaluate("each => each === window.kept")
    page.keyboard.press("Escape")


# --- text


def test_text_follows_its_end_unless_the_reader_has_scrolled_up(page: Page) -> None:
    run(page, "slow")
    expect(page.locator("pre")).to_contain_text("100")
    assert soon(lambda: scrolled(page) < 2)
    page.locator("pre").hover()
    page.mouse.wheel(0, -300)
    assert soon(lambda: scrolled(page) > 100)
    page.wait_for_timeout(200)
    above = page.evaluate("document.querySelector('pre').scrollTop")
    expect(page.locator("pre")).to_contain_text("200")
    page.wait_for_timeout(100)
    assert page.evaluate("document.querySelector('pre').scrollTop") == above
    assert scrolled(page) > 100
    page.keyboard.press("Escape")


def test_text_has_a_box_of_its_own(page: Page) -> None:
    run(page, "lines")
    expect(page.locator("pre")).to_contain_text("400")
    box = page.locator("pre").bounding_box()
    assert box
    assert box["height"] <= 24 * 16
    assert page.evaluate("document.documentElement.scrollHeight") < 1500


def test_lines_are_wrapped_on_demand(page: Page) -> None:
    run(page, "long")
    expect(page.locator("pre")).to_contain_text("x" * 100)
    width = "document.querySelector('pre').scrollWidth - document.querySelector('pre').clientWidth"
    assert page.evaluate(width) > 1000
    page.get_by_label("wrap lines").check()
    assert page.evaluate(width) < 2


def test_twenty_thousand_lines_are_all_there_in_blocks(page: Page) -> None:
    run(page, "many")
    expect(page.locator("pre")).to_contain_text("19999 a line", timeout=20_000)
    lines = page.evaluate("document.querySelector('pre').textContent").splitlines()
    assert [line.split()[0] for line in lines] == [str(number) for number in range(20000)]
    blocks = page.evaluate(
        "[...document.querySelectorAll('.lines')].map(b => b.textContent.split('\\n').length)"
    )
    assert len(blocks) >= 100
    assert max(blocks) <= 201
    visibility = "getComputedStyle(document.querySelector('.lines')).contentVisibility"
    assert page.evaluate(visibility) == "auto"


def test_text_that_comes_at_once_is_cut_at_characters_and_whole(page: Page) -> None:
    text = "".join(f"{n} ä😀\n" for n in range(3000)) + "z" * 100_000 + "\n\nend"
    answer(page, ("output", {"text": text[:7]}), ("output", {"text": text[7:]}), result())
    run(page, "ping", "192.0.2.1")
    expect(page.locator("pre")).to_contain_text("end")
    assert page.evaluate("document.querySelector('pre').textContent") == text


# --- the next question


def test_addresses_and_as_numbers_lead_to_the_next_question(page: Page) -> None:
    text = "from 192.0.2.7: x [AS64511] 2001:db8::5, 300.1.1.1 00:11:22:33:44:55 15:44:25 192.0.2.7\n"
    path = '<table><tr><td class="path">64501 64511</td></tr></table>'
    answer(page, ("output", {"text": text}), view(drawing=path), result())
    run(page, "ping", "192.0.2.1")
    expect(page.locator("pre a")).to_have_text(["192.0.2.7", "AS64511", "2001:db8::5", "192.0.2.7"])
    expect(page.locator(".drawing a")).to_have_text(["64501", "64511"])
    assert page.evaluate("document.querySelector('pre').textContent") == text
    assert page.locator("pre a").evaluate_all("links => links.map(each => each.tabIndex)") == [0, 0, 0, -1]
    page.locator(".text summary").click()  # which a table has closed
    page.locator("pre a").nth(2).click()
    expect(page.locator("#ip")).to_have_value("2001:db8::5")
    expect(page.get_by_label("Command")).to_have_value("ping")
    page.locator(".drawing a").last.click()
    expect(page.locator("#ip")).to_have_value("AS64511")
    expect(page.get_by_label("Command")).to_have_value("show bgp")


def test_links_in_text_are_bounded(page: Page) -> None:
    text = "".join(f"10.0.{n // 250}.{n % 250}\n" for n in range(2000))
    answer(page, ("output", {"text": text}), result())
    run(page, "ping", "192.0.2.1")
    expect(page.locator("pre a")).to_have_count(500, timeout=10_000)
    page.wait_for_timeout(300)
    assert page.locator("pre a").count() == 500


def test_what_looks_like_an_address_over_and_over_costs_no_time(page: Page) -> None:
    for text in (":" * 50_000, "1:" * 50_000, "1." * 50_000, "a" * 50_000, "AS1" * 20_000):
        started = time.monotonic()
        page.evaluate("text => [...text.matchAll(TARGETS)].length", text)
        assert time.monotonic() - started < 15


# --- several routers


@pytest.mark.parametrize(("number", "columns"), [(2, 2), (3, 2), (4, 2)])
def test_few_routers_stand_in_columns(many_routers: Page, number: int, columns: int) -> None:
    page = many_routers
    names = NAMES[:number]
    events = [
        event
        for name in names
        for event in (
            ("output", {"router": name, "text": f"by {name}\n"}),
            ("view", {"router": name, **view()[1]}),
            ("result", {"router": name, **result(router=name)[1]}),
        )
    ]
    answer(page, *events, ("result", {"status": "success", "data": {"answers": []}}))
    page.get_by_text("and from others").click()
    for name in names[1:]:
        page.get_by_label(name).check()
    run(page, "ping", "192.0.2.1")
    for name in names:
        expect(page.locator(f'[data-router="{name}"] pre')).to_have_text(f"by {name}\n")
    expect(page.locator(".verdict")).to_have_text(["◐ 37 % lost"] * number)
    places = page.locator(".answer").evaluate_all("all => all.map(each => each.getBoundingClientRect().x)")
    assert len(set(places)) == columns
    assert page.title().startswith(f"{number} of {number} done")
    page.set_viewport_size({"width": 360, "height": 800})
    places = page.locator(".answer").evaluate_all("all => all.map(each => each.getBoundingClientRect().x)")
    assert len(set(places)) == 1


def test_connection_that_is_lost_ends_only_what_had_not_ended(many_routers: Page) -> None:
    page = many_routers
    answer(page, ("result", {"router": "one.example", **result(router="one.example")[1]}))
    page.get_by_text("and from others").click()
    page.get_by_label("two.example").check()
    run(page, "ping", "192.0.2.1")
    expect(page.locator(".verdict")).to_have_text(["✓ done", "⚡ connection lost"])


def ask_all(page: Page, names: list[str], command: str, target: str | None = None) -> None:
    page.get_by_text("and from others").click()
    for name in names[1:]:
        page.get_by_label(name).check()
    run(page, command, target)


def test_many_routers_are_a_board_whose_rows_open_the_whole_answers(many_routers: Page) -> None:
    page = many_routers
    ask_all(page, NAMES, "ping", "192.0.2.1")
    rows = page.locator(".board tbody tr")
    expect(rows).to_have_count(9)
    expect(page.locator(".board .standing")).to_have_text(["State", *["✓ done"] * 9])
    expect(page.locator(".many h2:visible")).to_have_text("ping 192.0.2.1")  # said once for all
    expect(page.locator("pre:visible")).to_have_count(0)
    expect(page.locator(".many .verdict").first).to_have_text("9 done")
    expect(page.locator(".why:visible")).to_have_count(0)
    opener = page.get_by_role("button", name="five.example")
    opener.press("Enter")
    expect(opener).to_have_attribute("aria-expanded", "true")
    expect(page.locator(".answer:visible")).to_have_count(2)
    expect(page.locator("pre:visible")).to_have_text("192.0.2.1\n")
    rows.nth(4).click()
    expect(opener).to_have_attribute("aria-expanded", "false")
    expect(page.locator("pre:visible")).to_have_count(0)


def test_board_that_goes_on_leaves_what_is_focused(many_routers: Page) -> None:
    page = many_routers
    ask_all(page, NAMES, "wait")
    expect(page.locator(".board .running").first).to_be_visible()
    expect(page.locator(".why:visible")).to_have_text("The limit is 4 routers of a question at once.")
    opener = page.get_by_role("button", name="two.example")
    opener.press("Enter")
    opener.evaluate("each => (window.held = each)")
    page.locator('[data-router="two.example"]').get_by_role("button", name="Stop").click()
    expect(page.locator(".board .standing").nth(2)).to_have_text("■ stopped")
    opener.focus()
    page.get_by_role("button", name="Stop all").last.click()
    expect(page.locator(".board .standing").nth(1)).to_have_text("■ stopped")
    expect(page.locator(".why:visible")).to_have_count(0)
    assert opener.evaluate("each => each === window.held && each.isConnected")
    expect(page.get_by_role("button", name="Stop all")).to_have_count(0)


def test_connection_that_is_lost_at_once_shows_the_answers_without_a_board(many_routers: Page) -> None:
    page = many_routers
    answer(page, ("output", {"router": "one.example", "text": "by one\n"}))
    ask_all(page, NAMES, "ping", "192.0.2.1")
    expect(page.locator("pre").first).to_have_text("by one\n")
    expect(page.locator(".answer .verdict", has_text="connection lost")).to_have_count(9)


# --- one of several is stopped


def test_one_of_two_routers_is_stopped_and_is_kept(serve: Serve, browser: Browser) -> None:
    server = serve(routers=[{"name": name, "commands": COMMANDS} for name in NAMES[:2]])
    with opened(browser, server) as page:
        ask_all(page, NAMES[:2], "wait")
        expect(page.locator("pre")).to_have_text(["begin\n"] * 2)
        # one Run for both would be shared: the routers have the same argv
        before = server.wait_for_children()
        first, second = (page.locator(f'[data-router="{name}"]') for name in NAMES[:2])
        first.get_by_role("button", name="Stop").click()
        expect(first.locator(".verdict")).to_have_text("■ stopped")
        expect(first.get_by_role("link", name="Link")).to_have_attribute("href", re.compile("/results/"))
        expect(second.locator(".verdict")).to_contain_text("running")
        assert len(before) == 2
        assert soon(lambda: sum(map(is_alive, before)) == 1)
        assert not gone_within(0.5, *before)
        second.get_by_role("button", name="Stop").click()
        expect(second.locator(".verdict")).to_have_text("■ stopped")
        assert soon_gone(*before)
        expect(page.locator("#run")).to_be_visible()


def test_router_that_another_process_asks_is_hidden_and_the_page_says_so(many_routers: Page) -> None:
    page = many_routers
    page.route("**/stop/*", lambda route: route.fulfill(status=404, body="{}"))
    ask_all(page, NAMES[:2], "wait")
    first, second = (page.locator(f'[data-router="{name}"]') for name in NAMES[:2])
    first.get_by_role("button", name="Stop").click()
    expect(first.locator(".verdict")).to_contain_text("hidden; another process")
    expect(second.locator(".verdict")).to_contain_text("running")
    second.get_by_role("button", name="Stop").click()
    expect(page.locator("#run")).to_be_visible()
