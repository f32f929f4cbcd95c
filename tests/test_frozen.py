"""Results and comparisons over HTTP: four forms, caches, links that have expired, hostile names."""

from __future__ import annotations

import html.parser
import os
import re
import shlex
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from commands import TEXT, Command, Router
from lookingglass import frames, pictures
from lookingglass import frozen as frozen_module
from lookingglass.frozen import lasting
from tests.redis_server import RedisServer
from tests.support import (
    GENEROUS,
    PATIENT,
    V1,
    Ask,
    Serve,
    Server,
    asker,
    build,
    configuration,
    error,
    free_port,
)
from tinytracer import TinyTracer

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
NOBODY = "0" * 32
TRACE = (
    "traceroute to 192.0.2.9 (192.0.2.9), 30 hops max\n"
    " 1  192.0.2.1  1.0 ms\n 2  {second}  {rtt} ms\n 3  192.0.2.9  {rtt} ms\n"
)
ECHO = (
    "PING a\n64 bytes from 192.0.2.1: icmp_seq=1 ttl=64 time={rtt} ms\n\n--- a ping statistics ---\n"
    "1 packets transmitted, 1 received, 0% packet loss, time 0ms\n"
    "rtt min/avg/max/mdev = {rtt}/{rtt}/{rtt}/0.000 ms\n"
)
SLOW_ECHO = "import sys, time; time.sleep(0.5); print(sys.argv[1])"


def printing(text: str, parser: str) -> dict[str, Any]:
    return {"cmd": ["printf", "%s", text], "parser": parser}


COMMANDS: dict[str, Any] = {
    "ping": printing(ECHO.format(rtt="18.0"), "ping"),
    "ping later": printing(ECHO.format(rtt="31.1"), "ping"),
    "trace": printing(TRACE.format(second="192.0.2.2", rtt="8.0"), "traceroute"),
    "trace later": printing(TRACE.format(second="192.0.2.3", rtt="21.1"), "traceroute"),
    "echo": {"cmd4": ["echo", "four", "{{TARGET}}"]},
    "any": {"cmd4": ["echo", "{{TARGET}}"]},
    "look": {"cmd": ["echo", "{{VRF}} {{TARGET}}"], "argument": "addr"},
    "nothing": {"cmd": ["true"]},
    "slow": {"cmd": ["sh", "-c", "echo begin; exec sleep 1000"], "runtime": 0.3},
}
ROUTERS = [{"name": "r1.example", "city": "Berlin", "country": "de", "vrfs": ["mgmt"], "commands": COMMANDS}]


@pytest.fixture
def application() -> Iterator[TinyTracer]:
    application = build({"routers": ROUTERS, "info": {"title": "Lab"}})
    yield application
    application.close()


@pytest.fixture
def ask(application: TinyTracer) -> Ask:
    return asker(application, "/lg")


def frozen(ask: Ask, path: str) -> str:
    """Ask, and return the path of the result."""
    link = ask(f"{V1}/{path}").json["data"]["result"]
    return str(link).removeprefix("http://localhost/lg")


def pair(ask: Ask, first: str, second: str) -> str:
    return f"{frozen(ask, first)}/vs/{frozen(ask, second).rpartition('/')[2]}"


