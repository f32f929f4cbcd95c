"""The page's form in a browser: routers, commands, targets as people paste them, what there is to know."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from lookingglass.pasted import clean
from tests.pages import answer, opened, refuse, result, run
from tests.support import ECHO_AND_WAIT, HERE, Serve, Server, asker, build

PASTED = json.loads((HERE / "tests" / "pasted.json").read_text())
PING = {"cmd4": ["echo", "{{TARGET}}"], "cmd6": ["echo", "{{TARGET}}"], "description": "Send five requests"}
ROUTE = {"cmd": ["echo", "{{TARGET}}"], "argument": "addr", "description": "Show a route"}
BGP = {"cmd": ["echo", "{{TARGET}}"], "argument": "asn", "description": "Show the paths of an AS"}
ROUTERS = [
    {
        "name": "one.example",
        "city": "Berlin",
        "country": "de",
        "source4": "192.0.2.1",
        "source6": "2001:db8::1",
        "commands": {"ping": PING, "show route": ROUTE, "uptime": {"cmd": ["uptime"]}},
    },
    {"name": "two.example", "city": "Paris", "country": "FR", "commands": {"ping": PING, "show bgp": BGP}},
    {"name": "three.example", "commands": {"ping": PING}},
]
WIDTHS = (360, 1024, 1920)

browser_only = pytest.mark.browser


@pytest.fixture
def server(serve: Serve) -> Server:
    return serve(routers=ROUTERS, info={"contact": "noc@example.net", "blurb": "AS64500"})


# --- what people paste


@pytest.mark.parametrize(("pasted", "argument", "meant"), PASTED)
def test_server_understands_what_is_pasted(pasted: str, argument: str, meant: str) -> None:
    assert clean(pasted, argument) == meant
    assert clean(meant, argument) == meant


@pytest.mark.parametrize("text", [":" * 5000, "[" * 5000, "a/" * 2500, "ä" * 5000, "http://" + "@" * 2000])
def test_server_does_not_lose_time_with_what_is_pasted(text: str) -> None:
    for argument in ("host", "addr", "asn"):
        assert isinstance(clean(text, argument), str)


@browser_only
def test_script_understands_what_is_pasted_as_the_server_does(page: Page) -> None:
    read = page.evaluate("rows => rows.map(([text, argument]) => clean(text, argument))", PASTED)
    assert read == [meant for _, _, meant in PASTED]


def test_page_cleans_a_target_and_the_api_does_not() -> None:
    ask = asker(build())
    assert "four 192.0.2.1\n" in ask("/?cmd=echo&ip=https://192.0.2.1:443/x&run=1").text
    assert ask("/.well-known/looking-glass/v1/echo/192.0.2.1:443").status == 400


@browser_only
def test_pasted_url_is_shown_as_the_host_that_is_asked(page: Page) -> None:
    asked = answer(page, result())
    run(page, "ping", "https://bücher.example:8443/path?x#y")
    expect(page.locator("#ip")).to_have_value("xn--bcher-kva.example")
    expect(page.locator("h2")).to_have_text("ping xn--bcher-kva.example")
    assert "/ping/xn--bcher-kva.example?" in asked[0]
    assert "view=1" in asked[0]


# --- errors of the field


@browser_only
@pytest.mark.parametrize(
    ("command", "target", "told"),
    [
        ("ping", "", "Enter an address or host name, such as 192.0.2.1 or www.example.net."),
        ("ping", " .. ", "Enter an address or host name, such as 192.0.2.1 or www.example.net."),
        ("show route", "", "Enter an address or prefix, such as 192.0.2.1 or 2001:db8::/32."),
    ],
)
def test_what_is_not_there_is_told_under_the_field_and_not_asked(
    page: Page, command: str, target: str, told: str
) -> None:
    asked = answer(page, result())
    run(page, command, target)
    expect(page.locator("#error")).to_have_text(told)
    expect(page.locator("#ip")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#ip")).to_have_attribute("aria-describedby", "error")
    expect(page.locator("#ip")).to_be_focused()
    page.locator("#ip").press("1")
    expect(page.locator("#error")).to_be_hidden()
    expect(page.locator("#ip")).not_to_have_attribute("aria-invalid", "true")
    assert asked == []


@pytest.mark.parametrize(("query", "is_field"), [("cmd=echo&ip=-c1", True), ("cmd=nothing&ip=x", False)])
def test_server_tells_an_error_of_the_field_at_the_field(query: str, is_field: bool) -> None:
    text = asker(build())(f"/?{query}&run=1").text
    assert ('aria-invalid="true" aria-describedby="error"' in text) is is_field
    assert bool(re.search(r'id="error"[^>]*>[^<]+<', text)) is is_field


@browser_only
def test_error_of_the_servers_page_is_still_told_with_the_script(browser: Browser, server: Server) -> None:
    with opened(browser, server, "?cmd=ping&ip=-c1&run=1") as page:
        expect(page.locator("#error")).to_have_text(re.compile("This command's target is"))
        expect(page.locator("#ip")).to_have_attribute("aria-invalid", "true")


# --- routers and commands


@browser_only
def test_router_has_its_place_and_command_its_description_and_target(page: Page) -> None:
    options = page.locator("#router option")
    expect(options).to_have_text(["one.example, Berlin DE", "two.example, Paris FR", "three.example"])
    expect(page.locator("#description")).to_have_text("Send five requests")
    expect(page.get_by_label("To: address or host name")).to_be_visible()
    page.get_by_label("Command").select_option("show route")
    expect(page.locator("#description")).to_have_text("Show a route")
    expect(page.get_by_label("To: address or prefix")).to_be_visible()
    page.get_by_label("Command").select_option("uptime")
    expect(page.locator("#ip")).to_be_hidden()
    page.get_by_label("From", exact=True).select_option("two.example")
    page.get_by_label("Command").select_option("show bgp")
    expect(page.get_by_label("To: AS number")).to_be_visible()


@browser_only
def test_another_router_keeps_the_command_where_it_has_it(page: Page) -> None:
    page.get_by_label("Command").select_option("ping")
    page.get_by_label("From", exact=True).select_option("two.example")
    expect(page.get_by_label("Command")).to_have_value("ping")
    page.get_by_label("Command").select_option("show bgp")
    page.get_by_label("From", exact=True).select_option("three.example")
    expect(page.get_by_label("Command")).to_have_value("ping")
    expect(page.locator("#cmd option:not([disabled])")).to_have_text(["ping"])


@browser_only
def test_several_routers_are_asked_what_all_of_them_have(page: Page) -> None:
    asked = answer(page)
    page.get_by_text("and from others").click()
    page.get_by_label("three.example").check()
    page.get_by_label("two.example, Paris FR").check()
    expect(page.locator("#others summary")).to_have_text("and from 2 more")
    expect(page.locator("#cmd option:not([disabled])")).to_have_text(["ping"])
    run(page, target="192.0.2.7")
    expect(page.locator(".answer")).to_have_count(3)
    assert "routers=one.example%2Ctwo.example%2Cthree.example" in asked[0]
    assert "routers=two.example&routers=three.example" in page.url
    page.unroute_all()
    page.reload()
    expect(page.get_by_label("three.example")).to_be_checked()


def test_commands_stand_in_groups_by_the_routers_that_have_them() -> None:
    text = asker(build({"routers": ROUTERS}))("/").text
    groups = re.findall(r'<optgroup label="([^"]*)">(.*?)</optgroup>', text)
    named = {label: re.findall(r'value="([^"]*)"', options) for label, options in groups}
    assert named == {"only on one.example": ["show route", "uptime"], "only on two.example": ["show bgp"]}


def test_one_router_is_no_choice() -> None:
    text = asker(build())("/").text
    assert "checkbox" not in text
    assert "<optgroup" not in text
    assert '<label for="router"' not in text


def test_one_family_is_no_choice() -> None:
    document = {"capabilities": {"ipv6": False}, "commands": {"echo": {"cmd4": ["echo", "{{TARGET}}"]}}}
    assert 'name="protocol"' not in asker(build(document))("/").text


@browser_only
def test_enter_asks_and_escape_stops(serve: Serve, browser: Browser) -> None:
    wait = [sys.executable, "-uc", ECHO_AND_WAIT, "{{TARGET}}"]
    server = serve(commands={"wait": {"cmd": wait, "argument": "asn"}})
    with opened(browser, server) as page:
        page.get_by_label("To: AS number").fill("as 64500")
        page.get_by_label("To: AS number").press("Enter")
        expect(page.locator("pre")).to_contain_text("64500")
        page.keyboard.press("Escape")
        expect(page.locator(".verdict")).to_have_text("■ stopped")
        assert page.title().startswith("■ stopped")


# --- the visitor's own addresses


@browser_only
def test_own_address_is_one_click_away(page: Page) -> None:
    page.locator("#ip").fill("other.example")
    page.locator("#yours a").click()
    expect(page.locator("#ip")).to_have_value("127.0.0.1")
    expect(page.locator("#ip")).to_be_focused()


@browser_only
def test_own_address_of_the_other_family_comes_from_its_own_name(serve: Serve, browser: Browser) -> None:
    info = {"ipv4": "http://ipv4.test:1/", "ipv6": "http://ipv6.test:1/lg"}
    server = serve(commands={"ping": PING}, info=info)
    policy = server.get("/")[1]["Content-Security-Policy"]
    assert "connect-src 'self' http://ipv4.test:1/api/ip http://ipv6.test:1/lg/api/ip;" in policy
    assert "test:1" not in server.get("/healthz")[1]["Content-Security-Policy"]
    context = browser.new_context()
    page = context.new_page()
    asked: list[str] = []

    def tell(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(json={"ip": "2001:db8::7"}, headers={"Access-Control-Allow-Origin": "*"})

    page.route("http://*.test:1/**", tell)
    page.goto(f"http://127.0.0.1:{server.port}/")
    expect(page.locator("#yours a")).to_have_text(["127.0.0.1", "2001:db8::7"])
    page.locator("#yours a").last.click()
    expect(page.locator("#ip")).to_have_value("2001:db8::7")
    assert asked == ["http://ipv6.test:1/lg/api/ip"]
    context.close()


def test_own_address_is_told_to_pages_of_all_names() -> None:
    reply = asker(build())("/api/ip")
    assert reply.json == {"ip": "198.51.100.7"}
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert "no-store" in reply.headers["Cache-Control"]


def test_own_address_is_not_told_where_it_is_not_shown() -> None:
    ask = asker(build({"showip": False, "info": {"ipv6": "http://ipv6.test/"}}))
    assert ask("/api/ip").status == 404
    assert "ipv6.test" not in ask("/").text
    assert "ipv6.test" not in ask("/").headers["Content-Security-Policy"]


# --- refusals


@browser_only
@pytest.mark.parametrize("status", [429, 503])
def test_refusal_counts_down_on_the_button(page: Page, status: int) -> None:
    asked = answer(page, result(output=["x"]))
    run(page, "ping", "192.0.2.1")
    expect(page.locator(".answer")).to_have_count(1)
    page.unroute_all()
    refuse(page, status, "Too fast. Try again in 2 s.", **{"Retry-After": "2"})
    run(page, "ping", "192.0.2.2")
    expect(page.locator("#status")).to_have_text("⏳ Too fast. Try again in 2 s.")
    expect(page.locator("#run")).to_have_text(re.compile(r"in [12] s"))
    page.locator("#ip").press("Enter")  # too early
    expect(page.locator("h2")).to_have_text("ping 192.0.2.1")
    expect(page.locator("#run")).to_have_text("Run", timeout=10_000)
    expect(page.locator("#status")).to_have_text("")
    assert len(asked) == 1


# --- about the network


@pytest.fixture
def about(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "2MB.test").write_bytes(bytes(2 << 20))
    (tmp_path / "files" / "README.md").write_text("small")
    (tmp_path / "mine.css").write_text("h1 { color: rgb(1, 2, 3); }")
    (tmp_path / "logo.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    return {
        "info": {"contact": "noc@example.net", "blurb": "<b>AS64500</b>"},
        "testfiles": str(tmp_path / "files"),
        "theme": {"css": str(tmp_path / "mine.css"), "logo": str(tmp_path / "logo.svg")},
        "routers": ROUTERS,
    }


def test_network_tells_places_addresses_files_and_contact(about: dict[str, Any]) -> None:
    text = asker(build(about))("/").text
    for part in ("Berlin DE", "192.0.2.1", "2001:db8::1", "mailto:noc@example.net", "<b>AS64500</b>"):
        assert part in text
    assert '<a href="testfiles/2MB.test" download>2MB.test</a> (2 MiB)' in text
    assert "README.md" not in text


def test_network_tells_nothing_that_is_not_configured() -> None:
    text = asker(build())("/").text
    for part in ("Contact", "Test files", "IPv4 for tests", "theme.css", 'src="logo"'):
        assert part not in text
    for path in ("/theme.css", "/logo"):
        assert asker(build())(path).status == 404


def test_theme_is_served_at_fixed_names(about: dict[str, Any]) -> None:
    ask = asker(build(about))
    assert (ask("/theme.css").headers["Content-Type"], ask("/theme.css").text[:2]) == ("text/css", "h1")
    assert ask("/logo").headers["Content-Type"] == "image/svg+xml"
    page = ask("/").text
    assert page.index('href="style.css"') < page.index('href="theme.css"')


@browser_only
def test_theme_changes_the_looks(serve: Serve, browser: Browser, about: dict[str, Any]) -> None:
    with opened(browser, serve(**about)) as page:
        assert page.locator("h1").evaluate("each => getComputedStyle(each).color") == "rgb(1, 2, 3)"
        assert page.locator("h1 img").evaluate("image => image.naturalWidth") == 9


def test_hostile_names_of_routers_are_inert() -> None:
    hostile = '"><script>x</script>\u202e'
    routers = [{"name": 'a"><b>', "city": hostile, "commands": {"x": {"cmd": ["x"], "description": hostile}}}]
    text = asker(build({"routers": [*routers, *ROUTERS], "info": {"title": hostile, "contact": hostile}}))(
        "/"
    ).text
    assert "<script>x" not in text
    assert "<b>" not in text


# --- without a browser of many colours


@pytest.mark.parametrize("program", ["w3m", "lynx"])
def test_text_browsers_show_no_dead_controls(server: Server, program: str) -> None:
    argv = {"w3m": ["w3m", "-dump"], "lynx": ["lynx", "-dump", "-nolist", "-force_html"]}[program]
    url = f"http://127.0.0.1:{server.port}/"
    shown = subprocess.run([*argv, url], capture_output=True, text=True, check=True, timeout=60).stdout
    for part in ("From", "Command", "Run", "two.example, Paris FR", "IPv6", "Show the paths of an AS"):
        assert part in shown
    for part in ("Stop", "Copy", "Again", "wrap"):
        assert part not in shown


@browser_only
@pytest.mark.parametrize("width", WIDTHS)
def test_first_paint_takes_three_requests(server: Server, browser: Browser, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800})
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    page.goto(f"http://127.0.0.1:{server.port}/")
    page.wait_for_timeout(300)
    assert sorted(asked) in (["", "script.js", "style.css"], ["", "icon.svg", "script.js", "style.css"])
    context.close()


def test_page_is_small() -> None:
    assert sum(path.stat().st_size for path in (HERE / "html").iterdir()) <= 60 * 1024
