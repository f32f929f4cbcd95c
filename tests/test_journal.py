"""One log line for each request for a run, however it ended; and none that a visitor can forge."""

from __future__ import annotations

import json
import logging
import re
import shlex
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webob import Request

from lookingglass.journal import Lines, Outcome, Record
from lookingglass.visitors import Visitor
from tests.support import GENEROUS, MEDIA, PRINTING, V1, Ask, Serve, Server, asker, build, read_until, soon
from tinytracer import TinyTracer

COMMANDS: dict[str, Any] = {**PRINTING, "sleep": {"cmd": ["sleep", "1000"]}, "big": {"cmd": ["seq", "90000"]}}
HOSTILE = [
    "x%0atime=2026-01-01T00:00:00Z client=192.0.2.66 outcome=success",
    "x%0d%0aoutcome=success",
    "x%22 outcome=success status=200 %22",
    "%22%0a%22",
    "x%5c%22 outcome=success",
    "%1b[2J%1b[31m",
    "%00%7f%c2%85%c2%9b",
    "%E2%80%A8outcome=success",
    "%ff%fe",
    "%25s%25d%25(asked)s",
    "{}{0}{asked}",
    "=",
    "outcome=success",
    "a" * 5000,
]


def logfmt(line: str) -> dict[str, str]:
    """Read a line of logfmt strictly: names, and values that are plain or JSON strings."""
    pattern = re.compile(r'([a-z]+)=([A-Za-z0-9._:/,+-]+|"(?:[^"\\]|\\.)*")(?: |$)', re.ASCII)
    found, end = {}, 0
    for match in pattern.finditer(line):
        assert match.start() == end, line
        end = match.end()
        assert match[1] not in found, line
        found[match[1]] = json.loads(match[2]) if match[2].startswith('"') else match[2]
    assert end == len(line), line
    return found


