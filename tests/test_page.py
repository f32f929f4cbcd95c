"""The page in a real browser, with and without JavaScript."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.pages import at, opened, pause, run
from tests.support import Serve, Server, soon_gone

pytestmark = pytest.mark.browser
HOSTILE = ["printf", "<img src=x onerror=alert(1)>\\n<script>document.title = 1</script>\\n\\033]0;x\\007"]
COMMANDS = {
    "ping": {
        "cmd4": ["ping", "-4", "-n", "-c", "5", "-i", "0.3", "{{TARGET}}"],
        "description": "Ping a host",
    },
    "hostile": {"cmd": HOSTILE},
    "wait": {"cmd": ["sh", "-c", "echo begin; exec sleep 1000"]},
    "fail": {"cmd": ["sh", "-c", "echo no; exit 1"]},
    "lines": {"cmd": ["seq", "60"]},
}
ROUTERS = [
    {"name": "one.example", "commands": COMMANDS},
    {
        "name": "two.example",
        "vrfs": ["mgmt", "red"],
        "commands": {
            "ping": COMMANDS["ping"],
            "summary": {"cmd": ["echo", "well"]},
            "look": {"cmd4": ["echo", "four in {{VRF}}"], "cmd6": ["echo", "six in {{VRF}}"]},
        },
    },
]


@pytest.fixture
def server(serve: Serve) -> Server:
    return serve(routers=ROUTERS)


@pytest.fixture(params=[True, False], ids=["script", "no script"])
def any_page(request: pytest.FixtureRequest, browser: Browser, server: Server) -> Iterator[Page]:
    with opened(browser, server, script=request.param) as page:
        yield page


@pytest.fixture
def plain_page(browser: Browser, server: Server) -> Iterator[Page]:
    with opened(browser, server, script=False) as page:
        yield page


def test_ping_runs_to_its_end(any_page: Page) -> None:
    any_page.locator("#ip").fill("127.0.0.1")
    any_page.get_by_role("button", name="Run").click()
    expect(any_page.locator("pre")).to_contain_text("5 packets transmitted, 5 received", timeout=10_000)


def test_visitors_address_is_filled_in(any_page: Page) -> None:
    expect(any_page.locator("#ip")).to_have_value("127.0.0.1")


def test_output_is_live_with_elapsed_time(page: Page) -> None:
    page.get_by_role("button", name="Run").click()
    expect(page.locator("pre")).to_contain_text("icmp_seq=1")
    assert "transmitted" not in page.locator("pre").inner_text()
    expect(page.locator(".verdict")).to_have_text(re.compile(r"● running, \d\.\d( of 30)? s"))
    expect(page.get_by_role("button", name="Run")).to_be_hidden()


def test_output_streams_into_the_page_without_javascript(plain_page: Page) -> None:
    plain_page.get_by_label("Command").select_option("wait")
    plain_page.get_by_role("button", name="Run").click(no_wait_after=True)
    expect(plain_page.locator("pre")).to_contain_text("begin", timeout=5000)


@pytest.mark.parametrize("where", ["#stop", ".answer .stop"])
def test_stop_button_ends_the_process(page: Page, server: Server, where: str) -> None:
    run(page, "wait")
    expect(page.locator("pre")).to_contain_text("begin")
    children = server.children()
    assert len(children) == 1
    page.wait_for_timeout(600)  # a click before is the second of a double click
    page.locator(where).click()
    expect(page.locator(".verdict")).to_have_text("■ stopped")
    assert soon_gone(*children)
    expect(page.get_by_role("button", name="Run")).to_be_visible()


def test_double_click_on_run_does_not_stop_it(page: Page) -> None:
    page.get_by_label("Command").select_option("wait")
    page.get_by_role("button", name="Run").dblclick()
    expect(page.locator("pre")).to_contain_text("begin")
    expect(page.locator(".verdict")).to_contain_text("running")
    page.keyboard.press("Escape")
    expect(page.locator(".verdict")).to_have_text("■ stopped")


def click_twice(page: Page) -> None:
    run(page, "lines")
    expect(page.locator("#run")).to_be_visible()
    page.locator("#run").click()


def press_enter_twice(page: Page) -> None:
    for _ in range(2):
        page.locator("#ip").press("Enter")
        expect(page.locator("#run")).to_be_visible()


def press_enter_while_it_runs(page: Page) -> None:
    page.get_by_label("Command").select_option("wait")
    for _ in range(2):
        page.get_by_label("any").press("Enter")
    expect(page.locator("pre")).to_contain_text("begin")
    page.keyboard.press("Escape")


def hold_enter(page: Page) -> None:
    page.get_by_label("Command").select_option("lines")
    page.locator("#run").focus()
    for moment in range(10_000, 20_000, 600):
        at(page, moment)
        page.keyboard.down("Enter")
        expect(page.locator("#run")).to_be_visible()
    page.keyboard.up("Enter")


def click_again_twice(page: Page) -> None:
    run(page, "lines")
    expect(page.locator("#run")).to_be_visible()
    at(page, 20_000)
    page.get_by_role("button", name="Again").dblclick()


@pytest.mark.parametrize(
    ("press", "number"),
    [
        (click_twice, 1),
        (press_enter_twice, 1),
        (press_enter_while_it_runs, 1),
        (hold_enter, 1),
        (click_again_twice, 2),
    ],
)
def test_what_is_pressed_twice_asks_once(page: Page, press: Callable[[Page], None], number: int) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/v1/" in request.url else None)
    at(page, 10_000)
    press(page)
    page.wait_for_timeout(300)
    expect(page.locator("h2")).to_have_count(number)
    expect(page.locator("#status")).to_have_text("")
    assert len(asked) == number


def test_same_is_asked_again_a_moment_later(page: Page) -> None:
    run(page, "lines")
    pause(page)
    page.locator("#run").click()
    expect(page.locator("h2")).to_have_count(2)


def test_keyboard_keeps_its_place_from_run_to_stop_and_back(page: Page) -> None:
    page.get_by_label("Command").select_option("wait")
    page.get_by_role("button", name="Run").press("Enter")
    expect(page.locator("#stop")).to_be_focused()
    page.wait_for_timeout(600)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Run")).to_be_focused()


def test_looking_glass_out_of_reach_is_told_in_words(page: Page) -> None:
    page.context.set_offline(True)
    run(page, target="127.0.0.1")
    expect(page.locator("#status")).to_have_text("The looking glass cannot be reached.")


def test_leaving_the_page_ends_the_process(any_page: Page, server: Server) -> None:
    any_page.get_by_label("Command").select_option("wait")
    any_page.get_by_role("button", name="Run").click(no_wait_after=True)
    expect(any_page.locator("pre")).to_contain_text("begin")  # else the click's own navigation may win
    children = server.children()
    assert children
    any_page.goto("about:blank")
    assert soon_gone(*children)


def test_hostile_output_stays_text(any_page: Page) -> None:
    any_page.get_by_label("Command").select_option("hostile")
    any_page.get_by_role("button", name="Run").click()
    expect(any_page.locator("pre")).to_contain_text("<img src=x onerror=alert(1)>")
    expect(any_page.locator("pre")).to_contain_text("␛]0;x␇")
    assert any_page.locator("pre img").count() == 0
    assert any_page.title().endswith("Looking Glass")


def test_failure_is_told_and_stays_beside_a_refusal(page: Page) -> None:
    run(page, "fail")
    expect(page.locator(".verdict")).to_contain_text("✗")
    run(page, "ping", "-c1")
    expect(page.locator("#error")).to_have_text(re.compile("This command's target is"))
    expect(page.locator("#ip")).to_have_attribute("aria-invalid", "true")
    expect(page.locator(".answer")).to_have_count(1)
    expect(page.locator("h2")).to_have_text("fail")


def test_link_fills_in_the_form_and_runs_nothing(any_page: Page, server: Server) -> None:
    any_page.goto(f"http://127.0.0.1:{server.port}/?ip=192.0.2.7&cmd=wait&router=one.example")
    expect(any_page.get_by_label("Command")).to_have_value("wait")
    time.sleep(0.3)
    assert server.children() == set()
    assert any_page.locator("pre").count() == 0


def test_family_and_vrf_are_chosen_in_the_page(any_page: Page) -> None:
    any_page.get_by_label("From", exact=True).select_option("two.example")
    any_page.get_by_label("Command").select_option("look")
    any_page.get_by_label("VRF").select_option("red")
    any_page.get_by_label("IPv6").check()
    any_page.get_by_role("button", name="Run").click()
    expect(any_page.locator("pre")).to_contain_text("six in red")
    assert "vrf=red" in any_page.url
    assert "protocol=2" in any_page.url
    any_page.reload()
    expect(any_page.get_by_label("IPv6")).to_be_checked()
    expect(any_page.get_by_label("VRF")).to_have_value("red")


def test_vrf_is_offered_only_where_a_command_has_one(page: Page) -> None:
    expect(page.get_by_label("VRF")).to_be_hidden()
    page.get_by_label("From", exact=True).select_option("two.example")
    page.get_by_label("Command").select_option("look")
    expect(page.get_by_label("VRF")).to_be_visible()
    expect(page.get_by_label("VRF")).to_have_value("mgmt")


@pytest.mark.parametrize(
    ("query", "router", "command", "told"),
    [
        ("cmd=summary", "two.example", "summary", ""),
        ("cmd=summary&router=one.example", "one.example", "ping", "There is no such command on this router."),
        ("cmd=nothing", "one.example", "ping", "There is no such command."),
        ("cmd=ping&router=three.example", "one.example", "ping", "There is no such router."),
    ],
)
def test_link_to_what_is_not_there_is_told(
    any_page: Page, server: Server, query: str, router: str, command: str, told: str
) -> None:
    any_page.goto(f"http://127.0.0.1:{server.port}/?ip=192.0.2.7&{query}")
    expect(any_page.get_by_label("From", exact=True)).to_have_value(router)
    expect(any_page.get_by_label("Command")).to_have_value(command)
    expect(any_page.locator("#status")).to_have_text(told)


def test_run_leaves_a_link_that_fills_in_the_form(page: Page) -> None:
    page.locator("#ip").fill("127.0.0.2")
    page.get_by_role("button", name="Run").click()
    assert "?ip=127.0.0.2&cmd=ping&router=one.example" in page.url
    page.reload()
    expect(page.locator("#ip")).to_have_value("127.0.0.2")


def test_router_decides_which_commands_are_offered(page: Page) -> None:
    page.get_by_label("From", exact=True).select_option("two.example")
    offered = page.get_by_label("Command").locator("option:not([disabled])")
    expect(offered).to_have_text(["ping", "summary", "look"])
    page.get_by_label("Command").select_option("summary")
    expect(page.locator("#ip")).to_be_hidden()
    page.get_by_role("button", name="Run").click()
    expect(page.locator("pre")).to_have_text("well\n")
