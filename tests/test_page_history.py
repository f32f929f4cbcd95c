"""The browser's Back and Forward on the page: they step through the questions, and never ask one."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from conftest import CHROMIUM
from tests.pages import answer, opened, pause, refuse, result, run
from tests.support import Serve, Server, soon_gone

pytestmark = pytest.mark.browser
ECHO = {"cmd4": ["echo", "{{TARGET}}"], "cmd6": ["echo", "{{TARGET}}"]}
WAIT = {"cmd": ["sh", "-c", "echo begin; exec sleep 1000"]}
LOOK = {"cmd4": ["echo", "four in {{VRF}}"], "cmd6": ["echo", "six in {{VRF}}"]}
COMMANDS = {"echo": ECHO, "wait": WAIT, "look": LOOK}
ROUTERS = [
    {"name": "one.example", "city": "Berlin", "country": "de", "vrfs": ["red", "blue"], "commands": COMMANDS},
    {"name": "two.example", "vrfs": ["red", "blue"], "commands": COMMANDS},
]
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 640}
both = pytest.mark.parametrize("page", [DESKTOP, PHONE], ids=["desktop", "phone"], indirect=True)


@pytest.fixture
def server(serve: Serve) -> Server:
    return serve(routers=ROUTERS)


@pytest.fixture
def page(request: pytest.FixtureRequest, browser: Browser, server: Server) -> Iterator[Page]:
    with opened(browser, server, viewport=getattr(request, "param", DESKTOP)) as page:
        yield page


def asked(page: Page) -> list[str]:
    """Return the list to which each question goes that the page asks from now on."""
    urls: list[str] = []

    def note(url: str) -> None:
        if "/v1/" in url or "run=1" in url:
            urls.append(url)

    page.on("request", lambda request: note(request.url))
    return urls


def echo(page: Page, target: str) -> None:
    """Ask, and wait for the answer's end."""
    run(page, "echo", target)
    expect(page.locator("h2:visible").first).to_have_text(f"echo {target}")
    expect(page.locator("#run")).to_be_visible()


def three(page: Page) -> list[str]:
    """Ask three questions; return the list of those that are asked later."""
    for number in (1, 2, 3):
        echo(page, f"192.0.2.{number}")
    return asked(page)


def shown(page: Page, *targets: str) -> None:
    """Expect the answers to these targets only, and the first one's question in form and address."""
    expect(page.locator("h2:visible")).to_have_text([f"echo {target}" for target in targets])
    expect(page.locator("#ip")).to_have_value(targets[0])
    assert f"ip={targets[0]}&" in page.url


@both
def test_back_and_forward_step_through_the_questions_and_ask_nothing(page: Page) -> None:
    home = page.url
    later = three(page)
    shown(page, "192.0.2.3", "192.0.2.2", "192.0.2.1")
    page.go_back()
    shown(page, "192.0.2.2", "192.0.2.1")
    assert re.fullmatch(r"✓ .* · echo 192\.0\.2\.2 · Looking Glass", page.title())
    expect(page.locator("#spoken")).to_have_text(re.compile("^echo 192.0.2.2: "))
    expect(page.locator("h2:visible").first).to_be_in_viewport()
    page.go_back()
    shown(page, "192.0.2.1")
    page.go_back()
    assert page.url == home
    expect(page.locator("#ip")).to_have_value("127.0.0.1")
    expect(page.locator(".answer:visible, #gone")).to_have_count(0)
    assert page.title() == "Looking Glass"
    page.go_forward()
    page.go_forward()
    shown(page, "192.0.2.2", "192.0.2.1")
    page.go_forward()
    shown(page, "192.0.2.3", "192.0.2.2", "192.0.2.1")
    expect(page.locator("pre").first).to_have_text("192.0.2.3\n")
    assert later == []


def test_next_question_after_going_back_leaves_no_answer_hidden(page: Page) -> None:
    three(page)
    page.go_back()
    page.go_back()
    shown(page, "192.0.2.1")
    echo(page, "192.0.2.4")
    shown(page, "192.0.2.4", "192.0.2.3", "192.0.2.2", "192.0.2.1")
    page.go_back()
    shown(page, "192.0.2.1")
    page.go_forward()
    shown(page, "192.0.2.4", "192.0.2.3", "192.0.2.2", "192.0.2.1")


