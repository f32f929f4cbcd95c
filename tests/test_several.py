"""One question to several routers: all answer, none is refused, and what is left stops."""

from __future__ import annotations

import json
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from webob import Request

from commands import JSON
from lookingglass import several
from lookingglass.glass import Glass
from lookingglass.pictures import verdicts
from tests.support import (
    GENEROUS,
    MEDIA,
    PATIENT,
    V1,
    Reply,
    Serve,
    asker,
    build,
    error,
    read_until,
    soon,
    soon_gone,
)
from tests.test_journal import logfmt
from tinytracer import TinyTracer

PING = {"cmd4": ["ping", "-4", "-n", "-c", "2", "-i", "0.2", "{{TARGET}}"], "parser": "ping"}


def commands(name: str) -> dict[str, Any]:
    """Return commands whose output tells which router has run them."""
    return {
        "who": {"cmd": ["echo", name]},
        "pid": {"cmd": ["sh", "-c", f"echo {name} $$; exec sleep 1000"], "runtime": 60},
        "slow": {"cmd": ["sh", "-c", f"echo {name}; sleep 0.5; echo {name}"]},
        "say": {"cmd": ["echo", name, "{{TARGET}}"]},
        "long": {"cmd": ["sh", "-c", f"echo {name}; seq 100000"]},
        "ping": {**PING, "cmd4": ["env", f"R={name}", *PING["cmd4"]]},
    }


def routers(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "commands": commands(name)} for name in names]


ABC: list[dict[str, Any]] = [
    *routers("a", "b"),
    {
        "name": "c",
        "commands": {**commands("c"), "only c": {"cmd": ["echo", "c"]}, "fail": {"cmd": ["false"]}},
    },
    {"name": "d", "commands": {"fail": {"cmd": ["sh", "-c", "echo d; false"]}, "who": {"cmd": ["/no/such"]}}},
]
NINE = [f"r{number}" for number in range(1, 10)]
ADDRESS = {"REMOTE_ADDR": "198.51.100.7"}


@pytest.fixture
def application() -> Iterator[TinyTracer]:
    """Yield a looking glass; afterwards nothing runs, nobody waits and nothing is held."""
    application = build({"routers": ABC})
    yield application
    application.close()
    is_left(application)


def is_left(application: TinyTracer) -> None:
    glass = application._glass
    assert soon(lambda: not glass.runs.alive)
    assert not glass.journal.open
    assert not glass.queue
    assert not glass.queue._stands
    assert soon(lambda: not glass._guard._store._held)  # type: ignore[attr-defined]


