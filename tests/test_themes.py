"""What an operator adds: style sheet, logo, icon, a page of own words; what is wrong with them is told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from lookingglass import configuration
from tests.pages import opened
from tests.support import Serve, asker, build
from tests.test_diagnosis import check, notes
from tests.test_reloading import Watched

WORDS = """\
We are Example Networks,
AS64500. More: https://www.example.net/a?b=1&c=2.

# What we <keep>
- nothing <script>alert(1)</script>
- "little"
And that is all.
"""
ICON = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><path d="M0 0h1v1H0z"/></svg>'


@pytest.fixture
def theme(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "words.txt").write_text(WORDS)
    (tmp_path / "tab.svg").write_text(ICON)
    (tmp_path / "mine.css").write_text("h2 { color: rgb(1, 2, 3); }")
    return {
        "about": str(tmp_path / "words.txt"),
        "icon": str(tmp_path / "tab.svg"),
        "logo": str(tmp_path / "tab.svg"),
        "css": str(tmp_path / "mine.css"),
    }


@pytest.fixture
def watched(serve: Serve, theme: dict[str, Any]) -> Iterator[Watched]:
    watched = Watched(serve(theme=theme))
    yield watched
    watched.stop()


def mistakes(**theme: Any) -> list[str]:
    document = {"commands": {"true": {"cmd": ["true"]}}, "theme": theme}
    with pytest.raises(configuration.ConfigurationError) as caught:
        configuration.read(document, "")
    return list(caught.value.errors)


# --- what visitors see


def test_own_words_are_a_page_that_the_footer_leads_to(theme: dict[str, Any]) -> None:
    ask = asker(build({"theme": theme}))
    assert '<a href="about">About this looking glass</a>' in ask("/").text.partition("<footer>")[2]
    reply = ask("/about")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "<p>We are Example Networks, AS64500." in reply.text
    assert "<h2>What we &lt;keep&gt;</h2>" in reply.text
    assert "<li>&quot;little&quot;</li></ul>\n<p>And that is all.</p>" in reply.text
    address = "https://www.example.net/a?b=1&amp;c=2"
    assert f'<a href="{address}">{address}</a>.' in reply.text
    assert "<script>" not in reply.text
    assert ask("/about", HTTP_IF_NONE_MATCH=reply.headers["ETag"]).status == 304


def test_without_own_words_there_is_no_page_and_no_link() -> None:
    ask = asker(build())
    assert ask("/about").status == 404
    assert 'href="about"' not in ask("/").text


def test_icon_takes_the_place_of_the_programs_own_on_every_page(theme: dict[str, Any]) -> None:
    ask, plain = asker(build({"theme": theme})), asker(build())
    for path, up in (("/", ""), ("/about", "./")):
        assert f'<link rel="icon" href="{up}icon">' in ask(path).text
    assert (ask("/icon").text, ask("/icon").headers["Content-Type"]) == (ICON, "image/svg+xml")
    assert '<link rel="icon" href="icon.svg">' in plain("/").text
    assert plain("/icon").status == 404
    assert plain("/icon.svg").status == 200


@pytest.mark.browser
def test_browser_shows_own_words_below_a_prefix(serve: Serve, browser: Any, theme: dict[str, Any]) -> None:
    (Path(theme["about"])).write_text("# שלום\n" + WORDS, encoding="utf-8-sig")
    with opened(browser, serve(theme=theme)) as page:
        seen: list[tuple[str, int]] = []
        page.on("response", lambda answer: seen.append((answer.url.rpartition("/")[2], answer.status)))
        page.get_by_role("link", name="About this looking glass").click()
        page.wait_for_url("**/about")
        assert page.locator("#words h2").all_inner_texts() == ["שלום", "What we <keep>"]
        assert (
            page.locator("#words h2").first.evaluate("each => getComputedStyle(each).color") == "rgb(1, 2, 3)"
        )
        assert page.locator("#words").evaluate("each => each.matches(':dir(rtl)')")
        assert page.locator(".site img").evaluate("each => each.height") < 30
        assert Axe().run(page).response["violations"] == []
        assert {status for _, status in seen} <= {200, 304}
        page.locator(".site a").click()
        assert page.locator("#form").count() == 1


# --- what operators are told


def test_what_is_wrong_with_a_file_is_told_with_its_path_and_the_cure(tmp_path: Path) -> None:
    (tmp_path / "large.txt").write_bytes(b"x" * (65536 + 1))
    (tmp_path / "odd.txt").write_bytes(b"one\ntwo\nthr\xe9e\n")
    (tmp_path / "old.css").write_bytes(b"/* \xe9 */")
    (tmp_path / "full.txt").write_bytes(("é" * 32768).encode())
    (tmp_path / "folder.txt").mkdir()
    assert mistakes(about=f"{tmp_path}/large.txt", css=f"{tmp_path}/old.css") == [
        f"theme.about: {tmp_path}/large.txt has more than 64 KiB; make it smaller",
        f"theme.css: line 1 of {tmp_path}/old.css is not UTF-8; save the file as UTF-8",
    ]
    (told,) = mistakes(about=f"{tmp_path}/odd.txt")
    assert told == f"theme.about: line 3 of {tmp_path}/odd.txt is not UTF-8; save the file as UTF-8"
    os.mkfifo(tmp_path / "pipe.txt")
    for name, kind in (("folder.txt", "a folder"), ("pipe.txt", "a named pipe")):
        (told,) = mistakes(about=f"{tmp_path}/{name}")
        assert told == (
            f"theme.about: {tmp_path}/{name} cannot be read: it is {kind}; expected a regular file"
        )
    for name in ("none.txt", "odd.html", "odd\0.txt", ""):
        (told,) = mistakes(about=f"{tmp_path}/{name}")
        assert told.startswith("theme.about: expected the name of a file that exists and ends in .txt, not ")
    document = {"commands": {"true": {"cmd": ["true"]}}, "theme": {"about": f"{tmp_path}/full.txt"}}
    assert len(configuration.read(document, "").theme["about"].body) == 65536


def test_files_are_read_at_start_and_again_at_a_reload(watched: Watched, theme: dict[str, Any]) -> None:
    words = Path(theme["about"])
    words.write_text("Other words.")
    assert b"Example Networks" in watched.server.get("/about")[2]
    words.write_bytes(b"\xff")
    watched.reload()
    assert watched.says(f"theme.about: line 1 of {words} is not UTF-8")
    assert b"Example Networks" in watched.server.get("/about")[2]
    words.write_text("New words.")
    watched.reload()
    assert watched.says("The configuration is reloaded. Changed: theme.about.")
    assert b"New words." in watched.server.get("/about")[2]


def test_check_tells_which_files_a_running_server_shows_as_they_were(
    watched: Watched, theme: dict[str, Any], tmp_path: Path
) -> None:
    Path(theme["css"]).write_text("h2 { color: red; }")
    (told,) = notes(check(tmp_path / "config.json"), "changes")
    assert told.endswith(" Changed: theme.css.")