class Journals:
    """Keep the lines of the journal."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    @property
    def lines(self) -> list[str]:
        return [each.getMessage() for each in self._caplog.records if each.name == "tinytracer.journal"]

    def one(self) -> dict[str, str]:
        """Return the one record that there is, and forget it."""
        (line,) = self.lines
        assert line.isascii()
        assert line.isprintable()
        self._caplog.clear()
        return logfmt(line)


@pytest.fixture
def journal(caplog: pytest.LogCaptureFixture) -> Journals:
    caplog.set_level(logging.INFO, "tinytracer.journal")
    return Journals(caplog)


@pytest.fixture(scope="module")
def application() -> Iterator[TinyTracer]:
    application = build({"commands": COMMANDS})
    yield application
    application.close()


@pytest.fixture(scope="module")
def ask(application: TinyTracer) -> Ask:
    return asker(application)


# --- through the callable


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("echo/192.0.2.1", {"outcome": "success", "status": "200", "target": "192.0.2.1", "command": "echo"}),
        ("ECHO/2001:DB8::A", {"outcome": "success", "target": "2001:db8::a"}),
        ("show/route/192.0.2.0%2f24", {"outcome": "success", "target": "192.0.2.0/24"}),
        ("fail", {"outcome": "fail", "status": "200", "command": "fail"}),
        ("slow?runtime=0.2", {"outcome": "timeout", "status": "504"}),
        ("much", {"outcome": "cut", "status": "500"}),
        ("missing", {"outcome": "unreachable", "status": "502", "command": "missing"}),
        ("nothing/192.0.2.1", {"outcome": "refused", "status": "404", "asked": "nothing/192.0.2.1"}),
        ("echo/-c1", {"outcome": "refused", "status": "400", "command": "echo", "asked": "echo/-c1"}),
        ("echo", {"outcome": "refused", "status": "400"}),
        ("echo/192.0.2.1?protocol=2", {"outcome": "refused", "status": "400", "target": "192.0.2.1"}),
        ("lines?router=nobody", {"outcome": "refused", "status": "400", "asked": "lines"}),
        ("lines?runtime=x", {"outcome": "refused", "status": "400", "asked": "lines"}),
        ("lines?%ff=1", {"outcome": "refused", "status": "400", "asked": "lines"}),
        ("echo/%ff", {"outcome": "refused", "status": "400", "command": "echo"}),
        ("%ff", {"outcome": "refused", "status": "400", "asked": "\udcff"}),
        ("echo/nosuch.invalid", {"outcome": "refused", "status": "400", "target": "nosuch.invalid"}),
    ],
)
@pytest.mark.parametrize("accept", MEDIA)
def test_request_for_a_run_leaves_one_record(
    ask: Ask, journal: Journals, path: str, expected: dict[str, str], accept: str
) -> None:
    before = time.time()
    reply = ask(f"{V1}/{path}", accept)
    record = journal.one()
    assert {name: record.get(name) for name in expected} == expected
    assert record["client"] == "198.51.100.0/24"
    assert (
        abs(time.mktime(time.strptime(record["time"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone - before) < 3700
    )
    assert 0 <= float(record["seconds"]) < 10
    if record["outcome"] in {"refused", "unreachable"}:
        assert record["message"]
        assert record["bytes"] == "0"
    else:
        assert record["shared"] == "1"
        assert record["bytes"] == str(len(reply.body))
        assert record["router"]
        assert ("message" in record) == (record["outcome"] not in {"success", "fail"})
        assert "asked" not in record


def test_router_that_is_down_is_unreachable(journal: Journals, tmp_path: Path) -> None:
    via = tmp_path / "via"
    via.write_text("#!/bin/sh\nexit 255\n")
    via.chmod(0o755)
    down = {"name": "down", "via": [str(via)], "commands": {"show": {"cmd": ["show"]}}}
    assert asker(build({"routers": [down]}))(f"{V1}/show").status == 502
    record = journal.one()
    assert (record["outcome"], record["status"], record["router"]) == ("unreachable", "502", "down")


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        ({**GENEROUS, "rate": "1/day", "burst": 1}, "429"),
        ({**GENEROUS, "per_client": 1}, "429"),
        ({**GENEROUS, "viewers": 1}, "503"),
        ({**GENEROUS, "concurrent": 1}, "503"),
    ],
)
def test_limit_leaves_a_record(journal: Journals, limits: dict[str, Any], status: str) -> None:
    application = build({"commands": COMMANDS, "limits": limits})
    body = begin(application, "sleep", "text/plain")
    assert not journal.lines
    assert asker(application)(f"{V1}/lines").status == int(status)
    record = journal.one()
    assert (record["outcome"], record["status"], record["command"]) == ("refused", status, "lines")
    assert "Try again" in record["message"]
    body.close()
    application.close()


@pytest.mark.parametrize("accept", MEDIA)
def test_visitor_who_left_leaves_a_record(application: TinyTracer, journal: Journals, accept: str) -> None:
    body = begin(application, "slow", accept)
    if accept != MEDIA[0]:
        next(body)
    assert not journal.lines
    body.close()
    body.close()
    record = journal.one()
    assert (record["outcome"], record["command"]) == ("left", "slow")


def test_answer_that_was_never_read_leaves_a_record(application: TinyTracer, journal: Journals) -> None:
    begin(application, "lines", "text/plain").close()
    assert journal.one()["outcome"] == "left"


def test_visitors_who_share_a_run_leave_a_record_each(application: TinyTracer, journal: Journals) -> None:
    bodies = [begin(application, "sleep", media) for media in (*MEDIA, "text/plain")]
    for body in bodies:
        body.close()
    found = [logfmt(line) for line in journal.lines]
    assert [(each["shared"], each["outcome"]) for each in found] == [("4", "left")] * 4


def test_run_that_the_closing_has_ended_is_stopped(journal: Journals) -> None:
    application = build({"commands": COMMANDS})
    body = begin(application, "slow", "text/plain")
    next(body)
    application.close()
    for _ in body:
        pass
    body.close()
    assert (journal.one()["outcome"]) == "stopped"
    assert asker(application)(f"{V1}/lines").status == 503
    record = journal.one()
    assert (record["outcome"], record["status"]) == ("refused", "503")


def test_forged_link_leaves_a_record(ask: Ask, journal: Journals) -> None:
    forged = {"HTTP_SEC_FETCH_SITE": "cross-site", "HTTP_SEC_FETCH_MODE": "no-cors"}
    assert ask(f"{V1}/echo/192.0.2.1", **forged).status == 400
    record = journal.one()
    assert (record["outcome"], record["status"], record["asked"]) == ("refused", "400", "echo/192.0.2.1")


def test_failure_inside_leaves_a_record_without_details(
    monkeypatch: pytest.MonkeyPatch, journal: Journals
) -> None:
    application = build()

    def fail(*arguments: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(application._glass.runs, "view", fail)
    assert asker(application)(f"{V1}/lines").status == 500
    record = journal.one()
    assert (record["outcome"], record["status"]) == ("failed", "500")


def test_run_in_the_page_leaves_a_record_and_the_page_none(ask: Ask, journal: Journals) -> None:
    ask("/?cmd=lines&ip=x")
    assert not journal.lines
    ask("/?cmd=lines&run=1")
    assert (journal.one()["outcome"]) == "success"
    ask("/?cmd=nothing&run=1")
    assert (journal.one()["status"]) == "404"
    ask("/?cmd=echo&ip=-c1&run=1")
    assert (journal.one()["status"]) == "400"
    ask("/?cmd=lines&run=1", method="HEAD")
    assert not journal.lines


@pytest.mark.parametrize(
    "path",
    [
        *("/", f"{V1}/cmd", f"{V1}/routers", f"{V1}/routers/0", f"{V1}/routers/9", "/healthz", "/style.css"),
        *("/nothing", "/.well-known/looking-glass", "/openapi.json", "/api/info", "/testfiles/x", "/%ff"),
    ],
)
def test_pages_and_lists_leave_no_record(ask: Ask, journal: Journals, path: str) -> None:
    ask(path)
    ask(path, method="HEAD")
    assert not journal.lines


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
@pytest.mark.parametrize("path", ["lines", "echo/-c1", "nothing", "lines?%ff=1", "lines?runtime=x"])
def test_request_that_runs_nothing_leaves_no_record(
    ask: Ask, journal: Journals, method: str, path: str
) -> None:
    ask(f"{V1}/{path}", method=method)
    assert not journal.lines


# --- what cannot be forged


@pytest.mark.parametrize("form", ["logfmt", "json"])
@pytest.mark.parametrize("target", HOSTILE)
def test_hostile_target_cannot_forge_a_line(caplog: pytest.LogCaptureFixture, form: str, target: str) -> None:
    caplog.set_level(logging.INFO, "tinytracer.journal")
    journal = Journals(caplog)
    ask = asker(build({"log": form}))
    for path in (f"echo/{target}", target, f"echo/192.0.2.1?router={target}"):
        reply = ask(f"{V1}/{path}")
        assert reply.status in {400, 404}
        (line,) = journal.lines
        caplog.clear()
        assert line.isascii()
        assert line.isprintable()
        assert len(line) < 3000
        record = logfmt(line) if form == "logfmt" else json.loads(line)
        assert record["outcome"] == "refused"
        assert str(record["status"]) == str(reply.status)
        assert record["client"] == "198.51.100.0/24"


@given(st.text(max_size=80), st.text(max_size=20))
def test_any_text_comes_back_from_a_line_as_it_was(asked: str, message: str) -> None:
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("tinytracer.journal")
    level, logger.level = logger.level, logging.INFO
    logger.addHandler(handler)
    try:
        for form, read in (("logfmt", logfmt), ("json", json.loads)):
            reader: Callable[[str], dict[str, Any]] = read
            Lines(form)(Record(Visitor("", ""), asked), Outcome("refused", 400, f"!{message}"))
            (line,) = lines
            lines.clear()
            assert line.isascii()
            assert line.isprintable()
            record = reader(line)
            assert record.get("asked", "") == asked[:200]
            assert (record["outcome"], str(record["status"])) == ("refused", "400")
            assert record["message"] == f"!{message}"
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def test_line_is_read_by_a_shells_rules_as_well(journal: Journals, ask: Ask) -> None:
    ask(f"{V1}/nothing at all")
    (line,) = journal.lines
    assert "asked=nothing at all" in shlex.split(line)


# --- how much is told of a client


@pytest.mark.parametrize(
    ("clients", "address", "shown"),
    [
        ("full", "198.51.100.7", "198.51.100.7"),
        ("network", "198.51.100.7", "198.51.100.0/24"),
        ("none", "198.51.100.7", None),
        ("full", "2001:db8:1:2::3", "2001:db8:1:2::3"),
        ("network", "2001:db8:1:2::3", "2001:db8:1::/48"),
        ("none", "2001:db8:1:2::3", None),
        ("network", "::ffff:198.51.100.7", "198.51.100.0/24"),
        ("full", "", None),
        ("network", "", None),
        ("network", "fe80::1%eth0", None),
    ],
)
def test_client_is_told_as_configured(
    journal: Journals, clients: str, address: str, shown: str | None
) -> None:
    ask = asker(build({"log_clients": clients}))
    ask(f"{V1}/lines", REMOTE_ADDR=address)
    (line,) = journal.lines
    assert logfmt(line).get("client") == shown
    assert shown or "198.51" not in line
    assert shown or "2001:db8" not in line


def test_client_behind_a_trusted_proxy_is_told(journal: Journals) -> None:
    ask = asker(build({"trustproxy": True, "log_clients": "full"}))
    ask(f"{V1}/lines", REMOTE_ADDR="127.0.0.1", HTTP_X_FORWARDED_FOR="9.9.9.9, 192.0.2.7")
    assert journal.one()["client"] == "192.0.2.7"


# --- through the server


def begin(application: TinyTracer, path: str, accept: str) -> Any:
    """Ask for a run and return its body, for the caller to close."""
    environ = Request.blank(f"{V1}/{path}", headers={"Accept": accept}).environ
    environ["REMOTE_ADDR"] = "198.51.100.7"
    return application(environ, lambda status, headers: None)


def lines_of(server: Server) -> list[str]:
    """Stop a server and return the lines that its journal has written."""
    server.process.terminate()
    _, log = server.process.communicate(timeout=60)
    return [line for line in log.splitlines() if "outcome" in line]


@pytest.mark.parametrize(("form", "read"), [("logfmt", logfmt), ("json", json.loads)])
def test_server_writes_one_line_for_each_run(
    serve: Serve, form: str, read: Callable[[str], dict[str, Any]]
) -> None:
    limits = {**GENEROUS, "output_kib": 4, "concurrent": 2}
    commands = {**COMMANDS, "two": {"cmd": ["sleep", "999"]}}
    server = serve(commands=commands, limits=limits, log=form, log_clients="full")
    asked = {
        "lines": "success",
        "fail": "fail",
        "slow?runtime=0.2": "timeout",
        "big": "cut",
        "missing": "unreachable",
        "nothing": "refused",
        "echo/-c1": "refused",
        "echo/%22%0aoutcome=success": "refused",
    }
    expected = []
    for path, word in asked.items():
        for media in MEDIA:
            server.get(f"{V1}/{path}", media)
            expected.append(word)
    for path in ("/", f"{V1}/cmd", "/healthz", "/nothing"):
        server.get(path)
    first, second = server.begin(f"{V1}/sleep"), server.begin(f"{V1}/two")
    server.wait_for_children(more_than=1)
    assert server.get(f"{V1}/lines")[0] == 503
    expected.append("refused")
    first.close()
    assert soon(lambda: len(server.children()) == 1)
    second.shutdown(socket.SHUT_WR)
    assert soon(lambda: not server.children())
    expected += ["left", "left"]
    third = server.begin(f"{V1}/slow", "text/plain")
    read_until(third, b"begin")
    expected.append("stopped")
    found = [read(line) for line in lines_of(server)]
    for connection in (second, third):
        connection.close()
    # A record is written a moment after its answer, beside that of the next one.
    assert sorted(each["outcome"] for each in found) == sorted(expected)
    assert {each["client"] for each in found} == {"127.0.0.1"}


def test_server_tells_the_bytes_of_an_answer(serve: Serve) -> None:
    server = serve(commands=COMMANDS)
    sizes = [len(server.get(f"{V1}/lines", media)[2]) for media in MEDIA]
    assert [int(logfmt(line)["bytes"]) for line in lines_of(server)] == sizes