def test_equal_question_again_has_no_entry_of_its_own(page: Page) -> None:
    echo(page, "192.0.2.1")
    length = page.evaluate("history.length")
    pause(page)
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("h2")).to_have_count(2)
    pause(page)
    page.get_by_role("button", name="Again").first.click()
    expect(page.locator("h2")).to_have_count(3)
    assert page.evaluate("history.length") == length
    expect(page.locator("#run")).to_be_visible()
    page.go_back()
    expect(page.locator("h2:visible")).to_have_count(0)
    page.go_forward()
    expect(page.locator("h2:visible")).to_have_count(3)


def test_form_is_as_it_was_with_routers_family_and_vrf(page: Page) -> None:
    page.get_by_label("From", exact=True).select_option("two.example")
    page.get_by_text("and from others").click()
    page.get_by_label("one.example, Berlin DE").check()
    page.get_by_label("IPv6").check()
    page.get_by_label("Command").select_option("look")
    page.get_by_label("VRF").select_option("blue")
    run(page)
    expect(page.locator("pre")).to_have_text(["six in blue\n"] * 2)
    expect(page.locator("#run")).to_be_visible()
    url = page.url
    page.get_by_label("From", exact=True).select_option("one.example")
    page.get_by_label("two.example").uncheck()
    page.get_by_label("any").check()
    echo(page, "192.0.2.1")
    page.locator("#ip").fill("not asked")
    page.go_back()
    assert page.url == url
    expect(page.get_by_label("From", exact=True)).to_have_value("two.example")
    expect(page.get_by_label("one.example, Berlin DE")).to_be_checked()
    expect(page.get_by_label("IPv6")).to_be_checked()
    expect(page.get_by_label("Command")).to_have_value("look")
    expect(page.get_by_label("VRF")).to_have_value("blue")
    expect(page.locator("#ip")).to_be_hidden()
    expect(page.locator("h2:visible")).to_have_text(["look"] * 2)
    assert page.title().startswith("2 of 2 done")
    page.go_forward()
    shown_one = page.locator("h2:visible").first
    expect(shown_one).to_have_text("echo 192.0.2.1")
    expect(page.locator("#ip")).to_have_value("192.0.2.1")  # and not what was never asked


@both
def test_leaving_a_question_that_runs_stops_it(page: Page, server: Server) -> None:
    echo(page, "192.0.2.1")
    run(page, "wait")
    expect(page.locator("pre").first).to_contain_text("begin")
    children = server.children()
    assert children
    later = asked(page)
    page.go_back()
    shown(page, "192.0.2.1")
    assert soon_gone(*children)
    expect(page.locator("#run")).to_be_visible()
    expect(page.locator("#spoken")).to_have_text(re.compile("^wait is stopped. echo 192.0.2.1: "))
    assert page.title().endswith(" · echo 192.0.2.1 · Looking Glass")
    page.go_forward()
    expect(page.locator(".verdict:visible").first).to_have_text("■ stopped")
    expect(page.get_by_label("Command")).to_have_value("wait")
    assert page.title() == "■ stopped · wait · Looking Glass"
    assert server.children() == set()
    assert later == []


@both
def test_answer_that_the_page_holds_no_more_is_asked_again_on_demand_only(page: Page) -> None:
    answer(page, result())
    for number in range(14):
        run(page, "echo", f"192.0.2.{number}")
        expect(page.locator("h2").first).to_have_text(f"echo 192.0.2.{number}")
        expect(page.locator("#run")).to_be_visible()
    later = asked(page)
    page.evaluate("history.go(-13)")
    expect(page.locator("#ip")).to_have_value("192.0.2.0")
    expect(page.locator("#gone")).to_have_text(re.compile("^This page holds no answer to echo 192.0.2.0. "))
    expect(page.locator("#spoken")).to_have_text("This page holds no answer to echo 192.0.2.0.")
    assert page.title() == "echo 192.0.2.0 · Looking Glass"
    expect(page.locator("h2:visible")).to_have_count(0)
    assert later == []
    page.locator("#ip").fill("192.0.2.99")
    page.get_by_role("button", name="Ask again").press("Enter")
    expect(page.locator("h2").first).to_have_text("echo 192.0.2.0")
    expect(page.locator("#gone")).to_have_count(0)
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_focused()
    assert len(later) == 1


