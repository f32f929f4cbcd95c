"""What one can do with an answer in a browser: copy, save, link, ask again, compare."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, Page, expect

from tests.pages import answer, opened, pause, result, run, view
from tests.support import Serve, Server, soon

pytestmark = pytest.mark.browser
ECHO = {"cmd4": ["echo", "{{TARGET}}"], "cmd6": ["echo", "{{TARGET}}"]}
TEXT = "first\n```\nlast *bold* <b>\n"
FIRST, SECOND = "a" * 22, "b" * 22


@pytest.fixture
def server(serve: Serve) -> Server:
    return serve(
        routers=[{"name": "one_1.example", "city": "Berlin", "country": "de", "commands": {"echo": ECHO}}]
    )


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    with opened(browser, server, permissions=["clipboard-read", "clipboard-write"]) as page:
        yield page


def ask(page: Page, identity: str, target: str = "192.0.2.1") -> None:
    """Have an answer on the page that is kept under this identity."""
    page.unroute_all()
    home = page.url.partition("?")[0]
    answer(page, ("output", {"text": TEXT}), view(), result(result=f"{home}results/{identity}"))
    run(page, "echo", target)
    expect(page.locator(".answer").first.get_by_role("button", name="Again")).to_be_visible()
    expect(page.locator("#run")).to_be_visible()


def copied(page: Page) -> str:
    return str(page.evaluate("navigator.clipboard.readText()"))


def test_text_is_copied_with_what_it_is(page: Page) -> None:
    ask(page, FIRST)
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    head, link, rest = copied(page).split("\n", 2)
    assert head == "echo 192.0.2.1 from one_1.example, Berlin DE, 2026-11-25T15:44:25Z: ◐ 37 % lost"
    assert link.endswith(f"/results/{FIRST}")
    assert rest == f"\n{TEXT}"
    expect(page.get_by_role("button", name="Copy", exact=True)).to_be_visible()  # again


def test_markdown_has_nothing_of_the_output_as_markup(page: Page) -> None:
    ask(page, FIRST)
    page.get_by_text("More").click()
    page.get_by_role("button", name="Copy as Markdown").click()
    assert soon(lambda: copied(page).startswith("**"))
    lines = copied(page).split("\n")
    assert (
        lines[0] == r"**echo 192.0.2.1 from one\_1.example, Berlin DE, 2026\-11\-25T15:44:25Z: ◐ 37 % lost**"
    )
    assert lines[2:7] == ["````", "first", "```", "last *bold* <b>", "````"]


def test_answer_is_saved_as_a_file(page: Page, tmp_path: Path) -> None:
    ask(page, FIRST)
    page.get_by_text("More").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "echo-192.0.2.1-one_1.example-2026-11-25T15-44-25Z.txt"
    download.value.save_as(tmp_path / "saved")
    assert (tmp_path / "saved").read_text().endswith(TEXT)


def test_link_is_the_result_or_the_question(page: Page) -> None:
    ask(page, FIRST)
    link = page.get_by_role("link", name="Link")
    link.click()
    expect(page.get_by_role("link", name="Copied")).to_be_visible()
    assert copied(page).endswith(f"/results/{FIRST}")
    page.unroute_all()
    answer(page, ("output", {"text": TEXT}))
    run(page, "echo", "192.0.2.2")
    page.get_by_role("link", name="Link").first.click()
    assert soon(lambda: copied(page).endswith("/?ip=192.0.2.2&cmd=echo&router=one_1.example"))


def test_curl_line_asks_the_same(page: Page, server: Server) -> None:
    run(page, "echo", "192.0.2.1")
    page.get_by_text("More").click()
    page.get_by_role("button", name="Copy the curl line").click()
    assert soon(lambda: copied(page).startswith("curl"))
    argv = shlex.split(copied(page))
    assert argv[0] == "curl"
    shown = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout
    assert shown == "192.0.2.1\n"


def test_again_asks_what_was_asked_whatever_the_form_says(page: Page) -> None:
    ask(page, FIRST)
    page.locator("#ip").fill("192.0.2.9")
    pause(page)
    page.get_by_role("button", name="Again").click()
    expect(page.locator("h2")).to_have_count(2)
    expect(page.locator("#ip")).to_have_value("192.0.2.1")


def test_result_is_compared_with_another_of_this_browser(page: Page) -> None:
    home = page.url
    page.route("**/results/**/vs/**", lambda route: route.fulfill(body="compared", content_type="text/html"))
    ask(page, FIRST)
    page.goto(home)  # the results of a browser are known in all its pages
    page.route("**/results/**/vs/**", lambda route: route.fulfill(body="compared", content_type="text/html"))
    ask(page, SECOND, "192.0.2.2")
    page.route("**/results/**/vs/**", lambda route: route.fulfill(body="compared", content_type="text/html"))
    page.get_by_text("More").click()
    offered = page.get_by_label("Compare with a result of this browser").locator("option")
    expect(offered).to_have_text(["echo 192.0.2.1, one_1.example, Berlin DE, 2026-11-25T15:44:25Z"])
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url(f"{home}results/{FIRST}/vs/{SECOND}")


def test_results_of_the_same_question_are_offered_first_and_then_those_of_its_command(page: Page) -> None:
    panel = (
        "{ result: `/results/${title.length}0000000`, asking: { question: { title } }, from: 'f', when: 'w' }"
    )
    for title in ("echo 192.0.2.99", "show", "echo 192.0.2.1", "echoes", "echo2 192.0.2.1"):
        page.evaluate(f"title => keep({panel})", title)
    ask(page, FIRST)
    page.get_by_text("More").click()
    offered = page.get_by_label("Compare with a result of this browser").locator("option")
    titles = ["echo 192.0.2.1", "echo 192.0.2.99", "echo2 192.0.2.1", "echoes", "show"]
    expect(offered).to_have_text([f"{title}, f, w" for title in titles])


def test_result_is_compared_with_a_pasted_link(page: Page) -> None:
    home = page.url
    ask(page, SECOND)
    page.route("**/results/**/vs/**", lambda route: route.fulfill(body="compared", content_type="text/html"))
    page.get_by_text("More").click()
    pasted = page.get_by_label("Compare with a pasted link")
    pasted.fill("javascript:alert(1)")
    page.get_by_role("button", name="Compare").click()
    assert pasted.evaluate("each => each.validationMessage").startswith("Paste the link of a result")
    pasted.fill(f"https://elsewhere.example/results/{FIRST}?x#y")
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url(f"{home}results/{FIRST}/vs/{SECOND}")


def test_number_of_results_that_a_browser_keeps_is_bounded(page: Page) -> None:
    panel = "{ result: `/results/${id}`, asking: { question: { title: 't' } }, from: 'f', when: 'w' }"
    for number in range(30):
        page.evaluate(f"id => keep({panel})", f"{number:022}")
    assert page.evaluate("kept().map(each => Number(each.id))") == list(range(29, 5, -1))


def test_menu_closes_with_escape_and_elsewhere(page: Page) -> None:
    ask(page, FIRST)
    page.get_by_text("More").click()
    expect(page.get_by_role("button", name="Download")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Download")).to_be_hidden()
    expect(page.locator(".menu summary")).to_be_focused()
    page.get_by_text("More").click()
    page.locator("h1").click()
    expect(page.get_by_role("button", name="Download")).to_be_hidden()


# --- pages that the server writes


def kept_answer(page: Page, target: str) -> str:
    """Have an answer kept, and return its URL."""
    run(page, "echo", target)
    link = page.locator(".answer").first.get_by_role("link", name="Link")
    expect(page.locator("h2").first).to_have_text(f"echo {target}")
    expect(link).to_have_attribute("href", re.compile("/results/"))
    expect(page.locator("#run")).to_be_visible()
    return str(link.get_attribute("href"))


def test_page_of_a_result_is_copied_and_compared(page: Page) -> None:
    links = [kept_answer(page, target) for target in ("192.0.2.1", "192.0.2.2")]
    page.goto(links[0])
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert copied(page).startswith("echo 192.0.2.1 from one_1.example, Berlin DE, 20")
    assert copied(page).endswith(f"{links[0]}\n\n192.0.2.1\n")
    page.get_by_role("link", name="Link").click()
    expect(page.get_by_role("link", name="Copied")).to_be_visible()
    assert copied(page) == links[0]
    page.get_by_text("More").click()
    page.get_by_role("button", name="Copy as Markdown").click()
    assert soon(lambda: copied(page).startswith(r"**echo 192.0.2.1 from one\_1.example, Berlin DE, 20"))
    page.get_by_role("button", name="Copy the curl line").click()
    assert soon(lambda: copied(page).startswith("curl -N -H 'Accept: text/plain' "))
    page.locator("h1").click()
    page.get_by_label("Compare with a result of this browser").select_option(index=1)
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url("**/vs/*")
    expect(page.locator(".verdict")).to_contain_text("≠")
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert "192.0.2.2" in copied(page)
    page.get_by_role("link", name="Swap").click()
    expect(page.locator(".verdict")).to_contain_text("≠")


def test_page_that_was_streamed_has_the_same_actions(page: Page) -> None:
    page.goto(f"{page.url}?ip=192.0.2.7&cmd=echo&run=1")
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert copied(page).endswith("\n\n192.0.2.7\n")
    page.get_by_role("link", name="Again").click()
    expect(page.locator("pre").first).to_have_text("192.0.2.7\n")


def test_addresses_lead_on_from_results_and_comparisons_as_from_live_answers(page: Page) -> None:
    links = [kept_answer(page, target) for target in ("192.0.2.1", "192.0.2.2")]
    home = page.url.partition("?")[0]
    next_question = re.compile(r"\?ip=192\.0\.2\.\d&cmd=echo&router=one_1\.example$")
    comparison = f"{links[0]}/vs/{links[1].rpartition('/')[2]}"
    for url in (f"{home}?ip=192.0.2.7&cmd=echo&run=1", *links, comparison):
        page.goto(url)
        expect(page.locator("a.onward").first).to_have_attribute("href", next_question)
    page.locator("a.onward").last.click()
    expect(page.locator("#ip")).to_have_value("192.0.2.2")
    expect(page.locator("#cmd")).to_have_value("echo")
    expect(page.locator("h2")).to_have_count(0)  # nothing has run


def test_page_of_a_result_leads_on_without_a_script(browser: Browser, server: Server) -> None:
    with opened(browser, server, "?ip=192.0.2.7&cmd=echo&run=1", script=False) as page:
        page.get_by_role("link", name="Link").click()
        expect(page.locator("h1")).to_have_text("Frozen: echo 192.0.2.7")
        first = page.url
        page.get_by_role("link", name="Again").click()
        expect(page.locator("pre")).to_have_text("192.0.2.7\n")
        page.get_by_role("link", name="Link").click()
        page.get_by_label("Compare with").fill(first)
        page.get_by_role("button", name="Compare").click()
        expect(page.locator(".verdict")).to_contain_text("=")
        expect(page.get_by_role("button")).to_have_count(0)


# --- names that somebody else chose


EVIL = "<img src=x onerror=alert(1)>\"'`*_[x](javascript:alert(2))\u202eabc\u05d0\u001b[31m\n# " + "x" * 300
HOSTILE_TITLE = f"Lab {EVIL}"


def test_hostile_texts_are_inert_and_readable_on_the_page_and_in_what_is_copied(
    serve: Serve, browser: Browser
) -> None:
    script = "import sys; sys.stdout.write(sys.argv[1])"
    name = EVIL.replace("\n", " ")
    line = f"traceroute to 192.0.2.1 (192.0.2.1), 30 hops max\n 1  {name} (192.0.2.9)  1.0 ms\n"
    command = {"cmd": [sys.executable, "-c", script, line], "parser": "traceroute", "description": EVIL}
    router = {"name": "r1.example", "city": EVIL, "commands": {"trace": command}}
    server = serve(routers=[router], info={"title": HOSTILE_TITLE})
    grants = ["clipboard-read", "clipboard-write"]
    with opened(browser, server, permissions=grants, viewport={"width": 360, "height": 800}) as page:
        alerts: list[str] = []

        def note(dialog: Dialog) -> None:
            alerts.append(dialog.message)
            dialog.dismiss()

        page.on("dialog", note)
        run(page, "trace")
        link = page.get_by_role("link", name="Link")
        expect(link).to_have_attribute("href", re.compile("/results/"))
        page.get_by_text("More").click()
        page.get_by_role("button", name="Copy as Markdown").click()
        assert soon(lambda: copied(page).startswith("**"))
        head, *_ = copied(page).split("\n")
        assert r"\<img src=x onerror=alert\(1\)\>" in head  # on one line, and nothing of it is markup
        assert not set("\u202e\u001b") & set(copied(page))
        assert r"\[x\]\(javascript:alert\(2\)\)" in head
        href = link.get_attribute("href") or ""
        for url in (page.url, href, f"{href}/vs/{href.rpartition('/')[2]}"):
            page.goto(url)
            assert page.locator("img").count() == 0
            assert "<img src=x onerror=alert(1)>" in page.locator("body").inner_text()
            assert not set("\u202e\u001b") & set(page.locator("body").inner_text())
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        assert alerts == []
