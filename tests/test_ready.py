"""Answers that do not change: made once, revalidated, compressed for those who take it, and bounded."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from lookingglass.ready import SIZE, Ready, Shelf, ready_json
from tests.support import V1, Ask, asker, at_once, build
from tinytracer import TinyTracer

LARGE = ("/", f"{V1}/cmd", "/openapi.json", "/style.css", "/script.js", "/api/info")
ALL = (
    *LARGE,
    f"{V1}/routers",
    f"{V1}/routers/0",
    "/.well-known/looking-glass",
    "/api/capabilities",
    "/icon.svg",
)
INFO = {"title": "Example", "blurb": "<b>AS64500</b> " * 40}


@pytest.fixture(scope="module")
def application() -> Iterator[TinyTracer]:
    application = build({"info": INFO})
    yield application
    application.close()


@pytest.fixture(scope="module")
def ask(application: TinyTracer) -> Ask:
    return asker(application)


@pytest.mark.parametrize("path", ALL)
def test_answer_that_does_not_change_is_the_same_twice_and_has_to_be_revalidated(ask: Ask, path: str) -> None:
    first, second = ask(path), ask(path)
    assert first == second
    assert first.status == 200
    assert first.headers["ETag"].startswith('"')
    assert "no-cache" in first.headers["Cache-Control"]
    assert "Accept-Encoding" in first.headers["Vary"]
    assert first.headers["Content-Length"] == str(len(first.body))
    assert "Content-Encoding" not in first.headers


@pytest.mark.parametrize("path", ALL)
def test_matching_etag_is_304_without_a_body(ask: Ask, path: str) -> None:
    etag = ask(path).headers["ETag"]
    for known in (etag, f'"x", W/{etag}', "*"):
        reply = ask(path, HTTP_IF_NONE_MATCH=known)
        assert (reply.status, reply.body, reply.headers["ETag"]) == (304, b"", etag)
        assert "Content-Type" not in reply.headers
        assert "no-cache" in reply.headers["Cache-Control"]
    for other in ('"x"', "", etag.strip('"')):
        assert ask(path, HTTP_IF_NONE_MATCH=other).status == 200


@pytest.mark.parametrize("path", LARGE)
@pytest.mark.parametrize("taken", ["gzip", "gzip, deflate, br", "*", "gzip;q=0.5", "x-gzip", "GZIP"])
def test_gzip_is_sent_to_those_who_take_it(ask: Ask, path: str, taken: str) -> None:
    plain, packed = ask(path), ask(path, HTTP_ACCEPT_ENCODING=taken)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body)
    assert packed.headers["Content-Length"] == str(len(packed.body))
    assert packed.headers["ETag"] != plain.headers["ETag"]
    assert packed.headers["Content-Type"] == plain.headers["Content-Type"]
    again = ask(path, HTTP_ACCEPT_ENCODING=taken, HTTP_IF_NONE_MATCH=packed.headers["ETag"])
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", packed.headers["ETag"])


@pytest.mark.parametrize("path", LARGE)
@pytest.mark.parametrize(
    "taken", ["", "identity", "br", "gzip;q=0", "*;q=0", "gzip;q=0.5, identity;q=1", "x"]
)
def test_gzip_is_not_sent_to_those_who_do_not_take_it(ask: Ask, path: str, taken: str) -> None:
    reply = ask(path, HTTP_ACCEPT_ENCODING=taken)
    assert "Content-Encoding" not in reply.headers
    assert reply == ask(path)


def test_small_answer_is_not_compressed() -> None:
    reply = asker(build())("/api/capabilities", HTTP_ACCEPT_ENCODING="gzip")
    assert "Content-Encoding" not in reply.headers


def test_304_names_the_etag_that_the_client_has(ask: Ask) -> None:
    """A cache takes a 304 for the stored answer of that ETag (RFC 9111 section 4.3.4), not for another."""
    etag = ask("/style.css").headers["ETag"]
    reply = ask("/style.css", HTTP_ACCEPT_ENCODING="gzip", HTTP_IF_NONE_MATCH=etag)
    assert reply.status == 200 or reply.headers["ETag"] == etag


@pytest.mark.parametrize("path", ALL)
@pytest.mark.parametrize("taken", ["", "gzip"])
def test_head_has_the_headers_of_get_and_no_body(ask: Ask, path: str, taken: str) -> None:
    get, head = ask(path, HTTP_ACCEPT_ENCODING=taken), ask(path, method="HEAD", HTTP_ACCEPT_ENCODING=taken)
    assert (head.status, head.headers, head.body) == (200, get.headers, b"")
    known = ask(path, method="HEAD", HTTP_ACCEPT_ENCODING=taken, HTTP_IF_NONE_MATCH=get.headers["ETag"])
    assert known.status == 304


def test_page_that_shows_an_address_is_private_and_its_etag_covers_the_address() -> None:
    ask = asker(build())
    first, second = (ask("/", REMOTE_ADDR=f"198.51.100.{number}") for number in (1, 2))
    for page, address in ((first, "198.51.100.1"), (second, "198.51.100.2")):
        assert address in page.text
        assert "private" in page.headers["Cache-Control"]
        assert "no-cache" in page.headers["Cache-Control"]
    assert "198.51.100.1" not in second.text
    assert first.headers["ETag"] != second.headers["ETag"]
    moved = ask("/", REMOTE_ADDR="198.51.100.2", HTTP_IF_NONE_MATCH=first.headers["ETag"])
    assert (moved.status, moved.text) == (200, second.text)


def test_page_that_shows_no_address_is_one_for_all() -> None:
    ask = asker(build({"showip": False}))
    first, second = (ask("/", REMOTE_ADDR=f"198.51.100.{number}") for number in (1, 2))
    assert first == second
    assert "private" not in first.headers["Cache-Control"]


def test_page_with_a_question_is_made_for_one_visitor_and_may_be_gone_back_to(ask: Ask) -> None:
    reply = ask("/?cmd=lines")
    assert reply.headers["Cache-Control"] == "private, no-cache"
    assert "ETag" not in reply.headers


def test_answer_depends_on_where_it_was_asked(application: TinyTracer) -> None:
    ask, mounted = asker(application), asker(application, "/lg")
    hrefs = {
        reply.json["data"]["commands"][0]["href"]
        for reply in (
            ask(f"{V1}/cmd"),
            mounted(f"{V1}/cmd"),
            ask(f"{V1}/cmd", HTTP_HOST="lg.example.net"),
            ask(f"{V1}/cmd", HTTP_HOST="lg.example.net:8443"),
            ask(f"{V1}/cmd", **{"wsgi.url_scheme": "https"}),
        )
    }
    assert hrefs == {
        f"{base}{V1}/echo"
        for base in (
            *("http://localhost", "http://localhost/lg", "http://lg.example.net"),
            *("http://lg.example.net:8443", "https://localhost:80"),
        )
    }


def test_host_that_is_none_is_refused_each_time(ask: Ask) -> None:
    for _ in range(2):
        assert ask(f"{V1}/cmd", HTTP_HOST="a b").status == 400


def test_list_of_one_router_is_not_that_of_all() -> None:
    routers = [{"name": name, "commands": {name: {"cmd": ["echo"]}}} for name in ("one", "two")]
    ask = asker(build({"routers": routers}))
    names = {
        query: [each["command"] for each in ask(f"{V1}/cmd{query}").json["data"]["commands"]]
        for query in ("", "?routerindex=0", "?router=TWO", "?random=1", "")
    }
    assert names == {
        "": ["one", "two"],
        "?routerindex=0": ["one"],
        "?router=TWO": ["two"],
        "?random=1": ["one", "two"],
    }
    assert ask(f"{V1}/cmd?router=x").status == 400


@pytest.mark.slow
def test_shelf_stays_bounded_under_ten_thousand_hosts() -> None:
    application = build()
    paths = (f"{V1}/cmd", f"{V1}/routers", "/.well-known/looking-glass")
    status: list[str] = []

    def ask(path: str, host: str) -> None:
        environ: dict[str, Any] = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": path,
            "SCRIPT_NAME": "",
            "SERVER_NAME": "lg",
            "SERVER_PORT": "80",
            "HTTP_HOST": host,
            "wsgi.url_scheme": "http",
        }
        body = b"".join(application(environ, lambda line, headers: status.append(line)))
        assert host.encode() in body or path.endswith("routers")

    ask(paths[0], "warm.example")
    tracemalloc.start()
    for number in range(10_000):
        ask(paths[number % 3], f"{'a' * 240}{number}.example")
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert set(status) == {"200 OK"}
    assert application._shelf._used <= SIZE
    assert used < 2 * SIZE


def test_shelf_lets_the_oldest_go_and_counts_what_it_keeps() -> None:
    shelf = Shelf(size=40_000)
    for number in range(100):
        shelf.get(number, lambda: Ready(b"x" * 200, "text/plain", {}))
    assert shelf._used == sum(each.size for each in shelf._kept.values()) <= 40_000
    assert list(shelf._kept) == list(range(100 - len(shelf._kept), 100))


def test_answer_that_is_larger_than_the_shelf_is_sent_and_not_kept() -> None:
    shelf = Shelf(size=100)
    made = [shelf.get("key", lambda: ready_json({"x": "y" * 1000})) for _ in range(2)]
    assert made[0] is not made[1]
    assert shelf._used == 0


def test_shelf_counts_right_under_many_threads() -> None:
    shelf = Shelf(size=100_000)

    def visit(visitor: int) -> None:
        for number in range(400):
            found = shelf.get(number % 60, lambda: ready_json(list(range(100))))
            assert found.size

    at_once(16, visit)
    assert shelf._used == sum(each.size for each in shelf._kept.values()) <= 100_000


def test_what_cannot_be_made_is_not_kept() -> None:
    def fail() -> Ready:
        raise ValueError("not now")

    shelf = Shelf()
    with pytest.raises(ValueError, match="not now"):
        shelf.get("key", fail)
    assert shelf.get("key", lambda: ready_json(1)) is shelf.get("key", fail)


def test_same_body_has_the_same_etag_in_every_process() -> None:
    def etag(value: object) -> str:
        headers: list[tuple[str, str]] = []
        ready_json(value)({"REQUEST_METHOD": "GET"}, lambda status, given: headers.extend(given))
        return dict(headers)["ETag"]

    assert etag({"a": 1}) == etag(json.loads('{"a": 1}')) != etag({"a": 2})