def test_reload_and_back_to_a_page_before_it_run_nothing_and_lead_to_kept_answers(
    page: Page, server: Server
) -> None:
    three(page)
    later = asked(page)
    page.reload()
    expect(page.locator("#ip")).to_have_value("192.0.2.3")
    expect(page.locator("#gone")).to_contain_text("This page holds no answer to echo 192.0.2.3. It is kept:")
    assert page.title() == "echo 192.0.2.3 · Looking Glass"
    echo(page, "192.0.2.4")
    expect(page.locator("#gone")).to_have_count(0)
    assert len(later) == 1
    page.go_back()
    page.go_back()
    expect(page.locator("#ip")).to_have_value("192.0.2.2")
    expect(page.locator("h2:visible")).to_have_count(0)
    page.locator("#gone").get_by_role("link", name="one.example, Berlin DE").click()
    expect(page.locator("h1")).to_have_text("Frozen: echo 192.0.2.2")
    page.go_back()
    expect(page.locator("#ip")).to_have_value("192.0.2.2")
    expect(page.locator("#gone")).to_contain_text("It is kept:")
    assert len(later) == 1


def test_question_that_was_refused_leaves_no_entry_behind(page: Page) -> None:
    echo(page, "192.0.2.1")
    length = page.evaluate("history.length")
    run(page, "echo", "-c1")
    expect(page.locator("#error")).to_have_text(re.compile("This command's target is"))
    assert "ip=-c1&" in page.url  # as ever, the address has what was asked
    refuse(page, 429, "Too fast.", **{"Retry-After": "1"})
    run(page, "echo", "192.0.2.3")
    expect(page.locator("#status")).to_have_text("⏳ Too fast.")
    page.unroute_all()
    expect(page.locator("#run")).to_have_text("Run")
    echo(page, "192.0.2.2")
    assert page.evaluate("history.length") == length + 1
    pause(page)
    refuse(page, 503, "Too busy.", **{"Retry-After": "1"})
    page.get_by_role("button", name="Run", exact=True).click()  # again what has been answered
    expect(page.locator("#status")).to_have_text("⏳ Too busy.")
    page.unroute_all()
    expect(page.locator("#run")).to_have_text("Run")
    echo(page, "192.0.2.3")
    assert page.evaluate("history.length") == length + 2
    page.go_back()
    shown(page, "192.0.2.2", "192.0.2.1")
    page.go_back()
    shown(page, "192.0.2.1")


def test_refusal_that_comes_too_late_is_not_told_at_another_question(page: Page) -> None:
    echo(page, "192.0.2.1")
    page.evaluate("""() => { window.fetch = async () => ({ status: 400, headers: new Headers(),
      json: () => new Promise((tell) => (window.tell = tell)) }) }""")
    run(page, "echo", "-c1")
    page.go_back()
    shown(page, "192.0.2.1")
    page.evaluate("tell({ message: 'This is no target.' })")
    expect(page.locator("#run")).to_be_visible()
    expect(page.locator("#error, #status")).to_have_text(["", ""])
    expect(page.locator("#ip")).not_to_have_attribute("aria-invalid", "true")
    page.go_forward()
    expect(page.locator("#ip")).to_have_value("-c1")
    expect(page.get_by_role("button", name="Ask again")).to_be_visible()


def test_keyboard_steps_back_and_forward_and_keeps_its_place(page: Page) -> None:
    for number in (1, 2):
        page.locator("#ip").fill(f"192.0.2.{number}")
        page.locator("#ip").press("Enter")
        expect(page.locator("h2").first).to_have_text(f"echo 192.0.2.{number}")
        expect(page.locator("#run")).to_be_visible()
    page.go_back()
    shown(page, "192.0.2.1")
    expect(page.locator("#ip")).to_be_focused()
    page.go_forward()
    shown(page, "192.0.2.2", "192.0.2.1")
    page.locator(".answer").first.get_by_role("button", name="Copy").focus()
    page.go_back()  # which hides what has the focus
    shown(page, "192.0.2.1")
    expect(page.locator("h2:visible")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator(".answer:visible").get_by_role("button", name="Copy")).to_be_focused()
    page.go_back()
    expect(page.get_by_label("Command")).to_be_focused()


