"""The page in Chromium: how soon a line is seen, what much output costs, and how little there is to load."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from conftest import CHROMIUM
from tests.bench.servers import HERE, Server, eight, ours, pss_of
from tests.bench.table import Case, Goal, Rounds, Row, alone, percentile

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

LINES, SECONDS = 20_000, 10  # of the tool that prints much
PAUSE = 0.4  # seconds between two clicks
FLOOD = f"""\
import time
began = time.time()
for number in range({LINES}):
    print(f"{{number}} 64 bytes from 203.0.113.10: icmp_seq={{number}} ttl=60 time=17.3 ms", flush=True)
    if number % 20 == 19:
        time.sleep(max(0, began + {SECONDS} * number / {LINES} - time.time()))
"""
# Note how late each line is that tells when it was printed, behind the frame that shows it.
SEE_LINES = """() => {
  window.late = [];
  let seen = 0;
  new MutationObserver(() => {
    const now = () => (performance.timeOrigin + performance.now()) / 1000;
    const found = [...document.querySelector("pre").textContent.matchAll(/#(\\d+) ([\\d.]+);/g)].slice(seen);
    seen += found.length;
    setTimeout(() => found.forEach(([, , printed]) => late.push(1000 * (now() - printed))));
  }).observe(document.querySelector("#answers"), { subtree: true, childList: true, characterData: true });
}"""
# Note how long tasks take that take longer than 50 ms, and clicks until the frame that answers them.
SEE_TASKS = """() => {
  window.tasks = [];
  window.clicks = [];
  new PerformanceObserver((list) => tasks.push(...list.getEntries().map((each) => each.duration)))
    .observe({ type: "longtask" });
  new PerformanceObserver((list) => clicks.push(
      ...list.getEntries().filter((each) => each.name === "click").map((each) => each.duration)))
    .observe({ type: "event", durationThreshold: 16 });
  const button = document.createElement("button");
  button.id = "clicked";
  button.textContent = "0";
  button.style.cssText = "position: fixed; inset: auto 0 0 auto; z-index: 9";
  button.addEventListener("click", () => (button.textContent = Number(button.textContent) + 1));
  document.body.append(button);
}"""
HAS_PAINTED = "performance.getEntriesByName('first-contentful-paint').length"
PAINTED = """() => {
  const paint = performance.getEntriesByName("first-contentful-paint")[0].startTime;
  return 1 + performance.getEntriesByType("resource").filter((each) => each.startTime < paint).length;
}"""
SEEN = Goal("ours", "≤", 50.0)
TASK = Goal("ours", "≤", 50.0)
CLICK = Goal("ours", "≤", 100.0)
MEMORY = Goal("ours", "≤", 150.0)
SIZE = Goal("ours", "≤", 60.0)
REQUESTS = Goal("ours", "≤", 3)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Yield a browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        yield browser
        browser.close()


def open_page(browser: Browser, server: Server) -> Page:
    """Open the page in a renderer of its own."""
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.goto(f"http://127.0.0.1:{server.port}/")
    return page


def ask(page: Page, command: str, target: str = "") -> None:
    """Fill in the form and press Run."""
    page.locator("#cmd").select_option(command)
    if target:
        page.locator("#ip").fill(target)
    page.locator("#run").click()


def line(seconds: float) -> Rounds:
    """Watch a tool that prints four lines a second, which a server is asked for that does nothing else."""
    with ours(eight()) as server, chromium() as browser:
        while True:
            page = open_page(browser, server)
            page.evaluate(SEE_LINES)
            ask(page, "tick", "192.0.2.1")
            time.sleep(seconds)
            late: list[float] = page.evaluate("late")
            page.context.close()
            yield {
                Row("line printed to line seen: median, ms", SEEN): alone(percentile(late, 50)),
                Row("line printed to line seen: p99, ms"): alone(percentile(late, 99)),
            }


def flood(seconds: float) -> Rounds:
    """Watch a tool that prints 20,000 lines in 10 s, and click meanwhile."""
    document = eight(output_kib=4096)
    document["commands"] = {"flood": {"cmd": [sys.executable, "-ISc", FLOOD]}}
    title = f"{LINES:,} lines in {SECONDS} s"
    while True:
        with ours(document) as server, chromium() as browser:
            page = open_page(browser, server)
            page.evaluate(SEE_TASKS)
            ask(page, "flood")
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                page.locator("#clicked").click()
                time.sleep(PAUSE)
            page.locator("#run").wait_for(state="visible")
            time.sleep(1)  # what follows the last line is a part of it
            seen: dict[str, Any] = page.evaluate(
                "({ tasks, clicks, clicked: Number(document.querySelector('#clicked').textContent),"
                " lines: document.querySelector('pre').textContent.split('\\n').length - 1 })"
            )
            processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
            memory = max(pss_of(each["id"]) for each in processes if each["type"] == "renderer")
        yield {
            Row(f"{title}: lines lost", Goal("ours", "≤", 0, max)): alone(LINES - seen["lines"]),
            Row(f"{title}: longest task, ms (50 and less is 50)", TASK): alone(
                max(seen["tasks"], default=50)
            ),
            Row(f"{title}: tasks over 50 ms"): alone(len(seen["tasks"])),
            Row(f"{title}: clicks answered"): alone(seen["clicked"]),
            Row(f"{title}: slowest click, ms", CLICK): alone(max(seen["clicks"], default=16)),
            Row(f"{title}: memory (PSS) of the renderer, MiB", MEMORY): alone(memory / 1024),
        }


def load(seconds: float) -> Rounds:
    """Open the page for the first time."""
    with ours(eight()) as server, chromium() as browser:
        while True:
            page = open_page(browser, server)
            page.wait_for_function(HAS_PAINTED)
            requests = page.evaluate(PAINTED)
            page.context.close()
            size = sum(path.stat().st_size for path in (HERE / "html").iterdir())
            yield {
                Row("requests to the first paint", REQUESTS): alone(requests),
                Row("html/, KiB", SIZE): alone(size / 1024),
            }


CASES: list[Case] = [line, flood, load]
