"""Requests that another site's page makes a browser send: which run, and who may read the answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookingglass.origins import read_origin
from tests.support import V1, Ask, asker, build, error

LIST = ["https://www.example.net", "http://other.example:8000"]
RUN = f"{V1}/lines"
HOME = "http://localhost"  # what WebOb's blank requests go to
FETCH = {"MODE": "cors", "DEST": "empty"}
EMBEDDED = [  # what browsers send for elements, workers, links and the like
    {"MODE": "no-cors", "DEST": "image"},
    {"MODE": "cors", "DEST": "image"},
    {"MODE": "cors", "DEST": "font"},
    {"MODE": "cors", "DEST": "script"},
    {"MODE": "no-cors", "DEST": "script"},
    {"MODE": "no-cors", "DEST": "style"},
    {"MODE": "cors", "DEST": "style"},
    {"MODE": "no-cors", "DEST": "video"},
    {"MODE": "no-cors", "DEST": "audio"},
    {"MODE": "no-cors", "DEST": "track"},
    {"MODE": "no-cors", "DEST": "empty"},
    {"MODE": "navigate", "DEST": "iframe"},
    {"MODE": "navigate", "DEST": "document"},
    {"MODE": "navigate", "DEST": "object"},
    {"MODE": "same-origin", "DEST": "empty"},
    {"MODE": "websocket", "DEST": "websocket"},
    {"MODE": "cors"},
    {"DEST": "empty"},
    {},
]


def glass(cors: object) -> Ask:
    return asker(build({"cors": cors}))


def fetched(site: str, origin: str = "", **headers: str) -> dict[str, str]:
    """Return what a browser sends with Sec-Fetch headers."""
    given = {f"HTTP_SEC_FETCH_{name}": value for name, value in {"SITE": site, **headers}.items()}
    return {**given, "HTTP_ORIGIN": origin} if origin else given


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site", "nonsense"])
@pytest.mark.parametrize("headers", EMBEDDED)
@pytest.mark.parametrize("cors", [False, LIST, "*"])
def test_element_on_another_site_runs_nothing_whatever_cors_says(
    site: str, headers: dict[str, str], cors: object
) -> None:
    ask = glass(cors)
    forged = fetched(site, LIST[0], **headers)
    assert "other sites" in error(ask(RUN, **forged), 400)
    page = ask("/?cmd=lines&run=1", **forged)
    assert page.status == 400
    assert 'class="verdict' not in page.text
    assert ask("/?cmd=lines", **forged).status == 200


@pytest.mark.parametrize(
    ("cors", "origin", "status", "shared"),
    [
        (False, LIST[0], 400, None),
        (False, "null", 400, None),
        (LIST, LIST[0], 200, LIST[0]),
        (LIST, LIST[1], 200, LIST[1]),
        (LIST, "http://www.example.net", 400, None),
        (LIST, "https://www.example.net:8443", 400, None),
        (LIST, "https://www.example.net.evil.example", 400, None),
        (LIST, "null", 400, None),
        (["https://WWW.example.net:443"], LIST[0], 200, LIST[0]),
        ("*", LIST[0], 200, "*"),
        ("*", "null", 200, "*"),
        ([], LIST[0], 400, None),
    ],
)
def test_fetch_from_another_site_runs_where_cors_says_so(
    cors: object, origin: str, status: int, shared: str | None
) -> None:
    ask = glass(cors)
    tries = [fetched(site, origin, **FETCH) for site in ("cross-site", "same-site")]
    for headers in (*tries, {"HTTP_ORIGIN": origin}):
        reply = ask(RUN, **headers)
        assert reply.status == status
        assert reply.headers.get("Access-Control-Allow-Origin") == shared
    assert ask(RUN, HTTP_REFERER=f"{origin}/a?b").status == status


def test_fetch_without_origin_runs_only_where_all_may() -> None:
    for cors, status in ((False, 400), (LIST, 400), ("*", 200)):
        assert glass(cors)(RUN, **fetched("cross-site", **FETCH)).status == status


def test_answer_varies_by_origin_where_only_some_may_read_it() -> None:
    listed = glass(LIST)
    for headers in ({}, {"HTTP_ORIGIN": LIST[0]}, {"HTTP_ORIGIN": "https://evil.example"}):
        assert "Origin" in listed(RUN, **headers).headers["Vary"]
    assert "Retry-After" in listed(RUN, HTTP_ORIGIN=LIST[0]).headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize(
    "given",
    [
        {},  # curl
        {"HTTP_ORIGIN": HOME},
        {"HTTP_ORIGIN": f"{HOME}:80"},
        {"HTTP_REFERER": f"{HOME}/?ip=192.0.2.1"},
        {"HTTP_REFERER": HOME},
        {"HTTP_REFERER": ""},
        fetched("same-origin", MODE="navigate", DEST="document"),
        fetched("same-origin", **FETCH),
        fetched("none", MODE="navigate", DEST="document"),
    ],
)
def test_own_page_kept_links_and_programs_run(given: dict[str, str]) -> None:
    ask = glass(False)
    assert ask(RUN, **given).status == 200
    assert 'data-spoken="done"' in ask("/?cmd=lines&run=1", **given).text


@pytest.mark.parametrize(
    "given",
    [
        {"HTTP_REFERER": "http://evil.example/page"},
        {"HTTP_REFERER": f"{HOME}.evil.example/"},
        {"HTTP_REFERER": f"{HOME}@evil.example/"},
        {"HTTP_REFERER": f"{HOME}:8080/"},
        {"HTTP_REFERER": "https://localhost/"},
        {"HTTP_REFERER": "android-app://com.example/"},
        {"HTTP_REFERER": "about:blank"},
        {"HTTP_ORIGIN": "http://evil.example"},
        {"HTTP_ORIGIN": "null"},
        {"HTTP_ORIGIN": f"{HOME}, http://evil.example"},
        {"HTTP_ORIGIN": HOME, "HTTP_REFERER": "http://evil.example/"},
        {"HTTP_SEC_PURPOSE": "prefetch;prerender"},
        fetched("none", MODE="navigate", DEST="document") | {"HTTP_SEC_PURPOSE": "prefetch"},
    ],
)
def test_foreign_origin_or_referer_without_sec_fetch_runs_nothing(given: dict[str, str]) -> None:
    ask = glass(False)
    error(ask(RUN, **given), 400)
    assert ask("/?cmd=lines&run=1", **given).status == 400
    error(ask(f"{V1}/nothing", **given), 400)
    assert ask(RUN, method="HEAD", **given).status == 400
    assert ask(f"{V1}/cmd", **given).status == 200


def test_configured_host_is_the_own_site_as_well() -> None:
    ask = asker(build({"host": "https://lg.example.net/glass"}))
    for origin, status in (("https://lg.example.net", 200), (HOME, 200), ("http://lg.example.net", 400)):
        assert ask(RUN, HTTP_ORIGIN=origin).status == status
        assert ask(RUN, HTTP_REFERER=f"{origin}/x").status == status


@pytest.mark.parametrize(
    ("cors", "path", "shared"),
    [
        (False, RUN, None),
        (LIST, RUN, LIST[0]),
        (["https://x.example"], RUN, None),
        ("*", RUN, "*"),
        (False, f"{V1}/cmd", "*"),
        (False, "/", None),
        ("*", "/", None),
    ],
)
def test_preflight_is_answered_by_who_may_read(cors: object, path: str, shared: str | None) -> None:
    asked = {"HTTP_ORIGIN": LIST[0], "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "GET"}
    reply = glass(cors)(path, method="OPTIONS", **asked)
    assert reply.status == 204
    assert reply.headers.get("Access-Control-Allow-Origin") == shared
    assert ("GET" in reply.headers.get("Access-Control-Allow-Methods", "")) == bool(shared)
    assert reply.headers["Allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"MODE": "no-cors", "DEST": "image"}, 400),
        ({"MODE": "navigate", "DEST": "iframe"}, 400),
        ({"MODE": "cors", "DEST": "empty"}, 400),
        ({"MODE": "navigate", "DEST": "document"}, 200),
    ],
)
def test_test_file_is_not_sent_into_pages_of_other_sites(
    tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    (tmp_path / "1MB.bin").write_bytes(bytes(1 << 20))
    ask = asker(build({"testfiles": str(tmp_path)}))
    assert ask("/testfiles/1MB.bin", **fetched("cross-site", **headers)).status == status
    assert ask("/testfiles/1MB.bin", **fetched("same-site", **headers)).status == 200


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://a.example", "https://a.example"),
        ("https://A.example:443", "https://a.example"),
        ("http://[2001:db8::1]:8080", "http://[2001:db8::1]:8080"),
        ("http://a.example:443", "http://a.example:443"),
        ("ftp://a.example", None),
        ("https://a.example/", None),
        ("https://u@a.example", None),
        ("https://a.example\n", None),
        ("null", None),
        ("*", None),
    ],
)
def test_origin_is_read_as_browsers_write_it(text: str, origin: str | None) -> None:
    assert read_origin(text) == origin
