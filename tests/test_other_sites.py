"""A page of another site in a real browser: nothing that it embeds or fetches runs a command."""

from __future__ import annotations

import functools
import http.server
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support import GENEROUS, V1, Serve, Server, soon

pytestmark = pytest.mark.browser
# Ways in which a page makes a browser ask, with URL for what they ask for.
ELEMENTS = {
    "img": '<img src="URL">',
    "img without referrer": '<img src="URL" referrerpolicy="no-referrer">',
    "img crossorigin": '<img crossorigin src="URL">',
    "img with credentials": '<img crossorigin="use-credentials" src="URL">',
    "picture": '<picture><source srcset="URL"><img></picture>',
    "script": '<script src="URL"></script>',
    "script crossorigin": '<script crossorigin src="URL"></script>',
    "script module": '<script type="module" src="URL"></script>',
    "script import": '<script type="module">import("URL").catch(() => 0)</script>',
    "stylesheet": '<link rel="stylesheet" href="URL">',
    "stylesheet crossorigin": '<link rel="stylesheet" crossorigin href="URL">',
    "import": '<style>@import url("URL");</style>',
    "background": '<div style="background: url(URL)">x</div>',
    "font-face": '<style>@font-face { font-family: f; src: url("URL") } p { font-family: f }</style><p>x</p>',
    "preload image": '<link rel="preload" as="image" href="URL">',
    "preload fetch": '<link rel="preload" as="fetch" crossorigin href="URL">',
    "preload font": '<link rel="preload" as="font" crossorigin href="URL">',
    "modulepreload": '<link rel="modulepreload" href="URL">',
    "prefetch": '<link rel="prefetch" href="URL">',
    "prefetch crossorigin": '<link rel="prefetch" crossorigin href="URL">',
    "icon": '<link rel="icon" href="URL">',
    "video": '<video src="URL" preload="auto" autoplay muted></video>',
    "video crossorigin": '<video crossorigin src="URL" preload="auto"></video>',
    "audio": '<audio src="URL" preload="auto"></audio>',
    "iframe": '<iframe src="URL"></iframe>',
    "sandboxed iframe": '<iframe sandbox="allow-scripts" src="URL"></iframe>',
    "object": '<object data="URL"></object>',
    "embed": '<embed src="URL">',
    "svg image": '<svg><image href="URL"/></svg>',
    "form": '<form action="URL"></form><script>document.forms[0].submit()</script>',
    "location": '<script>location = "URL"</script>',
    "refresh": '<meta http-equiv="refresh" content="0; url=URL">',
    "fetch": '<script>fetch("URL").catch(() => 0)</script>',
    "fetch no-cors": '<script>fetch("URL", {mode: "no-cors"}).catch(() => 0)</script>',
    "fetch with a header": '<script>fetch("URL", {headers: {"X-A": "b"}}).catch(() => 0)</script>',
    "fetch from null": '<iframe sandbox="allow-scripts" srcdoc=\'<script>fetch("URL")</script>\'></iframe>',
    "event source": '<script>new EventSource("URL")</script>',
    "beacon": '<script>navigator.sendBeacon("URL")</script>',
    "xhr": '<script>x = new XMLHttpRequest; x.open("GET", "URL"); x.send()</script>',
}


class Site:
    """Another site: localhost, where the looking glass is 127.0.0.1."""

    def __init__(self, folder: Path, server: http.server.ThreadingHTTPServer) -> None:
        self.folder = folder
        self.origin = f"http://localhost:{server.server_port}"

    def page(self, content: str) -> str:
        (self.folder / "page.html").write_text(f"<!doctype html><title>evil</title>{content}")
        return f"{self.origin}/page.html"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Site(folder, server)
        server.shutdown()
        thread.join()