def events_of(text: str) -> list[tuple[str, Any]]:
    """Return the events; strict readers refuse an object that has a name twice (RFC 8259 section 4)."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), [name for name, _ in pairs]
        return dict(pairs)

    events = re.findall(r"^event: (.*)\ndata: (.*)$", text, re.M)
    return [(name, json.loads(data, object_pairs_hook=once)) for name, data in events]


def begin(application: TinyTracer, path: str, accept: str, **more: Any) -> tuple[Any, list[str]]:
    """Return the body of an answer in progress and its status, which comes with the first bytes."""
    environ = Request.blank(f"{V1}/{path}", headers={"Accept": accept}).environ
    status: list[str] = []
    body = application({**environ, **ADDRESS, **more}, lambda line, headers: status.append(line))
    return body, status


# --- what is asked


def test_answers_come_in_the_order_asked_and_name_their_routers(application: TinyTracer) -> None:
    reply = asker(application)(f"{V1}/who?routers=C,a")
    assert reply.status == 200
    data = reply.json["data"]
    assert reply.json["status"] == "success"
    assert [(each["router"], each["data"]["output"]) for each in data["answers"]] == [
        ("c", ["c"]),
        ("a", ["a"]),
    ]
    assert [each["data"]["router"] for each in data["answers"]] == ["c", "a"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", data["performed_at"])
    assert 0 < data["runtime"] < 20


def test_star_means_all_that_have_the_command(application: TinyTracer) -> None:
    ask = asker(application)
    assert [each["router"] for each in ask(f"{V1}/fail?routers=*").json["data"]["answers"]] == ["c", "d"]
    assert [each["router"] for each in ask(f"{V1}/only/c?routers=*").json["data"]["answers"]] == ["c"]
    assert error(ask(f"{V1}/nothing?routers=*"), 404) == "There is no such command on any router."


@pytest.mark.parametrize(
    "query",
    [
        "routers=a,nosuch",
        "routers=",
        "routers=a,,b",
        "routers=*,a",
        "routers=a&router=b",
        "routers=a&routerindex=0",
        "routers=a&routers=b",
        "routers=" + ",".join(["a"] * 65),
        "routers=a&runtime=-1",
        "routers=a;b",
        "routers=a%3Bb",
        "routers=a+b",
    ],
)
@pytest.mark.parametrize("accept", MEDIA)
def test_what_names_no_routers_is_400_and_nothing_ran(
    application: TinyTracer, query: str, accept: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tinytracer.journal")
    error(asker(application)(f"{V1}/pid?{query}", accept), 400)
    assert not application._glass.runs.alive
    assert len(caplog.records) == 1


def test_other_separators_than_commas_are_refused_with_the_right_one(application: TinyTracer) -> None:
    ask = asker(application)
    assert "routers=a,b" in error(ask(f"{V1}/pid?routers=a;b"), 400)
    assert "1,1 for IPv4" in error(ask(f"{V1}/pid?protocol=1;router=b"), 400)
    assert "no router of that name" in error(ask(f"{V1}/pid?router=a;routers=b"), 400)


def test_more_than_64_routers_have_to_be_named() -> None:
    application = build({"routers": routers(*(f"r{number}" for number in range(65)))})
    assert "more routers than 64" in error(asker(application)(f"{V1}/who?routers=*"), 400)
    names = ",".join(f"r{number}" for number in range(64))
    reply = asker(application)(f"{V1}/who?routers={names}")
    assert [each["data"]["output"] for each in reply.json["data"]["answers"]] == [
        [n] for n in names.split(",")
    ]
    application.close()


def test_router_that_is_named_twice_is_asked_once(application: TinyTracer) -> None:
    answers = asker(application)(f"{V1}/who?routers=a,A,b,a").json["data"]["answers"]
    assert [each["router"] for each in answers] == ["a", "b"]


def test_head_runs_nothing_and_says_what_get_would(
    application: TinyTracer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tinytracer.journal")
    ask = asker(application)
    assert ask(f"{V1}/pid?routers=a,d", method="HEAD").status == 200
    assert ask(f"{V1}/only/c?routers=a,b", method="HEAD").status == 404
    assert ask(f"{V1}/pid?routers=x", method="HEAD").status == 400
    assert not application._glass.runs.alive
    assert not caplog.records


# --- what comes of it


def test_router_without_the_command_has_an_error_of_its_own(application: TinyTracer) -> None:
    reply = asker(application)(f"{V1}/only/c?routers=a,c")
    assert (reply.status, reply.json["status"]) == (200, "fail")
    lacks, has = reply.json["data"]["answers"]
    assert (lacks["router"], lacks["status"], lacks["code"]) == ("a", "error", 404)
    assert has["status"] == "success"
    assert reply.json["data"]["failure_source"] == "visitor"


@pytest.mark.parametrize("accept", MEDIA)
def test_question_that_no_router_can_run_is_an_error_with_all_of_theirs(
    application: TinyTracer, accept: str
) -> None:
    reply = asker(application)(f"{V1}/say/-x?routers=a,b,d", accept)
    assert error(reply, 404) == "There is no such command on this router."
    assert [each["code"] for each in reply.json["data"]["answers"]] == [400, 400, 404]


def test_failed_run_makes_the_whole_fail_with_200(application: TinyTracer) -> None:
    reply = asker(application)(f"{V1}/fail?routers=c,d")
    assert (reply.status, reply.json["status"]) == (200, "fail")
    assert [each["status"] for each in reply.json["data"]["answers"]] == ["fail", "fail"]


def test_run_that_does_not_begin_is_an_error_beside_the_others(application: TinyTracer) -> None:
    reply = asker(application)(f"{V1}/who?routers=d,b")
    assert [(each["router"], each["status"]) for each in reply.json["data"]["answers"]] == [
        ("d", "error"),
        ("b", "success"),
    ]
    assert reply.json["status"] == "fail"


def test_text_comes_router_by_router_each_after_its_name(application: TinyTracer) -> None:
    reply = asker(application)(f"{V1}/who?routers=c,d,a", "text/plain")
    note = "The router has no program for this command."
    assert reply.text == f"== c\nc\n== d\n\n--- {note}\n== a\na\n"


def test_first_router_is_live_and_the_others_run_meanwhile(application: TinyTracer) -> None:
    reply = asker(application)(f"{V1}/slow?routers=a,b,c", "text/plain")
    assert reply.text == "== a\na\na\n== b\nb\nb\n== c\nc\nc\n"
    body, _ = begin(application, "pid?routers=a,b,c", "text/plain")
    pieces, text = iter(body), b""
    while text.count(b"\n") < 2:
        text += next(pieces)
    assert re.fullmatch(rb"== a\na \d+\n", text)  # and it goes on
    assert len(application._glass.runs.alive) == 3
    body.close()
    is_left(application)


def test_events_carry_their_router_and_the_last_one_has_all(application: TinyTracer) -> None:
    reply = asker(application)(f"{V1}/slow?routers=a,b,d", "text/event-stream")
    found = events_of(reply.text)
    *events, (name, last) = found
    assert (name, last["status"]) == ("result", "fail")
    assert {data["router"] for _, data in events} == {"a", "b", "d"}
    for router in "ab":
        names = [name for name, data in events if data["router"] == router]
        assert names == ["output", "output", "result"]
    results = {data["router"]: data for name, data in events if name == "result"}
    assert last["data"]["answers"] == [results["a"], results["b"], results["d"]]
    outputs = [data["router"] for name, data in events if name == "output"]
    assert set(outputs[:2]) == set(outputs[2:]) == {"a", "b"}  # together


def test_each_router_leaves_a_record_and_its_bytes_are_counted(
    application: TinyTracer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "tinytracer.journal")
    monkeypatch.setattr(logging.getLogger("tinytracer"), "disabled", True)  # a program that is missing
    text = asker(application)(f"{V1}/who?routers=a,b,d", "text/event-stream").text
    records = {record["router"]: record for record in map(logfmt, caplog.messages)}
    assert {name: record["outcome"] for name, record in records.items()} == {
        "a": "success",
        "b": "success",
        "d": "unreachable",
    }
    for router in "ab":
        of_one = [part for part in text.split("\n\n") if f'data: {{"router": "{router}"' in part]
        assert int(records[router]["bytes"]) >= sum(map(len, of_one)) > 0


# --- limits


@pytest.mark.parametrize("accept", MEDIA)
def test_nine_routers_answer_with_default_limits_and_none_is_refused(accept: str) -> None:
    application = build({"routers": routers(*NINE), "limits": {}})
    reply = asker(application)(f"{V1}/who?routers=*", accept)
    if accept == "text/plain":
        assert reply.text == "".join(f"== {name}\n{name}\n" for name in NINE)
    else:
        whole = reply.json if accept == MEDIA[0] else events_of(reply.text)[-1][1]
        assert whole["status"] == "success"
        assert [each["data"]["output"] for each in whole["data"]["answers"]] == [[name] for name in NINE]
    application.close()
    is_left(application)


def test_at_most_so_many_run_at_once_and_the_others_wait_in_order() -> None:
    application = build({"routers": routers(*NINE), "limits": {**GENEROUS, "routers_at_once": 2}})
    most: list[int] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.01):
            most.append(len(application._glass.runs.alive))

    watching = threading.Thread(target=watch)
    watching.start()
    reply = asker(application)(f"{V1}/slow?routers=r1,r2,r3,r4,r5", "text/event-stream")
    stop.set()
    watching.join()
    assert max(most) == 2
    found = events_of(reply.text)
    assert found[-1][1]["status"] == "success"
    places = [(data["router"], data["place"]) for name, data in found if name == "waiting"]
    assert places[:3] == [("r3", 1), ("r4", 2), ("r5", 3)]
    assert ("r5", 1) in places
    application.close()
    is_left(application)


def test_who_waits_is_told_why_and_how_long() -> None:
    probe = {"cmd": ["echo", "{{TARGET}}"]}
    limits = {**GENEROUS, "target_rate": "8/minute", "routers_at_once": 3, "network_share": 0.25}
    names = [f"r{number}" for number in range(1, 7)]
    application = build(
        {
            "routers": [{"name": name, "commands": {"ping": probe}} for name in names],
            "limits": limits,
            "targets": {"deny": []},
        }
    )
    body, _ = begin(application, "ping/192.0.2.1?routers=*&view=1", "text/event-stream")
    text = ""
    for piece in body:
        text += piece.decode()
        if any("about 90 s" in shown for router, shown in views_of(text) if router is None):
            break
    body.close()
    told = {data["router"]: data for name, data in events_of(text) if name == "waiting"}
    assert set(told) == {"r3", "r4", "r5", "r6"}  # a quarter of the target's rate are two, at once
    limit = "The limit is 8 runs in 240 s, 2 at once, from your network to this target's."
    assert [told[name]["why"] for name in ("r3", "r4", "r5")] == [limit] * 3
    assert [told[name]["seconds"] for name in ("r3", "r4", "r5")] == [30, 60, 90]
    assert told["r6"]["why"] == "The limit is 3 routers of a question at once."
    boards = [shown for router, shown in views_of(text) if router is None]
    assert f'<p class="why">{limit.replace(chr(39), "&#x27;")}</p>' in boards[-1]
    assert "waits, 2nd in the queue, about 60 s" in boards[-1]
    application.close()


def test_question_takes_one_place_and_a_token_a_router() -> None:
    limits = {**GENEROUS, "per_client": 1, "viewers": 1, "rate": "60/minute", "burst": 5, "network_share": 1}
    application = build({"routers": routers(*NINE), "limits": limits})
    began = time.monotonic()
    reply = asker(application)(f"{V1}/who?routers=r1,r2,r3,r4,r5,r6")
    assert reply.json["status"] == "success"
    assert time.monotonic() - began > 0.7  # the sixth token
    application.close()
    is_left(application)


def test_slots_that_others_hold_are_waited_for() -> None:
    application = build({"routers": routers("a", "b"), "limits": {**GENEROUS, "concurrent": 1}})
    holder, _ = begin(application, "pid?router=b", "text/plain")
    next(iter(holder))
    answers: list[Reply] = []
    asking = threading.Thread(
        target=lambda: answers.append(asker(application)(f"{V1}/who?routers=a,b", "text/event-stream"))
    )
    asking.start()
    assert soon(lambda: len(application._glass.queue) == 2)
    error(asker(application)(f"{V1}/who"), 503)  # who does not wait is refused at once
    holder.close()
    asking.join(60)
    found = events_of(answers[0].text)
    assert found[-1][1]["status"] == "success"
    assert [data for name, data in found if name == "waiting"][:2] == [
        {"router": "a", "place": 1, "why": "All slots are taken (1)."},
        {"router": "b", "place": 2, "why": "All slots are taken (1)."},
    ]
    application.close()
    is_left(application)


def test_full_queue_refuses_before_anything_runs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tinytracer.journal")
    application = build({"routers": routers("a", "b"), "limits": {**GENEROUS, "concurrent": 1, "queue": 1}})
    holder, _ = begin(application, "pid", "text/plain")
    next(iter(holder))
    waiting, _ = begin(application, "who?routers=a,b", "text/plain")
    reply = asker(application)(f"{V1}/who?routers=a,b")
    assert "All places of the queue are taken (1)." in error(reply, 503)
    assert int(reply.headers["Retry-After"]) >= 1
    assert len(caplog.records) == 1
    waiting.close()
    holder.close()
    application.close()
    is_left(application)


def test_answers_that_are_too_long_together_keep_others_from_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(several, "WHOLE", 0.001)
    application = build({"routers": routers(*NINE), "limits": {**GENEROUS, "routers_at_once": 2}})
    reply = asker(application)(f"{V1}/long?routers=*")
    answers = reply.json["data"]["answers"]
    assert answers[0]["data"]["truncated"] is True
    assert answers[8]["message"] == several.TOO_LONG
    assert len(reply.body) < 2 * 2**20
    application.close()
    is_left(application)


# --- leaving


@pytest.mark.parametrize("accept", MEDIA)
def test_leaving_stops_what_runs_and_what_waits(accept: str, serve: Serve) -> None:
    server = serve(routers=routers(*NINE), metrics=["127.0.0.0/8"])
    connection = server.begin(f"{V1}/pid?routers=*", accept)
    children = server.wait_for_children(3)
    assert len(children) == 4
    connection.close()
    assert soon_gone(*children)
    assert soon(lambda: b"\ntinytracer_waiting 0.0" in server.get("/metrics")[2])
    assert soon(lambda: b"\ntinytracer_viewers 0.0" in server.get("/metrics")[2])
    assert server.children() == set()


@pytest.mark.parametrize("accept", MEDIA)
def test_leaving_ends_the_thread_of_a_host_that_iterates(application: TinyTracer, accept: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        body, status = begin(application, "pid?routers=a,b,c", accept, **{"gunicorn.socket": ours})
        runs = application._glass.runs.alive
        assert len(runs) == 3
        reading = threading.Thread(target=lambda: [None for _ in body], daemon=True)
        reading.start()
        theirs.close()
        reading.join(PATIENT)
        assert not reading.is_alive()
        assert status == ["503 Service Unavailable" if accept == JSON else "200 OK"]
        body.close()
        assert soon(lambda: not runs)


@pytest.mark.parametrize("accept", MEDIA)
def test_body_that_is_never_iterated_gives_everything_back(application: TinyTracer, accept: str) -> None:
    body, _ = begin(application, "pid?routers=a,b,c", accept)
    assert len(application._glass.runs.alive) == 3
    body.close()
    body.close()
    is_left(application)


def test_server_that_stops_ends_those_who_wait_too(serve: Serve) -> None:
    server = serve(routers=routers(*NINE), limits={**GENEROUS, "concurrent": 1})
    connection = server.begin(f"{V1}/pid?routers=*", "text/event-stream")
    read_until(connection, rb'"router": "r4", "place": ')
    children = server.children()
    began = time.monotonic()
    server.process.terminate()
    server.process.wait(PATIENT)
    assert time.monotonic() - began < 10
    assert server.process.returncode == 0
    assert soon_gone(*children)
    connection.close()


def test_waiting_holds_no_thread_of_the_server(serve: Serve) -> None:
    limits = {**GENEROUS, "concurrent": 1, "queue": 64, "viewers": 128}
    server = serve(routers=routers("a", "b"), limits=limits)
    holder = server.begin(f"{V1}/pid", "text/plain")
    server.wait_for_children()
    waiting = [server.begin(f"{V1}/who?routers=a,b", "text/event-stream") for _ in range(40)]
    for connection in waiting:
        read_until(connection, rb"event: waiting")
    assert server.get("/healthz")[0] == 200
    holder.close()
    for connection in waiting:
        read_until(connection, rb'event: result\ndata: {"status": "success"')
        connection.close()


# --- a name


def test_name_is_looked_up_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    from lookingglass import names

    asked: list[str] = []
    find = names._find

    def count(name: str) -> Any:
        asked.append(name)
        return find(name)

    monkeypatch.setattr(names, "_find", count)
    monkeypatch.setattr(names, "REUSE", 0.0)
    application = build({"routers": routers(*NINE), "limits": {**GENEROUS, "routers_at_once": 2}})
    reply = asker(application)(f"{V1}/say/localhost?routers=*")
    assert reply.json["status"] == "success"
    assert {each["data"]["address"] for each in reply.json["data"]["answers"]} == {"127.0.0.1"}
    assert asked == ["localhost"]
    application.close()


# --- the page without JavaScript


def test_boxes_that_are_ticked_are_asked_one_by_one(application: TinyTracer) -> None:
    reply = asker(application)("/?run=1&cmd=who&router=b&routers=a&routers=c")
    assert reply.status == 200
    assert re.findall(
        r'<article class="answer" data-router="(.)">.*?<pre[^>]*>(.*?)</pre>', reply.text, re.DOTALL
    ) == [
        ("a", "a\n"),
        ("c", "c\n"),
    ]
    unknown = asker(application)(f"/?run=1&cmd=who&routers=a&routers={quote('<b>')}")
    assert unknown.status == 400
    assert "<b>" not in unknown.text


# --- the page's own question waits too


def test_question_with_view_waits_and_tells_its_place() -> None:
    application = build(
        {"routers": routers("a"), "limits": {**GENEROUS, "concurrent": 1}, "metrics": ["127.0.0.1"]}
    )
    holder, _ = begin(application, "pid", "text/plain")
    next(iter(holder))
    body, status = begin(application, "who?view=1", "text/event-stream")
    pieces = iter(body)
    next(pieces)
    waiting = {"router": "a", "place": 1, "why": "All slots are taken (1)."}
    assert events_of(next(pieces).decode())[0] == ("waiting", waiting)
    assert status == ["200 OK"]
    figures = asker(application)("/metrics", REMOTE_ADDR="127.0.0.1").text
    assert "\ntinytracer_waiting 1.0" in figures
    time.sleep(0.2)
    holder.close()
    rest = events_of(b"".join(pieces).decode())
    body.close()
    assert rest[-1][1]["status"] == "success"
    figures = asker(application)("/metrics", REMOTE_ADDR="127.0.0.1").text
    assert 'tinytracer_waited_seconds_count{command="who",router="a"} 1.0' in figures
    assert 'tinytracer_waited_seconds_bucket{command="who",le="0.1",router="a"} 0.0' in figures
    application.close()
    is_left(application)


def test_seconds_waited_are_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tinytracer.journal")
    application = build({"routers": routers("a"), "limits": {**GENEROUS, "rate": "120/minute", "burst": 1}})
    ask = asker(application)
    assert ask(f"{V1}/who").status == 200
    assert ask(f"{V1}/who?view=1").json["status"] == "success"
    first, second = map(logfmt, caplog.messages)
    assert "waited" not in first
    assert 0 < float(second["waited"]) <= float(second["seconds"])
    error(ask(f"{V1}/who"), 429)
    application.close()


def test_question_that_waits_is_refused_with_its_status_when_there_is_no_place() -> None:
    application = build({"routers": routers("a"), "limits": {**GENEROUS, "concurrent": 1, "queue": 1}})
    holder, _ = begin(application, "pid", "text/plain")
    next(iter(holder))
    waiting, _ = begin(application, "who?view=1", "application/json")
    for accept in MEDIA:
        assert "places of the queue" in error(asker(application)(f"{V1}/who?view=1", accept), 503)
    waiting.close()
    holder.close()
    application.close()
    is_left(application)


def test_same_question_shares_a_run_without_waiting_for_a_slot() -> None:
    application = build({"routers": routers("a"), "limits": {**GENEROUS, "concurrent": 1}})
    holder, _ = begin(application, "slow", "text/plain")
    next(iter(holder))
    assert asker(application)(f"{V1}/slow?view=1").json["data"]["output"] == ["a", "a"]
    holder.close()
    application.close()
    is_left(application)


@pytest.mark.parametrize("value", ["2", "", "yes"])
def test_view_is_1_or_0(application: TinyTracer, value: str) -> None:
    assert error(asker(application)(f"{V1}/who?view={value}"), 400) == "The parameter view is 1 or 0."


# --- views


def views_of(text: str) -> list[tuple[str | None, str]]:
    return [(data.get("router"), data["html"]) for name, data in events_of(text) if name == "view"]


def test_five_routers_have_one_view_of_all_beside_their_own() -> None:
    application = build({"routers": routers(*NINE), "limits": {**GENEROUS, "routers_at_once": 3}})
    ask = asker(application)
    found = views_of(ask(f"{V1}/slow?view=1&routers=r1,r2,r3,r4,r5", "text/event-stream").text)
    boards = [html for router, html in found if router is None]
    assert {router for router, _ in found if router} == {"r1", "r2", "r3", "r4", "r5"}
    assert "waits, 1st in the queue" in boards[0]
    assert "running" in boards[0]
    assert boards[-1].count('class="standing verdict good"') == 5
    assert all(html.count("<tr") == 6 for html in boards)
    few = views_of(ask(f"{V1}/who?view=1&routers=r1,r2,r3,r4", "text/event-stream").text)
    assert {router for router, _ in few} == {"r1", "r2", "r3", "r4"}
    assert not views_of(ask(f"{V1}/who?routers=r1,r2,r3,r4,r5", "text/event-stream").text)
    application.close()
    is_left(application)


def test_page_without_a_script_has_a_board_of_five_routers_beside_their_answers() -> None:
    application = build({"routers": routers(*NINE)})
    names = "&".join(f"routers={name}" for name in NINE[:5])
    page = asker(application)(f"/?cmd=who&{names}&run=1").text
    assert page.count('<article class="answer"') == 5
    assert page.count('class="standing verdict good"') == 5
    four = asker(application)(f"/?cmd=who&{names.rpartition('&')[0]}&run=1").text
    assert "board" not in four
    application.close()
    is_left(application)


def test_view_of_all_comes_at_most_eight_times_a_second_and_is_right_at_the_end() -> None:
    application = build({"routers": routers(*NINE)})
    body, _ = begin(application, "ping/127.0.0.1?view=1&routers=*", "text/event-stream")
    began = time.monotonic()
    views = views_of(b"".join(body).decode())
    seconds = time.monotonic() - began
    body.close()
    boards = [html for router, html in views if router is None]
    assert 2 < len(boards) <= 8 * seconds + 2  # the first one and the last one wait for nothing
    assert boards[-1].count("</span> done") == 9  # the loss stands beside it
    application.close()
    is_left(application)


# --- one of several is stopped


def stopping(application: TinyTracer, name: str, method: str = "POST") -> Reply:
    return asker(application)(f"/stop/{name}", method=method)


def ends_of(text: str) -> dict[str, Any]:
    """Return the envelopes of the routers by their names."""
    return {data["router"]: data for name, data in events_of(text) if name == "result" and "router" in data}


def test_one_of_several_routers_is_stopped_and_the_others_go_on(serve: Serve) -> None:
    server = serve(routers=routers("a", "b"))
    with (
        server.begin(f"{V1}/pid?view=1&routers=a,b", "text/event-stream") as connection,
        connection.makefile("rb") as stream,
    ):
        told: dict[str, tuple[str, int]] = {}
        while len(told) < 2:
            if match := re.fullmatch(rb"data: (.*)\n", stream.readline()):
                data = json.loads(match[1])
                if words := re.fullmatch(r"(\w) (\d+)\n", data.get("text", "")):
                    told[words[1]] = data.get("stop", ""), int(words[2])
        (first, gone), (_, kept) = told["a"], told["b"]
        assert server.post(f"/stop/{first}")[0] == 204
        lines = iter(stream.readline, b"")
        end = next(json.loads(line[6:]) for line in lines if b'"status": ' in line)
        assert soon_gone(gone)
        assert (end["code"], end["data"]["failure_source"]) == (503, "visitor")
        assert end["data"]["output"] == [f"a {gone}"]
        kept_answer = server.json(urlsplit(end["data"]["result"]).path)
        assert kept_answer["data"]["output"] == [f"a {gone}"]
        assert server.children() == {kept}
    assert soon_gone(kept)


def test_slot_of_the_router_that_was_stopped_is_given_to_the_next() -> None:
    application = build({"routers": routers("a", "b"), "limits": {**GENEROUS, "routers_at_once": 1}})
    body, _ = begin(application, "pid?view=1&routers=a,b", "text/event-stream")
    text = ""
    pieces = iter(body)
    names: dict[str, str] = {}
    while len(names) < 2 or "a " not in text:
        text += next(pieces).decode()
        names = {data["router"]: data["stop"] for _, data in events_of(text) if "stop" in data}
    assert stopping(application, names["a"]).status == 204
    while not re.search(r'"text": "b \d+', text):
        text += next(pieces).decode()
    assert stopping(application, names["b"]).status == 204
    text += b"".join(pieces).decode()
    assert {name: end["code"] for name, end in ends_of(text).items()} == {"a": 503, "b": 503}
    body.close()
    assert stopping(application, names["a"]).status == 404
    application.close()
    is_left(application)


def test_router_that_waits_is_stopped_before_it_has_run(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tinytracer.journal")
    application = build({"routers": routers("a", "b", "c"), "limits": {**GENEROUS, "routers_at_once": 1}})
    body, _ = begin(application, "slow?view=1&routers=a,b,c", "text/event-stream")
    text, pieces = "", iter(body)
    while '"router": "b", "stop"' not in text:
        text += next(pieces).decode()
    name = next(data["stop"] for _, data in events_of(text) if data.get("router") == "b")
    assert stopping(application, name).status == 204
    text += b"".join(pieces).decode()
    body.close()
    ends = ends_of(text)
    assert [ends[router]["status"] for router in "abc"] == ["success", "error", "success"]
    assert "result" not in ends["b"]["data"]
    assert verdicts.of_outcome(503, ends["b"]).words == "stopped"
    assert not [data for name, data in events_of(text) if name == "output" and data["router"] == "b"]
    assert sorted(logfmt(line)["outcome"] for line in caplog.messages) == ["left", "success", "success"]
    application.close()
    is_left(application)


def test_stopping_what_others_see_too_leaves_it_to_them() -> None:
    application = build({"routers": routers("a", "b")})
    bodies = [begin(application, "slow?view=1&routers=a,b", "text/event-stream")[0] for _ in range(2)]
    texts = ["", ""]
    streams = [iter(body) for body in bodies]
    for number in (0, 1):
        while '"text": "a' not in texts[number]:
            texts[number] += next(streams[number]).decode()
    name = next(data["stop"] for _, data in events_of(texts[0]) if data.get("router") == "a")
    assert stopping(application, name).status == 204
    texts = [text + b"".join(stream).decode() for text, stream in zip(texts, streams, strict=True)]
    first, second = map(ends_of, texts)
    assert (first["a"]["code"], first["a"]["data"]["output"]) == (503, ["a"])
    assert second["a"]["data"]["output"] == ["a", "a"]
    assert first["b"]["status"] == second["b"]["status"] == "success"
    for body in bodies:
        body.close()
    application.close()
    is_left(application)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT"])
def test_names_are_stopped_by_post_only_and_tell_other_sites_nothing(
    application: TinyTracer, method: str
) -> None:
    reply = stopping(application, "0" * 32, method)
    assert (reply.status, reply.headers["Allow"]) == (405, "POST")
    assert "Access-Control-Allow-Origin" not in reply.headers
    reply = stopping(application, "0" * 32)
    assert reply.status == 404
    assert "Access-Control-Allow-Origin" not in reply.headers
    assert asker(application)(f"{V1}/who", method="POST").status == 405


def test_name_is_told_once_and_to_who_watches_only(application: TinyTracer) -> None:
    watched = asker(application)(f"{V1}/who?view=1&routers=a,b", "text/event-stream").text
    names = [data["stop"] for _, data in events_of(watched) if "stop" in data]
    assert len(names) == len(set(names)) == 2
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in names)
    assert '"stop"' not in asker(application)(f"{V1}/who?routers=a,b", "text/event-stream").text
    assert '"stop"' not in asker(application)(f"{V1}/who?view=1", "text/event-stream").text


# --- one axis for all


def pinging(rtt: int) -> dict[str, Any]:
    line = f"64 bytes from 192.0.2.1: icmp_seq=1 ttl=60 time={rtt} ms"
    return {"timed": {"cmd": ["sh", "-c", f"sleep 0.{rtt}; echo '{line}'"], "parser": "ping"}}


def test_two_routers_share_the_axis_of_the_larger_one() -> None:
    routers = [{"name": f"r{rtt}", "commands": pinging(rtt)} for rtt in (2, 80)]
    application = build({"routers": routers})
    ask = asker(application)
    views = views_of(ask(f"{V1}/timed?view=1&routers=r2,r80", "text/event-stream").text)
    last = {router: html for router, html in views if "answered" in html}
    assert all(">80 ms<" in html and ">40 ms<" in html for html in last.values())
    assert len(last) == 2
    assert any(">2 ms<" in html for router, html in views if router == "r2")  # before the other one came
    page = ask("/?cmd=timed&routers=r2&routers=r80&run=1").text
    assert page.count(">80 ms<") == 2
    assert ">2 ms<" not in page
    many = ask(f"{V1}/timed?routers=r2,r80", "application/json").json
    assert many["status"] == "success"
    application.close()
    is_left(application)


@pytest.mark.parametrize("name", ["patiently", "look_up"])
def test_failure_of_ours_leaves_nothing_held(
    application: TinyTracer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    works = getattr(Glass, name)
    calls: list[object] = []

    def fails_later(glass: Glass, *arguments: Any) -> Any:
        calls.append(arguments)
        if name == "look_up" or len(calls) == 3:
            raise MemoryError
        return works(glass, *arguments)

    monkeypatch.setattr(Glass, name, fails_later)
    assert error(asker(application)(f"{V1}/say/192.0.2.1?routers=a,b,c"), 500)
    assert calls
    is_left(application)