def test_focus_on_an_answer_that_runs_and_is_left_goes_to_the_form(page: Page) -> None:
    run(page, "wait")
    expect(page.locator("pre")).to_contain_text("begin")
    page.locator(".answer .stop").focus()
    page.go_back()
    expect(page.get_by_label("Command")).to_be_focused()
    expect(page.locator(".answer:visible")).to_have_count(0)
    expect(page.locator("#run")).to_be_visible()


def test_answer_that_was_streamed_is_shown_where_it_was_and_its_address_runs_nothing_again(
    page: Page,
) -> None:
    page.goto(f"{page.url}?ip=192.0.2.7&cmd=echo&run=1")
    expect(page.get_by_role("button", name="Copy", exact=True)).to_be_visible()
    assert page.url.endswith("/?ip=192.0.2.7&cmd=echo")
    echo(page, "192.0.2.1")
    later = asked(page)
    page.go_back()
    expect(page.locator("h2:visible")).to_have_text("echo 192.0.2.7")
    expect(page.locator("#gone")).to_have_count(0)
    page.reload()
    expect(page.locator("#ip")).to_have_value("192.0.2.7")
    expect(page.locator("#gone")).to_contain_text("It is kept:")
    expect(page.locator("#gone a")).to_have_text("one.example, Berlin DE")
    page.goto("about:blank")
    page.go_back()
    expect(page.locator("#ip")).to_have_value("192.0.2.7")
    assert later == []


def test_address_changed_by_hand_disturbs_nothing(page: Page) -> None:
    echo(page, "192.0.2.1")
    run(page, "wait")
    expect(page.locator("pre").first).to_contain_text("begin")
    page.evaluate("location.hash = '#x'")
    expect(page.locator(".verdict").first).to_contain_text("running")
    page.keyboard.press("Escape")
    expect(page.locator(".verdict").first).to_have_text("■ stopped")


# --- pages that the browser keeps as they are (bfcache), or in its cache of files


def test_page_that_the_browser_freezes_has_stopped_what_ran(browser: Browser, server: Server) -> None:
    own = browser.browser_type.launch(
        executable_path="/usr/bin/chromium",
        args=CHROMIUM,
        ignore_default_args=["--disable-back-forward-cache"],
    )
    for path in ("", "?ip=192.0.2.1&cmd=echo"):
        with opened(own, server, path) as page:
            page.evaluate("addEventListener('pageshow', (event) => (window.wasFrozen = event.persisted))")
            run(page, "wait")
            expect(page.locator("pre")).to_contain_text("begin")
            children = server.children()
            assert children
            page.evaluate("url => (location.href = url)", f"http://127.0.0.1:{server.port}/healthz")
            page.wait_for_url("**/healthz")
            assert soon_gone(*children)
            later = asked(page)
            page.evaluate("history.back()")
            expect(page.locator(".verdict")).to_have_text("■ stopped")
            assert page.evaluate("wasFrozen") is True
            expect(page.get_by_label("Command")).to_have_value("wait")
            assert page.title() == "■ stopped · wait · Looking Glass"
            assert (server.children(), later) == (set(), [])
            echo(page, "192.0.2.1")  # the page goes on
    own.close()


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_going_back_to_an_answer_that_was_streamed_runs_nothing(
    browser: Browser, server: Server, script: bool
) -> None:
    with opened(browser, server, "?ip=192.0.2.7&cmd=echo&run=1", script=script) as page:
        identity = page.get_by_role("link", name="Link").get_attribute("href")
        page.goto(f"http://127.0.0.1:{server.port}/healthz")
        page.go_back()
        kept = page.locator("#gone a") if script else page.get_by_role("link", name="Link")
        expect(kept).to_have_attribute("href", identity or "")
