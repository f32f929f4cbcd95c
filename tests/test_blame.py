"""data.failure_source: who is to blame for an answer that is no success."""

from __future__ import annotations

import sys
from typing import Any

import pytest

import rfc8522
from lookingglass.names import Unresolved
from lookingglass.problems import Problem
from tests.support import ECHO_AND_WAIT, GENEROUS, V1, Reply, Serve, asker, build

COMMANDS: dict[str, Any] = {
    "probe": {"cmd": ["false", "{{TARGET}}"], "argument": "address"},
    "look up": {"cmd": ["false", "{{TARGET}}"], "argument": "address", "probes": False},
    "list": {"cmd": ["false"]},
    "well": {"cmd": ["echo", "well"]},
    "slow probe": {
        "cmd": [sys.executable, "-c", ECHO_AND_WAIT, "{{TARGET}}"],
        "argument": "address",
        "runtime": 0.2,
    },
    "slow list": {"cmd": ["sleep", "1000"], "runtime": 0.2},
    "endless": {"cmd": ["yes"]},
    "missing": {"cmd": ["/no/such/program"]},
}
TARGET = "192.0.2.1"
NOWHERE: dict[str, Any] = {"deny": []}


def blamed(reply: Reply) -> tuple[int, str, str | None]:
    return reply.status, reply.json["status"], reply.json["data"].get("failure_source")


@pytest.mark.parametrize(
    ("path", "outcome"),
    [
        (f"probe/{TARGET}", (200, "fail", "target")),
        (f"look/up/{TARGET}", (200, "fail", "router")),
        ("list", (200, "fail", "router")),
        ("well", (200, "success", None)),
        (f"slow/probe/{TARGET}", (504, "error", "target")),
        ("slow/list", (504, "error", "router")),
        ("endless", (500, "error", "glass")),
        ("missing", (502, "error", "router")),
        ("none", (404, "error", "visitor")),
        ("probe/-c1", (400, "error", "visitor")),
    ],
)
def test_outcome_of_a_run_blames(path: str, outcome: tuple[int, str, str | None]) -> None:
    ask = asker(build({"commands": COMMANDS, "targets": NOWHERE}))
    assert blamed(ask(f"{V1}/{path}")) == outcome


def test_router_that_cannot_be_reached_is_to_blame() -> None:
    router = {
        "name": "far",
        "via": [sys.executable, "-c", "raise SystemExit(255)"],
        "commands": {"list": {"cmd": ["true"]}},
    }
    assert blamed(asker(build({"routers": [router]}))(f"{V1}/list")) == (502, "error", "router")


def test_limit_of_the_visitor_and_limit_of_all_blame_differently(serve: Serve) -> None:
    ask = asker(build({"commands": COMMANDS, "limits": {"rate": "1/minute", "burst": 1}}))
    ask(f"{V1}/well")
    assert blamed(ask(f"{V1}/well")) == (429, "error", "visitor")
    limits = {**GENEROUS, "concurrent": 1}
    server = serve(commands={"wait": {"cmd": ["sleep", "1000"]}, **COMMANDS}, limits=limits)
    with server.begin(f"{V1}/wait"):
        server.wait_for_children()
        refused = Reply(*server.get(f"{V1}/list"))
    assert blamed(refused) == (503, "error", "glass")


def test_event_and_page_tell_the_same_as_json() -> None:
    ask = asker(build({"commands": COMMANDS}))
    events = ask(f"{V1}/list", "text/event-stream").text
    assert '"failure_source": "router"' in events.rpartition("event: result")[2]
    assert '"failure_source": "visitor"' in ask(f"{V1}/list/{TARGET}", "text/event-stream").text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", f"{V1}/list", 405), ("GET", "/none", 404), ("GET", f"{V1}/cmd?protocol=9", 400)],
)
def test_request_that_is_wrong_blames_the_visitor(method: str, path: str, status: int) -> None:
    reply = asker(build({"commands": COMMANDS}))(path, method=method)
    assert (reply.status, reply.json["data"]["failure_source"]) == (status, "visitor")
    assert reply.json["data"]["runtime"] == 0
    assert {*reply.json["data"]} == {"performed_at", "runtime", "failure_source"}  # RFC 8522 section 2.3.3


def test_failure_inside_blames_the_glass(monkeypatch: pytest.MonkeyPatch) -> None:
    application = build({"commands": COMMANDS})
    monkeypatch.setattr(application, "_dispatch", lambda environ: 1 / 0)
    reply = asker(application)(f"{V1}/list")
    assert (reply.status, reply.json["data"]["failure_source"]) == (500, "glass")


def test_name_that_nobody_answers_for_blames_the_resolver() -> None:
    envelope = rfc8522.envelope_of(Unresolved("No answer."))
    assert envelope["data"]["failure_source"] == "resolver"


def test_every_kind_of_problem_blames_somebody_that_users_know() -> None:
    kinds, found = [Problem], []
    while kinds:
        kinds += kinds[0].__subclasses__()
        found.append(kinds.pop(0))
    assert len(found) > 5
    assert {kind.failure_source for kind in found} <= {*rfc8522.SOURCES}
    assert {*rfc8522.BLAMED.values()} <= {*rfc8522.SOURCES, rfc8522.ASKED}