class Marks:
    """A looking glass on 127.0.0.1 whose command leaves a mark in a file for each run."""

    def __init__(self, serve: Serve, folder: Path, cors: object) -> None:
        self.file = folder / "marks"
        self.file.write_text("")
        script = f"import sys; print(sys.argv[1], file=open({str(self.file)!r}, 'a')); print('ran')"
        command = {"cmd": [sys.executable, "-Sc", script, "{{TARGET}}"], "argument": "asn"}
        self.server: Server = serve(commands={"mark": command}, limits=GENEROUS, cors=cors)
        self.home = f"http://127.0.0.1:{self.server.port}"
        self.asked = 0

    def urls(self) -> tuple[str, str]:
        """Return the URLs of a run in the API and in the page, for a number that no run had."""
        self.asked += 1
        return f"{self.home}{V1}/mark/{self.asked}", f"{self.home}/?cmd=mark&amp;ip={self.asked}&amp;run=1"

    def ran(self) -> list[str]:
        return self.file.read_text().split()

    def log(self) -> list[str]:
        """End the server, and return the journal's lines."""
        self.server.process.terminate()
        _, log = self.server.process.communicate(timeout=60)
        return [line for line in log.splitlines() if line.startswith("time=")]


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("cors", [False, ["https://www.example.net"]], ids=["no cors", "cors for others"])
def test_nothing_on_another_site_runs_a_command(
    serve: Serve, tmp_path: Path, browser: Browser, site: Site, cors: object
) -> None:
    glass = Marks(serve, tmp_path, cors)
    asked = 0
    for content in ELEMENTS.values():
        for url in glass.urls()[: 1 if cors else 2]:
            context = browser.new_context()
            page = context.new_page()
            seen: list[str] = []
            context.on("request", lambda request: seen.append(request.url))  # noqa: B023 - closed below
            page.goto(site.page(content.replace("URL", url)), wait_until="commit")
            for _ in range(20):
                page.wait_for_timeout(100)
                if has_asked := any(each.startswith(glass.home) for each in seen):
                    break
            page.wait_for_timeout(50)
            context.close()
            asked += has_asked
    assert asked > 0.9 * len(ELEMENTS)  # else the browser refused by itself, and nothing was tried
    assert glass.ran() == []
    assert glass.server.children() == set()
    lines = glass.log()
    assert len(lines) > 0.9 * len(ELEMENTS)
    assert all("outcome=refused status=4" in line for line in lines)


def test_only_what_a_script_may_read_runs_where_cors_allows_the_site(
    serve: Serve, tmp_path: Path, browser: Browser, site: Site
) -> None:
    glass = Marks(serve, tmp_path, [site.origin])
    readable, ran = {"fetch", "fetch with a header", "event source", "xhr"}, set()
    for name, content in ELEMENTS.items():
        url, _ = glass.urls()
        context = browser.new_context()
        page = context.new_page()
        page.goto(site.page(content.replace("URL", url)), wait_until="commit")
        page.wait_for_timeout(400)
        if name in readable:
            assert soon(lambda url=url: url.rpartition("/")[2] in glass.ran()), name  # type: ignore[misc]
        context.close()
        if url.rpartition("/")[2] in glass.ran():
            ran.add(name)
    assert readable <= ran
    assert ran <= {
        "fetch",
        "fetch with a header",
        "event source",
        "xhr",
        "prefetch crossorigin",
        "preload fetch",
    }


def test_script_of_a_site_that_cors_allows_reads_the_answer(
    serve: Serve, tmp_path: Path, page: Page, site: Site
) -> None:
    glass = Marks(serve, tmp_path, [site.origin])
    page.goto(site.page(""))
    read = "url => fetch(url).then(r => r.json()).then(e => e.data.output.join())"
    assert page.evaluate(read, glass.urls()[0]) == "ran"
    lists = "url => fetch(url).then(r => r.json()).then(e => e.data.commands.length)"
    assert page.evaluate(lists, f"{glass.home}{V1}/cmd") == 1


def test_lists_are_read_by_all_sites_and_runs_by_none(
    serve: Serve, tmp_path: Path, page: Page, site: Site
) -> None:
    glass = Marks(serve, tmp_path, False)
    page.goto(site.page(""))
    lists = "url => fetch(url).then(r => r.json()).then(e => e.data.commands.length)"
    assert page.evaluate(lists, f"{glass.home}{V1}/cmd") == 1
    failed = "url => fetch(url).then(r => r.text()).catch(e => e.name)"
    assert page.evaluate(failed, glass.urls()[0]) == "TypeError"
    assert page.evaluate(failed, f"{glass.home}/") == "TypeError"
    assert glass.ran() == []


@pytest.mark.parametrize("script", [True, False])
def test_own_page_typed_links_and_kept_links_run(
    serve: Serve, tmp_path: Path, browser: Browser, site: Site, script: bool
) -> None:
    glass = Marks(serve, tmp_path, False)
    context = browser.new_context(java_script_enabled=script)
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type != "log" else None)
    api, form = (url.replace("&amp;", "&") for url in glass.urls())
    page.goto(api)  # as typed
    expect(page.locator("body")).to_contain_text("ran")
    page.goto(form)
    expect(page.locator("#answers")).to_contain_text("ran")
    page.goto(glass.home)
    page.get_by_label("To").fill("7")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#answers")).to_contain_text("ran")
    assert glass.ran() == ["1", "1", "7"]
    # A link on another site fills in the form; pressing Run is then the visitor's own wish.
    page.goto(site.page(f'<a href="{glass.home}/?cmd=mark&ip=8&run=1">look</a>'))
    page.get_by_text("look").click()
    expect(page.get_by_label("To")).to_have_value("8")
    time.sleep(0.3)
    assert glass.ran() == ["1", "1", "7"]
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#answers")).to_contain_text("ran")
    assert glass.ran() == ["1", "1", "7", "8"]
    assert not [text for text in problems if "status of 40" not in text]
    context.close()
