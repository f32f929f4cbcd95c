"""What the tests of the page share: a page in a browser, and answers that a test writes by itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, Route, expect

from tests.support import Server

# On the console, where a test means it.
EXPECTED = ("status of 4", "status of 50", "meant by a test", "net::ERR_")
RUNNING = '<strong class="verdict running"><span aria-hidden="true">●</span> running, 5.1 of 30 s</strong>'
LOSSY = (
    '<strong class="verdict lossy" data-spoken="37 percent lost, average 18.3 milliseconds">'
    '<span aria-hidden="true">◐</span> 37 % lost</strong>'
)
Event = tuple[str, dict[str, Any]]


@contextmanager
def opened(
    browser: Browser, server: Server, path: str = "", script: bool = True, **options: Any
) -> Iterator[Page]:
    """Yield the page; afterwards it has asked for nothing elsewhere, and no error was logged."""
    context = browser.new_context(java_script_enabled=script, **options)
    page = context.new_page()
    home = f"http://127.0.0.1:{server.port}/"
    requests: list[str] = []
    problems: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.goto(home + path)
    yield page
    context.close()
    assert all(url.startswith((home, f"blob:{home}")) for url in requests)
    assert not [problem for problem in problems if not any(part in problem for part in EXPECTED)]


def view(verdict: str = LOSSY, drawing: str = "", title: str = "ping lossy.example") -> Event:
    """Return an event with the heading that the server draws, and a drawing."""
    place = '<span class="place">lg.example, Berlin DE</span>'
    return "view", {"html": f'<header class="bar"><h2>{title}</h2> {place} {verdict}</header>{drawing}'}


def result(**data: Any) -> Event:
    """Return the event at an answer's end."""
    base = {"performed_at": "2026-11-25T15:44:25Z", "runtime": 9.1, "router": "one.example", "output": []}
    return "result", {"status": "success", "data": {**base, **data}}


def answer(page: Page, *events: Event) -> list[str]:
    """Let the page's next questions be answered with these events; return the list of URLs that it asks."""
    asked: list[str] = []
    body = "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events)

    def fulfill(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(content_type="text/event-stream; charset=utf-8", body=body)

    page.route("**/.well-known/looking-glass/v1/**", fulfill)
    return asked


def refuse(page: Page, status: int, message: str, **headers: str) -> None:
    """Let the page's next questions be refused."""
    envelope = json.dumps({"status": "error", "code": status, "message": message})
    fulfill: Callable[[Route], None] = lambda route: route.fulfill(  # noqa: E731
        status=status, content_type="application/json", body=envelope, headers=headers
    )
    page.route("**/.well-known/looking-glass/v1/**", fulfill)


def run(page: Page, command: str = "", target: str | None = None) -> None:
    """Fill in the form and press Run."""
    if command:
        page.get_by_label("Command").select_option(command)
    if target is not None:
        page.locator("#ip").fill(target)
    page.get_by_role("button", name="Run", exact=True).click()


def pause(page: Page) -> None:
    """Wait until an equal question is no second press of the first any more."""
    expect(page.locator("#run")).to_be_visible()
    page.wait_for_timeout(600)


def at(page: Page, moment: float) -> None:
    """Stop the page's clock, in milliseconds, by which it tells the second press of two."""
    page.evaluate("moment => { performance.now = () => moment }", moment)