class Elements(html.parser.HTMLParser):
    """Gather what a document has: elements, attributes, links, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[str] = []
        self.links: dict[str, str] = {}
        self.text = ""
        self._link: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += [name for name, _ in attrs]
        self._link = dict(attrs).get("href") if tag == "a" else None

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._link is not None and data.strip():
            self.links[data.strip()] = self._link
            self._link = None


# --- one answer


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/xml", "application/json"),
        (BROWSER, "text/html"),
        ("text/html, text/*;q=0.5, image/*, application/*", "text/html"),  # w3m
        ("text/html, text/plain, text/sgml, */*;q=0.01", "text/html"),  # lynx
        ("text/plain", "text/plain"),
        ("image/svg+xml", "image/svg+xml"),
        ("image/avif,image/webp,image/svg+xml,image/*,*/*;q=0.8", "image/svg+xml"),
    ],
)
def test_form_is_what_is_accepted(ask: Ask, accept: str | None, media: str) -> None:
    reply = ask(frozen(ask, "ping"), accept)
    assert reply.status == 200
    assert reply.headers["Content-Type"].partition(";")[0] == media


@pytest.mark.parametrize(
    ("suffix", "media"), [("json", "application/json"), ("txt", "text/plain"), ("svg", "image/svg+xml")]
)
def test_suffix_counts_more_than_what_is_accepted(ask: Ask, suffix: str, media: str) -> None:
    reply = ask(f"{frozen(ask, 'ping')}.{suffix}", BROWSER)
    assert reply.headers["Content-Type"].partition(";")[0] == media


def test_json_is_the_envelope_of_the_run(ask: Ask) -> None:
    for path in ("ping", "trace", "echo/192.0.2.1", "slow"):
        told = ask(f"{V1}/{path}").json
        assert ask(told["data"]["result"].removeprefix("http://localhost/lg")).json == told


def test_text_is_the_output_with_why_it_was_stopped(ask: Ask) -> None:
    assert ask(f"{frozen(ask, 'echo/192.0.2.1')}.txt").text == "four 192.0.2.1\n"
    assert re.fullmatch(r"begin\n\n--- The time is up after .*\n", ask(f"{frozen(ask, 'slow')}.txt").text)


def test_page_has_heading_verdict_picture_text_and_ways_on(ask: Ask) -> None:
    path = frozen(ask, "ping/?router=r1.example")
    name = path.rpartition("/")[2]
    page = Elements(ask(path, BROWSER).text)
    assert "Frozen: ping" in page.text
    assert "From r1.example, Berlin DE at 20" in page.text
    assert "kept until 20" in page.text
    assert "all answered" in page.text
    assert "svg" in page.names
    assert "icmp_seq=1" in page.text
    assert page.links["Lab"] == "../"
    assert page.links["Again"] == "../?router=r1.example&cmd=ping&run=1"
    assert [page.links[each] for each in ("Text", "JSON", "Picture")] == [
        f"{name}.{end}" for end in ("txt", "json", "svg")
    ]
    assert "curl -N -H 'Accept: text/plain'" in page.text


def test_addresses_of_a_result_lead_to_what_its_router_offers() -> None:
    def command(name: str, argument: str) -> Command:
        return Command(name, "", argument, {TEXT: {}})

    commands = [command("ping", "host"), command("show route", "addr"), command("show bgp", "asn")]
    router = Router("<r1>", 0, {each.name: each for each in commands})
    asked = frames.next_questions(router, "show route")
    assert asked == (
        ' data-router="&lt;r1&gt;" data-address="show route" data-prefix="show route" data-asn="show bgp"'
    )
    assert frames.next_questions(router, "gone").startswith(' data-router="&lt;r1&gt;" data-address="ping"')
    assert frames.next_questions(None, "ping") == ""


def test_page_of_an_answer_without_text_has_no_empty_box(ask: Ask) -> None:
    page = ask(frozen(ask, "nothing"), BROWSER).text
    assert "empty answer" in page
    assert "<pre tabindex" not in page


def test_again_asks_the_same_question(ask: Ask) -> None:
    page = Elements(ask(frozen(ask, "look/192.0.2.0/24?vrf=mgmt"), BROWSER).text)
    again = ask(page.links["Again"].removeprefix(".."), BROWSER)
    assert "mgmt 192.0.2.0/24" in again.text


def test_name_is_asked_again_by_the_family_that_it_had(ask: Ask) -> None:
    page = Elements(ask(frozen(ask, "any/localhost"), BROWSER).text)
    assert "&ip=localhost&protocol=1&" in page.links["Again"]
    assert "router=r1.example&protocol=1'" in page.text
    page = Elements(ask(frozen(ask, "any/127.0.0.1"), BROWSER).text)
    assert "protocol" not in page.links["Again"]


def test_curl_line_asks_the_same_question(serve: Serve) -> None:
    server = serve(routers=ROUTERS)
    link = server.json(f"{V1}/look/192.0.2.0%2F24?vrf=mgmt")["data"]["result"]
    page = Elements(server.get(urllib.parse.urlsplit(link).path, BROWSER)[2].decode())
    (line,) = re.findall(r"^.*(curl .*)$", page.text, re.M)
    told = subprocess.run(shlex.split(line), capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout == "mgmt 192.0.2.0/24\n"


def test_picture_stands_alone_with_its_own_styles(ask: Ask) -> None:
    reply = ask(f"{frozen(ask, 'ping')}.svg")
    assert reply.text.startswith("<svg xmlns=")
    policy = reply.headers["Content-Security-Policy"]
    assert re.match(r"default-src 'none'; style-src 'sha256-[^']+';", policy)
    assert reply.headers["Cross-Origin-Resource-Policy"] == "cross-origin"


def test_answer_without_a_picture_is_406_for_who_accepts_nothing_else(ask: Ask) -> None:
    path = frozen(ask, "trace")
    assert "picture" in error(ask(path, "image/svg+xml"), 406)
    assert "picture" in error(ask(f"{path}.svg"), 406)
    assert ask(path, "image/svg+xml, */*;q=0.1").json["status"] == "success"
    assert "Picture" not in Elements(ask(path, BROWSER).text).links


def test_viewers_of_one_run_have_the_target_that_each_has_asked(ask: Ask) -> None:
    def targets(host: str) -> Any:
        data = ask(f"{V1}/wait/{host}").json["data"]
        return data["target"], ask(data["result"].removeprefix("http://localhost")).json["data"]["target"]

    shared = {"wait": {"cmd4": [sys.executable, "-c", SLOW_ECHO, "{{TARGET}}"]}}
    ask = asker(build({"commands": shared}))
    with ThreadPoolExecutor() as pool:
        told = [*pool.map(targets, ("127.0.0.1", "localhost"))]
    assert told == [("127.0.0.1", "127.0.0.1"), ("localhost", "localhost")]


# --- caches, other sites


@pytest.mark.parametrize("suffix", ["", ".json", ".txt", ".svg"])
def test_result_is_cacheable_for_as_long_as_it_is_kept(ask: Ask, suffix: str) -> None:
    path = f"{frozen(ask, 'ping')}{suffix}"
    reply = ask(path, BROWSER)
    caching = re.fullmatch(r"public, max-age=(\d+), immutable", reply.headers["Cache-Control"])
    assert caching
    assert 86390 <= int(caching[1]) <= 86400
    assert reply.headers["X-Robots-Tag"] == "noindex, nofollow"
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert "Accept" in reply.headers["Vary"].split(", ")
    known = ask(path, BROWSER, HTTP_IF_NONE_MATCH=reply.headers["ETag"])
    assert (known.status, known.body) == (304, b"")
    assert ask(path, BROWSER, method="HEAD").body == b""
    assert ask(path, BROWSER, method="POST").status == 405


def test_forms_of_a_result_have_different_tags(ask: Ask) -> None:
    path = frozen(ask, "ping")
    tags = {ask(path, accept).headers["ETag"] for accept in ("*/*", BROWSER, "text/plain", "image/svg+xml")}
    assert len(tags) == 4


def test_expired_result_is_404_that_says_how_long_results_are_kept(
    application: TinyTracer, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = frozen(ask, "ping")
    results = application._glass.results
    assert results
    now = results._clock()
    monkeypatch.setattr(results, "_clock", lambda: now + 86399)
    assert ask(path).status == 200
    monkeypatch.setattr(results, "_clock", lambda: now + 86401)
    assert "results are kept for 1 day" in error(ask(path), 404)


@pytest.mark.parametrize(
    "path",
    [f"/results/{NOBODY}", f"/results/{NOBODY}/vs/{NOBODY}"]
    + [f"/results/{name}" for name in ("a", NOBODY[1:], f"{NOBODY}0", "A" * 32)],  # links that were cut
)
def test_unknown_result_is_404_for_programs_and_a_page_for_people(ask: Ask, path: str) -> None:
    alone, both = "Ask again for a new one.", "Ask both questions again and compare the new results."
    told = f"results are kept for 1 day, or less when there are many. {both if '/vs/' in path else alone}"
    assert told in error(ask(path), 404)
    assert told in error(ask(f"{path}.txt", BROWSER), 404)
    reply = ask(path, BROWSER)
    assert (reply.status, reply.headers["Cache-Control"]) == (404, "no-store")
    assert told in Elements(reply.text).text
    (link,) = re.findall(r'<a class="button" href="([./]+)">New question</a>', reply.text)
    assert ask(urllib.parse.urljoin(path, link), BROWSER).status == 200
    assert urllib.parse.urljoin(f"http://localhost{path}", link) == "http://localhost/"


@pytest.mark.parametrize(
    "path",
    ["/results/", "/results"]
    + [f"/results/{NOBODY}{end}" for end in ("/", ".html", ".JSON/", "%0a", ".json.txt", "/vs")]
    + [f"/results/..%2f{NOBODY}", f"/results/{NOBODY}/vs/{NOBODY}/vs/{NOBODY}", f"/results/{'%D9%A0' * 32}"],
)
def test_name_that_is_none_is_no_result(ask: Ask, path: str) -> None:
    assert error(ask(path, BROWSER), 404) == "There is nothing at this path."


def test_no_results_are_shown_where_none_are_kept() -> None:
    ask = asker(build({"results": False}))
    assert error(ask(f"/results/{NOBODY}"), 404) == (
        "This looking glass keeps no results. Ask again for a new answer."
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(86400, "1 day"), (172800, "2 days"), (5400, "90 minutes"), (3600, "1 hour"), (59, "59 seconds")],
)
def test_duration_is_told_in_its_largest_unit(seconds: float, words: str) -> None:
    assert lasting(seconds) == words


# --- two answers


def test_comparison_has_the_sentence_first_then_rows(ask: Ask) -> None:
    path = pair(ask, "trace", "trace/later")
    sentence = "1 of 3 hops differs, from hop 2; +13.1 ms at the end"
    told = ask(path).json["data"]
    assert (told["kind"], told["sentence"], told["same"]) == ("hops", sentence, False)
    assert [row["change"] for row in told["rows"]] == ["same", "− only A", "+ only B", "+13.1 ms"]
    assert told["rows"][1]["a"] == {"hop": 2, "addresses": ["192.0.2.2"], "loss": None, "avg": 8.0}
    assert ask(told["a"]["result"].removeprefix("http://localhost/lg")).json["data"]["command"] == "trace"
    lines = ask(f"{path}.txt").text.splitlines()
    assert lines[0].startswith("A  trace ")
    assert lines[3] == f"{sentence}."
    assert lines[-1] == "3 192.0.2.9 8.0 ms  +13.1 ms  3 192.0.2.9 21.1 ms"
    page = Elements(ask(path, BROWSER).text)
    assert page.text.index(sentence) < page.text.index("192.0.2.3")
    swapped = ask(f"/results/{page.links['Swap'].removeprefix('../../')}").json["data"]
    assert swapped["sentence"] == "1 of 3 hops differs, from hop 2; −13.1 ms at the end"


def test_comparison_is_cacheable_as_long_as_both_are_kept(ask: Ask) -> None:
    path = pair(ask, "ping", "ping/later")
    reply = ask(path, BROWSER)
    assert re.fullmatch(r"public, max-age=86(39\d|400), immutable", reply.headers["Cache-Control"])
    assert ask(path, BROWSER, HTTP_IF_NONE_MATCH=reply.headers["ETag"]).status == 304
    assert "+13.1 ms on average" in reply.text


def test_answers_of_different_kinds_are_400_that_says_what_can_be_compared(ask: Ask) -> None:
    path = pair(ask, "ping", "trace")
    assert "Two answers of one kind can be compared" in error(ask(path), 400)
    assert error(ask(path), 400).endswith("Choose another result.")
    reply = ask(path, BROWSER)
    assert reply.status == 400
    assert "Two answers of one kind can be compared" in Elements(reply.text).text


@pytest.mark.parametrize(
    "form", ["{0}", " {0} ", "https://lg.example/lg/results/{0}", "x/results/{0}.json", "/results/{0}?a"]
)
def test_pasted_link_leads_to_the_comparison(ask: Ask, form: str) -> None:
    one, other = (frozen(ask, path).rpartition("/")[2] for path in ("ping", "ping/later"))
    query = urllib.parse.urlencode({"with": form.format(other)})
    reply = ask(f"/results/{one}/vs/?{query}", BROWSER)
    assert (reply.status, reply.headers["Location"]) == (303, f"../../{other}/vs/{one}")


@pytest.mark.parametrize(
    "pasted", ["", "hello", "https://example.net/", f"{NOBODY}{NOBODY}", f"a\r\nb: {NOBODY}", "x" * 9000]
)
def test_pasted_nonsense_is_400_for_people_too(ask: Ask, pasted: str) -> None:
    query = urllib.parse.urlencode({"with": pasted})
    reply = ask(f"/results/{NOBODY}/vs/?{query}", BROWSER)
    assert reply.status == 400
    assert "Paste the link of a result" in Elements(reply.text).text


# --- hostile names

EVIL = "<script>alert(1)</script>\"' onx=1 \u202egnp.exe&amp;" + "A" * 300
EVIL_TRACE = (
    f"traceroute to 192.0.2.9 (192.0.2.9), 30 hops max\n 1  {EVIL.replace(' ', '')} (192.0.2.9)  1.0 ms\n"
)


def test_hostile_names_are_inert_in_page_and_comparison() -> None:
    router = {
        "name": "r1",
        "city": EVIL,
        "commands": {"trace": printing(EVIL_TRACE, "traceroute"), "text": printing(EVIL, "ping")},
    }
    ask = asker(build({"routers": [router], "info": {"title": EVIL}}), "/lg")
    for path in ("trace", "text"):
        one, both = frozen(ask, path), pair(ask, path, path)
        for reply in (ask(one, BROWSER), ask(both, BROWSER)):
            assert reply.status == 200
            page = Elements(reply.text)
            assert page.names.count("script") == 1  # our own
            assert not [each for each in page.attributes if each.startswith("on")]
            assert "\u202e" not in reply.text
            assert "alert(1)" in page.text
    assert "<" not in ask(f"{V1}/nothing", BROWSER).text


@pytest.mark.parametrize("suffix", ["", ".txt", ".json"])
def test_facts_from_json_are_inert_in_every_form_of_a_comparison(suffix: str) -> None:
    evil = "\\u001b[2J\\u0007\\ud800"  # of JSON, which nobody has neutralised as text
    table = (
        '{{"prefix": "10.0.0.0/8", "paths": [{{"path": "1", "origin": "{0}{1}", "community": "{0}{1}",'
        ' "nexthops": [{{"ip": "fe80::1%{0}"}}]}}]}}'
    )
    peers = '{{"peers": {{"192.0.2.1": {{"desc": "{0}", "state": "{0}{1}"}}}}}}'
    pairs = {"route": table, "peers": peers}
    commands = {
        f"{name} {which}": printing(text.format(evil, which), "frr")
        for name, text in pairs.items()
        for which in ("a", "b")
    }
    ask = asker(build({"commands": commands}))
    for name in pairs:
        reply = ask(f"{pair(ask, f'{name}/a', f'{name}/b')}{suffix}", BROWSER)
        assert reply.status == 200
        assert not re.search("[^\\n -~\xa0-\ud7ff\ue000-\uffff]", reply.text)


# --- processes, restarts, browsers


def results_path(server: Server, path: str) -> str:
    link: str = server.json(f"{V1}/{path}")["data"]["result"]
    return urllib.parse.urlsplit(link).path


def test_result_survives_a_restart_with_sqlite(tmp_path: Path, serve: Serve) -> None:
    store = f"sqlite:{tmp_path}/limits.db"
    first = serve(routers=ROUTERS, store=store)
    path = results_path(first, "ping")
    told = first.json(path)
    first.stop()
    second = serve(routers=ROUTERS, store=store)
    again = second.json(path)
    for each in (told, again):
        each["data"].pop("result")  # which has the port
    assert again == told


def test_result_in_memory_ends_with_the_process(serve: Serve) -> None:
    first = serve(routers=ROUTERS)
    path = results_path(first, "ping")
    first.stop()
    assert serve(routers=ROUTERS).get(path)[0] == 404


@pytest.fixture(params=["sqlite", "redis"])
def workers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    """Yield two gunicorns with two workers each, which share a store."""
    redis = RedisServer(tmp_path) if request.param == "redis" else None
    store = redis.url if redis else f"sqlite:{tmp_path}/limits.db"
    config = configuration(tmp_path, routers=ROUTERS, limits=GENEROUS, store=store)
    servers = []
    for _ in range(2):
        port = free_port()
        options = ["--workers", "2", "--threads", "4", "--bind", f"127.0.0.1:{port}"]
        argv = [sys.executable, "-m", "gunicorn", "--config", "examples/gunicorn.conf.py", *options]
        servers.append(Server([*argv, "tinytracer:application"], port, {"TINYTRACER_CONFIG": str(config)}))
    try:
        for server in servers:
            server.wait_until_ready()
        yield servers[0], servers[1]
    finally:
        for server in servers:
            server.stop()
        if redis:
            redis.kill()


def test_result_of_one_worker_is_read_by_all_others(workers: tuple[Server, Server]) -> None:
    one, other = workers
    for _ in range(8):
        path = results_path(one, "ping")
        assert [server.get(path)[0] for server in (one, one, one, other, other, other)] == [200] * 6


@pytest.mark.browser
def test_result_is_followed_and_two_are_compared_without_a_script(serve: Serve, browser: Browser) -> None:
    server = serve(routers=ROUTERS)
    home = f"http://127.0.0.1:{server.port}"
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    # A page that was left before its icon came is no failure.
    page.on(
        "requestfailed",
        lambda request: problems.append(request.url) if request.failure != "net::ERR_ABORTED" else None,
    )
    links = []
    for command in ("trace", "trace later"):
        page.goto(f"{home}/?cmd={command}&run=1")
        page.get_by_role("link", name="Link", exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(f"Frozen: {command}")
        links.append(page.url)
    one, other = links
    page.get_by_label("Compare with").fill(one)
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("article")).to_contain_text(
        "1 of 3 hops differs, from hop 2; +13.1 ms at the end"
    )
    assert page.url == f"{one}/vs/{other.rpartition('/')[2]}"
    page.get_by_role("link", name="Swap").click()
    expect(page.get_by_role("article")).to_contain_text("−13.1 ms at the end")
    page.get_by_role("link", name="A", exact=True).click()
    assert page.url == other
    assert problems == []
    page.get_by_role("link", name="Text").click()
    expect(page.locator("pre")).to_contain_text("192.0.2.3")
    context.close()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_result_and_comparison(serve: Serve, browser: Browser, scheme: Any) -> None:
    server = serve(routers=ROUTERS)
    home = f"http://127.0.0.1:{server.port}"
    traces = [f"{home}{results_path(server, path)}" for path in ("trace", "trace/later")]
    pings = [f"{home}{results_path(server, path)}" for path in ("ping", "ping/later")]
    both = [f"{a}/vs/{b.rpartition('/')[2]}" for a, b in (traces, pings)]
    for width in (360, 1024, 1920):
        size: Any = {"width": width, "height": 800}
        page = browser.new_page(viewport=size, color_scheme=scheme)
        for url in (traces[0], pings[0], *both, f"{home}/results/{NOBODY}"):
            page.goto(url)
            found = Axe().run(page).response["violations"]
            assert (url, width, [each["id"] for each in found]) == (url, width, [])
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        page.close()


@pytest.mark.browser
def test_comparison_on_a_phone_has_as_much_room_for_either_side(serve: Serve, browser: Browser) -> None:
    server = serve(routers=ROUTERS)
    page = browser.new_page(viewport={"width": 360, "height": 800})
    for pair in (("ping", "ping/later"), ("trace", "trace/later")):
        a, b = (results_path(server, each) for each in pair)
        page.goto(f"http://127.0.0.1:{server.port}{a}/vs/{b.rpartition('/')[2]}")
        row = page.locator(".sides tbody tr").last
        sides = row.locator(".what").evaluate_all("all => all.map(each => each.getBoundingClientRect())")
        assert sides[0]["width"] == sides[1]["width"] >= 110
        assert row.get_by_role("cell").count() == 3  # it is a table still, for those who listen
    page.close()


@pytest.mark.browser
def test_picture_is_drawn_by_a_browser_that_embeds_it(serve: Serve, browser: Browser) -> None:
    server = serve(routers=ROUTERS)
    page = browser.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.goto(f"http://127.0.0.1:{server.port}{results_path(server, 'ping')}.svg")
    assert page.evaluate("getComputedStyle(document.querySelector('.echo')).fill") in {
        "rgb(11, 92, 173)",
        "rgb(109, 179, 248)",
    }
    page.close()
    assert problems == []


def test_text_browser_shows_result_and_comparison(serve: Serve) -> None:
    server = serve(routers=ROUTERS)
    home = f"http://127.0.0.1:{server.port}"
    one, other = (f"{home}{results_path(server, path)}" for path in ("trace", "trace/later"))

    def dump(url: str) -> str:
        argv = ["w3m", "-dump", "-cols", "120", "-o", "display_link_number=1", url]
        environ = {**os.environ, "HOME": "/nonexistent"}
        return subprocess.run(
            argv, capture_output=True, text=True, check=True, timeout=60, env=environ
        ).stdout

    shown = dump(f"{home}/?cmd=trace&run=1")
    number = re.search(r"\[(\d+)\]Link", shown)
    assert number
    shown = dump(re.findall(rf"\[{number[1]}\] (http\S+/results/\S+)", shown)[0])
    assert "Frozen: trace" in shown
    assert "192.0.2.2" in shown
    shown = dump(f"{one}/vs/{other.rpartition('/')[2]}")
    assert "1 of 3 hops differs, from hop 2; +13.1 ms at the end" in shown
    assert re.search(r"3 192\.0\.2\.9 8\.0 ms +\+13\.1 ms +3 192\.0\.2\.9 21\.1 ms", shown)


# --- what many ask at once


def test_results_leave_half_of_the_threads_to_others(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    path = frozen(ask, "ping")
    begun, may_go = threading.Semaphore(0), threading.Event()
    draw = pictures.draw

    def slow(*given: Any, **more: Any) -> Any:
        begun.release()
        assert may_go.wait(PATIENT)
        return draw(*given, **more)

    monkeypatch.setattr("lookingglass.frozen.draw", slow)
    threads = [threading.Thread(target=ask, args=(path, "text/html")) for _ in range(frozen_module.MAKERS)]
    for thread in threads:
        thread.start()
        assert begun.acquire(timeout=60)
    assert ask(path, "text/html").status == 503
    assert error(ask(path), 503).endswith("Try again in 5 s.")
    assert ask("/healthz").status == 200
    may_go.set()
    for thread in threads:
        thread.join(60)
    assert ask(path, "text/html").status == 200


def test_cache_keeps_a_result_apart_by_host_where_links_follow_the_host(ask: Ask) -> None:
    path = frozen(ask, "ping")
    assert "Host" in ask(path).headers["Vary"]
