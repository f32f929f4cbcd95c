"""Properties of the whole: whatever is asked, it is answered as the protocol says, and leaves one record.

``make fuzz`` tries these, and the properties of all other tests, with many more examples.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import rfc8522
from commands import PLACEHOLDER
from lookingglass import configuration as conf
from lookingglass import names, targets, urls
from lookingglass.configuration import ConfigurationError
from lookingglass.problems import TargetError
from lookingglass.visitors import Visitor
from rfc8522 import Parameters, ProtocolError, Vocabulary
from tests.support import HERE, MEDIA, PRINTING, V1, Ask, Reply, asker, build, changed, examples
from tests.test_journal import logfmt
from tinytracer import _route

T = TypeVar("T")
ENDLESS = {"slow", "short", "much"}
ROUTERS = [
    {"name": "a.example.net", "commands": {name: PRINTING[name] for name in PRINTING if name not in ENDLESS}},
    {"name": "b.example.net", "commands": {"show": {"cmd": ["echo", "b"]}}, "vrfs": ["mgmt"]},
]
API = (V1.rpartition("/")[0], "/api/", "/openapi.json")

LATIN = st.text(st.characters(codec="latin-1"), max_size=20)  # as WSGI has paths and headers
PIECES = st.sampled_from(
    [
        *("cmd", "routers", "0", "1", "2", "echo", "ECHO", "show", "route", "only", "four", "fail", "lines"),
        *("markup", "missing", "192.0.2.1", "2001:db8::/32", "::ffff:10.0.0.1", "localhost", "a.b", "-c", ""),
        *("..", ".", "%2F", "\xe2\x82\xac", "\xff", "\0", "\r\n", "healthz", "api", "info", "testfiles"),
        *("style.css", "metrics", "results", "openapi.json"),
    ]
)
PATHS = st.builds(
    str.__add__,
    st.sampled_from(["", "/", f"{V1}/", f"{V1}/", f"{V1}/", "/.well-known/looking-glass", "/api/"]),
    st.lists(st.one_of(PIECES, LATIN), max_size=4).map("/".join),
).filter(lambda path: not path or (path.startswith("/")))
VALUES = st.one_of(
    st.sampled_from(["", "1", "2", "1,1", "0", "0.5", "1e9", "a.example.net", "b.example.net", "mgmt"]),
    st.sampled_from(["application/json", "text/plain, */*", "echo", "show", "192.0.2.1", "%ff", "%00", "+"]),
    st.sampled_from(["*", "a.example.net,b.example.net", "b.example.net,A.EXAMPLE.NET,b.example.net"]),
    st.text("0123456789.,-+eE%&=;", max_size=10),
)
KEYS = st.sampled_from(
    [
        *("protocol", "router", "routerindex", "runtime", "format", "vrf", "random", "routers", "view"),
        *("cmd", "ip", "run", "RUN"),
    ]
)
QUERIES = st.one_of(
    st.lists(st.builds("{}={}".format, KEYS, VALUES), max_size=4).map("&".join),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30),
)
METHODS = st.sampled_from(["GET"] * 6 + ["HEAD", "OPTIONS", "POST", "DELETE", "TRACE", "BREW"])
HEADER_NAMES = st.sampled_from(
    [
        *("ACCEPT", "ACCEPT_ENCODING", "IF_NONE_MATCH", "IF_MODIFIED_SINCE", "RANGE", "ORIGIN", "REFERER"),
        *("X_FORWARDED_FOR", "FORWARDED", "SEC_FETCH_SITE", "SEC_FETCH_MODE", "SEC_FETCH_DEST", "HOST"),
        *("COOKIE", "VIA", "X_FORWARDED_PROTO", "SEC_PURPOSE"),
    ]
)
HEADER_VALUES = st.one_of(
    st.sampled_from([*MEDIA, "text/html", "*/*;q=0", "gzip", "*", "bytes=0-0", "cross-site", "cors", "lg"]),
    st.sampled_from(['for="[2001:db8::1]"', "192.0.2.9", "https://evil.example/", "null", "empty"]),
    st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=30),
)
HEADERS = st.dictionaries(HEADER_NAMES.map("HTTP_{}".format), HEADER_VALUES, max_size=4)


class Asked(NamedTuple):
    """A looking glass, and the lines that its journal has written."""

    ask: Ask
    lines: list[str]


@pytest.fixture(scope="module")
def asked() -> Iterator[Asked]:
    """Yield a looking glass that asks no name server, for none of the names exists."""

    def no_such_name(name: str) -> tuple[Any, ...]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    application = build({"routers": ROUTERS, "testfiles": str(HERE / "testfiles"), "trustproxy": True})
    found = Asked(asker(application), [])
    handler = logging.Handler()
    handler.emit = lambda record: found.lines.append(record.getMessage())  # type: ignore[method-assign]
    journal = logging.getLogger("tinytracer.journal")
    level = journal.level
    journal.addHandler(handler)
    journal.setLevel(logging.INFO)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(names, "_find", no_such_name)
        patch.setattr(logging.getLogger("tinytracer"), "disabled", True)  # programs that are missing
        yield found
    journal.removeHandler(handler)
    journal.setLevel(level)
    application.close()


def is_well_formed(path: str, answer: Reply) -> bool:
    """Tell whether an answer is what its Content-Type says, and JSON where a program expects it."""
    media = answer.headers.get("Content-Type", "").partition(";")[0]
    if media == "application/json":
        document = json.loads(answer.body)
        return answer.status < 400 or (document["status"], document["code"]) == ("error", answer.status)
    if media == "text/event-stream":
        events = answer.body.decode().split("\n\n")
        return events[-1] == "" and events[-2].startswith("event: result\ndata: {")
    is_api = path.lower().startswith(API)
    return answer.status < 400 or not is_api


@pytest.mark.filterwarnings("ignore:Unknown REQUEST_METHOD")
@settings(max_examples=examples(150), deadline=None)
@given(method=METHODS, path=PATHS, query=QUERIES, headers=HEADERS)
@example("GET", f"{V1}/echo/\xff", "", {})
@example("GET", f"{V1}/show", "router=%ff", {})
@example("GET", f"{V1}/show", "routers=*&view=1", {})
@example("GET", "/", "cmd=show&routers=b.example.net&routers=a.example.net&run=1", {})
@example("GET", "/", "cmd=echo&ip=192.0.2.1&run=1", {})
@example("GET", "/", "cmd=%ff&run=1", {})
@example("HEAD", f"{V1}/nothing", "", {})
def test_anything_is_answered_as_the_protocol_says_and_leaves_one_record(
    asked: Asked, method: str, path: str, query: str, headers: dict[str, str]
) -> None:
    asked.lines.clear()
    given = {"PATH_INFO": path, "QUERY_STRING": query, "REMOTE_ADDR": "127.0.0.1", **headers}
    answer = asked.ask("/", method=method, **given)
    assert not any(set(value) & set("\r\n") for value in answer.headers.values())
    assert answer.status < 600
    assert answer.status != 500, answer
    assert answer.status != 204 or method == "OPTIONS"
    if method == "HEAD" or answer.status in {204, 304}:
        assert answer.body == b""
    elif answer.headers.get("Content-Encoding") != "gzip":
        assert is_well_formed(path, answer), answer
    handler = _route(urls.path_of({"PATH_INFO": path}))[0]
    expected = {1, 2} if handler == "run" else {0, 1, 2} if handler == "show_page" else {0}
    assert len(asked.lines) in (expected if method == "GET" else {0})
    assert len(asked.lines) < 2 or "routers" in query.lower()  # a record of each
    for line in asked.lines:
        assert line.isascii()
        assert line.isprintable()
        record = logfmt(line)
        is_part = "routers" in query.lower()
        assert record["status"] == str(answer.status) or is_part or "text/event-stream" in str(headers)
        assert record["bytes"].isdigit()


# --- the protocol


def or_status(read: Callable[[], T]) -> T | int:
    """Return what is read, or the status of its refusal."""
    try:
        return read()
    except ProtocolError as error:
        return error.status


@settings(max_examples=examples(200), deadline=None)
@given(
    st.lists(
        st.tuples(st.one_of(KEYS, KEYS.map(str.upper), st.text(max_size=8)), st.one_of(VALUES, st.text())),
        max_size=5,
    )
)
def test_parameters_are_refused_or_within_their_ranges(pairs: list[tuple[str, str]]) -> None:
    found = or_status(lambda: Parameters.read(pairs))
    if isinstance(found, int):
        assert found == 400
        return
    assert found.protocol in {None, 4, 6}
    assert found.runtime is None or (found.runtime >= 0 and math.isfinite(found.runtime))
    assert all(name == name.strip(" ") for name in found.routers)
    assert found.routerindex is None or 0 <= found.routerindex < 1_000_000
    assert all(rfc8522.MEDIA_TYPE.fullmatch(each) and each == each.lower() for each in found.format)
    assert Parameters.read(reversed(pairs)) == found
    assert Parameters.read((name.upper(), value) for name, value in pairs if name.isascii()) == found


GLASS = build({"routers": ROUTERS})._glass
WORDS = Vocabulary.of(GLASS.routers)


@settings(max_examples=examples(200), deadline=None)
@given(st.sampled_from(sorted(WORDS.names)), st.one_of(PIECES, st.text(max_size=20)))
def test_path_of_a_command_and_a_target_is_read_as_them(name: str, target: str) -> None:
    (router, *_) = GLASS.routers
    text = target.removesuffix("/")
    is_longer = any(each.startswith(f"{name} ") for each in WORDS.names)
    assume(name in router.commands and not (is_longer and text.lower().startswith("route")))
    command, found = WORDS.split(rfc8522.path_of(name, target), router)
    assert (command.name, found) == (name, text)


@settings(max_examples=examples(200), deadline=None)
@given(st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=5).map("/".join)))
def test_any_path_is_a_command_that_it_begins_with_or_none(path: str) -> None:
    for router in GLASS.routers:
        found = or_status(lambda router=router: WORDS.split(path, router))  # type: ignore[misc]
        if isinstance(found, int):
            assert found == 404
            continue
        command, target = found
        assert command is router.commands[command.name]
        assert rfc8522.path_of(command.name, target).lower() == path.removesuffix("/").lower()


# --- templates

ELEMENTS = st.one_of(
    st.sampled_from(["ping", "-c", "{{TARGET}}", "x{{TARGET}}y", "{{SOURCE}}", "{{ TARGET }}", "{TARGET}"]),
    st.sampled_from(
        ["sh", "-c", "env", "-S", "'", '"', "\\", "2>&1", "| tail -n+2", ";", "a b", "$HOME", ""]
    ),
    st.text(max_size=6),
)
NAMED = ("192.0.2.1", "2001:db8::1", "a.example.net", "1.2.3.4.example", "x_y")


@settings(max_examples=examples(200), deadline=None)
@given(
    value=st.one_of(st.lists(ELEMENTS, max_size=6), st.lists(ELEMENTS, max_size=6).map(" ".join)),
    name=st.one_of(st.sampled_from(NAMED), st.text(max_size=12)),
)
@example("ping {{TARGET}} 2>&1 | tail -n+2", "192.0.2.1")
def test_nothing_that_a_visitor_says_becomes_an_argument_of_its_own(value: Any, name: str) -> None:
    target = None
    with contextlib.suppress(TargetError):
        target = targets.parse(name, "host")
    assume(target is not None)
    assert target is not None
    try:
        router = conf.read(changed("commands/ping/cmd4", value), HERE).routers[0]
    except ConfigurationError:
        return
    template = router.commands["ping"].template(4)
    assert template is not None
    words = value if isinstance(value, list) else shlex.split(value)
    assert template.argv == tuple(words)[: len(template.argv)]
    argv = router.argv(template, 4, target.text, "")
    assert len(argv) == len(template.argv)
    assert argv[0] == template.argv[0]
    for before, after in zip(template.argv, argv, strict=True):
        assert after == before or (PLACEHOLDER.search(before) and target.text in after)


# --- who asks


@settings(max_examples=examples(200), deadline=None)
@given(peer=st.ip_addresses(), headers=HEADERS)
def test_headers_of_strangers_change_nothing(peer: Any, headers: dict[str, str]) -> None:
    assume(not peer.is_loopback and not getattr(peer, "ipv4_mapped", None))
    for trust in (False, True):
        assert Visitor.of({"REMOTE_ADDR": str(peer), **headers}, trust).address == str(peer)


# --- make fuzz


@pytest.mark.slow
def test_make_fuzz_tries_as_many_examples_as_it_is_told() -> None:
    argv = [sys.executable, "-m", "tests.fuzz", "7", "-k", test_headers_of_strangers_change_nothing.__name__]
    done = subprocess.run(argv, cwd=HERE, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^ *14 passing ", done.stdout, re.MULTILINE), (
        done.stdout
    )  # it has twice as many as others
