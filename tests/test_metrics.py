"""/metrics: each answer is counted once, no visitor adds a label, and nobody else reads it."""

from __future__ import annotations

import collections
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from webob import Request

import rfc8522
from lookingglass import configuration
from lookingglass.questions import Question
from lookingglass.visitors import Trust, Visitor, comes_from
from tests.support import (
    GENEROUS,
    HERE,
    PRINTING,
    V1,
    Serve,
    asker,
    build,
    errors_of,
    soon,
)
from tinytracer import TinyTracer

LOOPBACK = ["127.0.0.0/8", "::1"]
RUNS = {
    **PRINTING,
    "ok": {"cmd": ["true"]},
    "forever": {"cmd": ["sh", "-c", "echo begin; exec sleep 1000"]},
    "silent": {"cmd": ["sleep", "1000"], "runtime": 0.3},
    "twice": {"cmd": ["sh", "-c", "echo one; sleep 1; echo two"]},
    "late": {"cmd": ["sh", "-c", "sleep 1; echo late"]},
}
NO_EXTRA = "import sys; sys.modules['prometheus_client'] = None\n"
MAIN = "from tinytracer import main; sys.exit(main(sys.argv[1:]))"

Samples = dict[str, dict[tuple[str, ...], float]]


def glass(**document: Any) -> TinyTracer:
    return build({"commands": RUNS, "routers": [{"name": "r1"}], "metrics": LOOPBACK, **document})


def samples(text: str) -> Samples:
    """Return values by name and by the values of the labels in the order of their names."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):  # type: ignore[no-untyped-call]
        for each in family.samples:
            values = tuple(value for _, value in sorted(each.labels.items()))
            assert values not in found.setdefault(each.name, {}), "the same series twice"
            found[each.name][values] = each.value
    return found


def read(application: TinyTracer) -> Samples:
    reply = asker(application)("/metrics", REMOTE_ADDR="127.0.0.1")
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    return samples(reply.text)


def answers(application: TinyTracer) -> dict[tuple[str, str], float]:
    """Return how often each command has ended with each outcome."""
    found: collections.Counter[tuple[str, str]] = collections.Counter()
    for (command, outcome, router), value in read(application).get("tinytracer_answers_total", {}).items():
        assert router in {"r1", ""}
        found[command, outcome] += round(value)
    return dict(found)


def begin(application: TinyTracer, path: str) -> Any:
    """Return the body of an answer in plain text, which the caller has to read and to close."""
    environ = Request.blank(f"{V1}/{path}", headers={"Accept": "text/plain"}).environ
    return application(environ, lambda *arguments: None)


def counted(application: TinyTracer) -> int:
    return round(sum(answers(application).values()))


# --- each answer is counted once


@pytest.mark.parametrize(
    ("path", "command", "outcome", "status"),
    [
        ("ok", "ok", "success", 200),
        ("fail", "fail", "fail", 200),
        ("silent", "silent", "timeout", 504),
        ("much", "much", "cut", 500),
        ("missing", "missing", "unreachable", 502),
        ("nosuch", "", "refused", 404),
        ("echo/-x", "echo", "refused", 400),
        ("ok?router=nosuch", "", "refused", 400),
        ("ok?runtime=-1", "", "refused", 400),
        ("ok?a=%ff", "", "refused", 400),
    ],
)
@pytest.mark.parametrize("accept", ["application/json", "text/plain", "text/event-stream"])
def test_outcome_is_counted_once(path: str, command: str, outcome: str, status: int, accept: str) -> None:
    application = glass()
    reply = asker(application)(f"{V1}/{path}", accept)
    assert reply.status == (status if accept == "application/json" or outcome == "refused" else reply.status)
    found = read(application)
    assert answers(application) == {(command, outcome): 1}
    refused = {("visitor", str(status)): 1.0} if outcome == "refused" else {}
    assert found.get("tinytracer_refused_total", {}) == refused
    durations = found.get("tinytracer_answer_duration_seconds_count", {})
    assert durations == ({} if outcome == "refused" else {(command, "r1"): 1})
    assert found["tinytracer_viewers"] == {(): 0}
    assert found["tinytracer_shared_answers_total"] == {(): 0}


@pytest.mark.parametrize(
    ("limits", "path", "reason", "status"),
    [
        ({"rate": "1/hour", "burst": 1}, "ok", "rate", 429),
        ({"target_rate": "1/hour"}, "ping/192.0.2.1", "target_rate", 429),
        ({"concurrent": 1}, "ok", "concurrent", 503),
        ({"viewers": 1}, "ok", "viewers", 503),
        ({"per_client": 1}, "ok", "per_client", 429),
    ],
)
def test_refusal_names_the_limit(limits: dict[str, Any], path: str, reason: str, status: int) -> None:
    commands = {**RUNS, "ping": {"cmd4": ["true", "{{TARGET}}"], "parser": "ping"}}
    application = glass(limits={**GENEROUS, **limits}, commands=commands)
    ask = asker(application)
    busy = application._glass.ask(Question("forever"), Visitor.of({"REMOTE_ADDR": "198.51.100.7"}, False))
    if reason == "rate":
        busy.close()
    if reason == "target_rate":
        assert ask(f"{V1}/{path}").status == 200
    before = answers(application)
    assert ask(f"{V1}/{path}").status == status
    found = read(application)
    assert found["tinytracer_refused_total"] == {(reason, str(status)): 1}
    name = path.partition("/")[0]
    assert answers(application) == {**before, (name, "refused"): 1}
    busy.close()


def test_forged_request_is_counted_as_refused() -> None:
    application = glass()
    forged = {"HTTP_SEC_FETCH_SITE": "cross-site", "HTTP_SEC_FETCH_MODE": "no-cors"}
    assert asker(application)(f"{V1}/ok", **forged).status == 400
    assert answers(application) == {("", "refused"): 1}


def test_visitor_who_leaves_is_counted_once_and_the_run_is_gone() -> None:
    application = glass()
    body = begin(application, "forever")
    assert next(body) == b"begin\n"
    found = read(application)
    assert (found["tinytracer_viewers"], found["tinytracer_runs"]) == ({(): 1}, {(): 1})
    assert "tinytracer_answers_total" not in found
    body.close()
    body.close()
    assert answers(application) == {("forever", "left"): 1}
    assert read(application)["tinytracer_viewers"] == {(): 0}
    assert soon(lambda: read(application)["tinytracer_runs"] == {(): 0})


def test_run_that_the_end_of_the_server_stops_is_counted_once() -> None:
    application = glass()
    bodies = [begin(application, "forever") for _ in range(2)]
    application.close()
    for body in bodies:
        assert b"stopped" in b"".join(body)
        body.close()
    assert answers(application) == {("forever", "stopped"): 2}
    assert asker(application)(f"{V1}/ok").status == 503
    assert read(application)["tinytracer_refused_total"] == {("glass", "503"): 1}


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_failure_of_the_looking_glass_is_counted_once(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    application = glass()

    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(application._glass._aimer, "aim", fail)
    if error is SystemExit:
        with pytest.raises(error):
            asker(application)(f"{V1}/ok")
    else:
        assert asker(application)(f"{V1}/ok").status == 500
    assert answers(application) == {("ok", "failed"): 1}
    assert read(application)["tinytracer_viewers"] == {(): 0}


def test_what_shares_a_run_is_counted_for_each_visitor() -> None:
    application = glass()
    bodies = [begin(application, "late") for _ in range(5)]
    found = read(application)
    assert (found["tinytracer_viewers"], found["tinytracer_runs"]) == ({(): 5}, {(): 1})
    for body in bodies:
        assert b"".join(body) == b"late\n"
        body.close()
    found = read(application)
    assert answers(application) == {("late", "success"): 5}
    assert found["tinytracer_shared_answers_total"] == {(): 5}
    assert found["tinytracer_first_line_seconds_count"] == {("late", "r1"): 5}
    asker(application)(f"{V1}/late")
    assert read(application)["tinytracer_shared_answers_total"] == {(): 5}


def test_bytes_are_those_of_all_answers() -> None:
    application = glass()
    ask = asker(application)
    size = sum(
        len(ask(f"{V1}/{path}", accept).body) for path in ("ok", "lines") for accept in (None, "text/plain")
    )
    assert size > 0
    assert read(application)["tinytracer_answer_bytes_total"] == {(): size}


def test_histograms_tell_the_first_line_and_the_end() -> None:
    application = glass()
    ask = asker(application)
    ask(f"{V1}/late")
    ask(f"{V1}/twice")
    ask(f"{V1}/silent")
    found = read(application)
    first, whole = found["tinytracer_first_line_seconds_sum"], found["tinytracer_answer_duration_seconds_sum"]
    assert 1.0 <= first["late", "r1"] <= whole["late", "r1"]
    assert first["twice", "r1"] < whole["twice", "r1"] - 0.3
    assert whole["twice", "r1"] >= 1.0
    assert ("silent", "r1") not in first
    assert whole["silent", "r1"] >= 0.3
    buckets = found["tinytracer_answer_duration_seconds_bucket"]
    assert buckets["late", "0.1", "r1"] == 0
    assert buckets["late", "5.0", "r1"] == buckets["late", "+Inf", "r1"] == 1


def test_page_and_lists_and_heads_are_not_counted() -> None:
    application = glass()
    ask = asker(application)
    for path in ("/", f"{V1}/cmd", f"{V1}/routers", "/healthz", "/nosuch", "/metrics"):
        ask(path)
    assert ask(f"{V1}/ok", method="HEAD").status == 200
    assert counted(application) == 0
    ask("/?cmd=ok&run=1")
    assert answers(application) == {("ok", "success"): 1}


def test_two_applications_in_one_process_do_not_mix() -> None:
    first, second = glass(), glass()
    for application, number in ((first, 3), (second, 1)):
        for _ in range(number):
            asker(application)(f"{V1}/ok")
    assert (counted(first), counted(second)) == (3, 1)


def test_random_ends_in_many_threads_add_up() -> None:
    application = glass(limits={**GENEROUS, "concurrent": 64, "viewers": 64})
    paths = ("ok", "fail", "missing", "nosuch", "echo/-x", "echo/192.0.2.1", "forever")
    chosen = random.Random(7).choices(paths, k=120)

    def visit(some: Iterable[str]) -> None:
        for path in some:
            body = begin(application, path)
            next(iter(body), None)
            if path != "forever":
                b"".join(body)
            if hasattr(body, "close"):
                body.close()

    threads = [threading.Thread(target=visit, args=(chosen[number::6],)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    expected = {"forever": "left", "ok": "success", "fail": "fail", "missing": "unreachable"}
    found = answers(application)
    assert sum(found.values()) == 120
    for path, outcome in expected.items():
        assert found[path, outcome] == chosen.count(path)
    assert read(application)["tinytracer_viewers"] == {(): 0}


# --- labels


def test_no_visitor_adds_a_label() -> None:
    application = glass()
    dice = random.Random(1)
    signs = [chr(code) for code in (*range(0x20, 0x7F), 0xE9, 0x2028, 0x202E)]
    places = ("{}", "ok/{}", "echo/{}", "show/{}", "ok?router={}", "ok?vrf={}", "ok?protocol={}", "{}?{}")
    for number in range(10_000):
        text = "".join(dice.choices(signs, k=dice.randrange(1, 30)))
        path, _, query = places[number % len(places)].partition("?")
        environ = Request.blank(V1).environ
        environ["PATH_INFO"] = f"{V1}/{path.format(text)}".encode().decode("latin-1")
        environ["QUERY_STRING"] = query.format(quote(text))
        body: Any = application(environ, lambda *arguments: None)
        b"".join(body)
        if hasattr(body, "close"):  # some slashes at the end do no harm, and the command has run
            body.close()
    assert counted(application) == 10_000
    found = read(application)
    assert {command for command, _ in answers(application)} == {"", "ok", "echo", "show"}
    assert set(found["tinytracer_refused_total"]) == {("visitor", "400"), ("visitor", "404")}
    assert sum(map(len, found.values())) < 60


def test_record_of_an_unknown_router_or_command_has_no_label() -> None:
    from lookingglass.journal import Outcome

    application = glass()
    journal = application._glass.journal
    for router, command in (('x"} 1\n', "ok"), ("r1", "a\nb"), ("", "ok")):
        record = journal.begin(Visitor("", ""), "")
        record.router, record.command = router, command
        journal.close(record, Outcome("success", 200))
    found = read(application)["tinytracer_answers_total"]
    assert found == {("", "success", ""): 2, ("", "success", "r1"): 1}


# --- who may read it


NETWORKS: list[Any] = ["127.0.0.0/8", "::1", "203.0.113.0/24"]
PROXIES: list[Any] = ["127.0.0.1", "10.0.0.0/8", "unix:"]
FORWARDED_FOR, FORWARDED = "HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED"


@pytest.mark.parametrize(
    ("trust", "environ"),
    [
        (False, {"REMOTE_ADDR": "127.0.0.1"}),
        (False, {"REMOTE_ADDR": "127.9.9.9"}),
        (False, {"REMOTE_ADDR": "::1"}),
        (False, {"REMOTE_ADDR": "::ffff:127.0.0.1"}),
        (False, {"REMOTE_ADDR": "203.0.113.9"}),
        (True, {"REMOTE_ADDR": "127.0.0.1"}),
        (True, {"REMOTE_ADDR": "127.0.0.1", FORWARDED_FOR: "203.0.113.9"}),
        (True, {"REMOTE_ADDR": "", FORWARDED_FOR: "203.0.113.9"}),
        (True, {"REMOTE_ADDR": "127.0.0.1", FORWARDED: "for=203.0.113.9"}),
        (True, {"REMOTE_ADDR": "127.0.0.1", FORWARDED: "for=203.0.113.9", FORWARDED_FOR: "203.0.113.9"}),
        (PROXIES, {"REMOTE_ADDR": "10.0.0.1", FORWARDED_FOR: "203.0.113.9, 10.0.0.2"}),
        (
            PROXIES,
            {"REMOTE_ADDR": "10.0.0.1", FORWARDED_FOR: "203.0.113.9", "HTTP_X_FORWARDED_PROTO": "https"},
        ),
    ],
)
def test_configured_network_reads_it(trust: Any, environ: dict[str, str]) -> None:
    application = glass(metrics=NETWORKS, trustproxy=trust)
    reply = asker(application)("/metrics", **environ)
    assert reply.status == 200
    assert samples(reply.text)["tinytracer_info"]
    assert reply.headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in reply.headers


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
@pytest.mark.parametrize(
    ("trust", "environ"),
    [
        (False, {"REMOTE_ADDR": "198.51.100.7"}),
        (False, {"REMOTE_ADDR": ""}),
        (False, {"REMOTE_ADDR": "localhost"}),
        (False, {"REMOTE_ADDR": "fe80::1%eth0"}),
        *(
            (False, {"REMOTE_ADDR": "127.0.0.1", name: value})
            for value in ("203.0.113.9", "127.0.0.1", "", ",")
            for name in (
                FORWARDED_FOR,
                "HTTP_FORWARDED",
                "HTTP_X_REAL_IP",
                "HTTP_VIA",
                "HTTP_X_FORWARDED_PROTO",
            )
        ),
        # what a trusted proxy passes on is believed no more than before
        *(
            (True, {"REMOTE_ADDR": "127.0.0.1", FORWARDED_FOR: "203.0.113.9", name: "203.0.113.9"})
            for name in ("HTTP_FORWARDED", "HTTP_X_REAL_IP", "HTTP_VIA")
        ),
        (True, {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_PROTO": "https"}),
        (True, {"REMOTE_ADDR": "127.0.0.1", FORWARDED_FOR: "198.51.100.7"}),
        (True, {"REMOTE_ADDR": "127.0.0.1", FORWARDED_FOR: "127.0.0.1, 198.51.100.7"}),
        (True, {"REMOTE_ADDR": "198.51.100.7", FORWARDED_FOR: "127.0.0.1"}),
        # a proxy's own address is nobody's who is behind it
        (True, {"REMOTE_ADDR": "127.0.0.1", FORWARDED_FOR: ""}),
        (True, {"REMOTE_ADDR": "127.0.0.1", FORWARDED_FOR: "unix:"}),
        (True, {"REMOTE_ADDR": "127.0.0.1", FORWARDED_FOR: "unknown"}),
        (True, {"REMOTE_ADDR": "127.0.0.1", FORWARDED_FOR: "127.0.0.1"}),
        (True, {"REMOTE_ADDR": "", FORWARDED_FOR: "unix:"}),
        (PROXIES, {"REMOTE_ADDR": "10.0.0.1", FORWARDED_FOR: "unknown, 127.0.0.1"}),
        # a reader who says to ask for somebody else
        (PROXIES, {"REMOTE_ADDR": "10.0.0.1", FORWARDED_FOR: "198.51.100.7, 203.0.113.9"}),
        (PROXIES, {"REMOTE_ADDR": "203.0.113.9", FORWARDED_FOR: "203.0.113.10"}),
    ],
)
def test_nobody_else_can_tell_it_from_what_is_not_there(
    trust: Any, environ: dict[str, str], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rfc8522, "utc", lambda seconds: "now")
    application = glass(metrics=NETWORKS, trustproxy=trust)
    ask = asker(application)
    assert ask("/metrics", method=method, **environ) == ask("/nothing", method=method, **environ)
    assert ask("/metrics", method=method, **environ).status == 404


def test_key_that_is_absent_or_empty_lets_nobody_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rfc8522, "utc", lambda seconds: "now")
    for application in (build(), glass(metrics=[])):
        ask = asker(application)
        reply = ask("/metrics", REMOTE_ADDR="127.0.0.1")
        assert reply.status == 404
        assert reply == ask("/nothing", REMOTE_ADDR="127.0.0.1")


def test_head_has_the_headers_alone() -> None:
    ask = asker(glass())
    reply = ask("/metrics", method="HEAD", REMOTE_ADDR="127.0.0.1")
    assert (reply.status, reply.body) == (200, b"")
    assert int(reply.headers["Content-Length"]) > 100
    assert ask("/metrics", method="POST", REMOTE_ADDR="127.0.0.1").status == 405


def test_description_of_the_api_is_silent_about_it() -> None:
    ask = asker(glass())
    assert "metrics" not in ask("/openapi.json").text
    assert asker(glass(), "/lg")("/metrics", REMOTE_ADDR="127.0.0.1").status == 200


@pytest.mark.parametrize("seed", range(20))
def test_forwarding_headers_never_let_in_a_stranger(seed: int) -> None:
    """Whatever a stranger writes: the trusted proxies behind append where it comes from."""
    dice = random.Random(seed)
    words = ("127.0.0.1", "10.0.0.1", "203.0.113.9", "unknown", "", "::1", "unix:", "[::1]:80", "_x")
    read_networks = configuration.read(
        {"commands": {"ok": {"cmd": ["true"]}}, "metrics": NETWORKS, "trustproxy": PROXIES}, HERE
    )
    trust: Trust = read_networks.trustproxy
    for _ in range(500):
        written = [dice.choice(words) for _ in range(dice.randrange(5))]
        proxies = ["10.0.0.2"] * dice.randrange(3)
        header = ", ".join([*written, "198.51.100.7", *proxies])
        peer = dice.choice(("127.0.0.1", "10.0.0.1", "", "localhost"))
        environ = {"REMOTE_ADDR": peer, FORWARDED_FOR: header}
        assert not comes_from(environ, trust, read_networks.metrics), environ


# --- the extra package


def python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    warnings = ["-W", "error", "-W", "ignore:'cgi' is deprecated:DeprecationWarning"]
    argv = [sys.executable, *warnings, "-c", program, *arguments]
    return subprocess.run(argv, cwd=HERE, capture_output=True, text=True, timeout=60, check=False)


def test_nothing_is_imported_where_it_is_not_configured() -> None:
    program = (
        "import sys; from tests.support import asker, build; sys.modules.pop('prometheus_client', None)\n"
        "ask = asker(build()); assert ask('/.well-known/looking-glass/v1/fail').status == 200\n"
        "assert ask('/metrics', REMOTE_ADDR='127.0.0.1').status == 404\n"
        "print([name for name in sys.modules if 'prometheus' in name or name == 'lookingglass.metrics'])"
    )
    done = python(program)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_figures_come_without_any_warning() -> None:
    program = (
        "from tests.support import asker, build; ask = asker(build({'metrics': ['127.0.0.1']}))\n"
        "ask('/.well-known/looking-glass/v1/fail')\n"
        "print(ask('/metrics', REMOTE_ADDR='127.0.0.1').text)"
    )
    done = python(program)
    assert done.stderr == ""
    assert samples(done.stdout.strip() + "\n")["tinytracer_answers_total"]


def test_missing_package_is_an_error_that_names_the_cure(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    document: dict[str, Any] = {"commands": {"ok": {"cmd": ["true"]}}, "metrics": LOOPBACK}
    path.write_text(json.dumps(document))
    done = python(NO_EXTRA + MAIN, "check", "--config", str(path))
    assert done.returncode == 2
    cure = f"{sys.executable} -m pip install prometheus_client"
    assert done.stderr == f"ERROR: metrics: this needs a package that is not here; {cure}\n"
    path.write_text(json.dumps({**document, "metrics": []}))
    assert python(NO_EXTRA + MAIN, "check", "--config", str(path)).returncode == 0


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (True, "metrics: expected a list of networks"),
        ("127.0.0.1", "metrics: expected a list of networks"),
        (["127.0.0.1/8"], "metrics[0]: expected a network"),
        (["::1", "localhost"], "metrics[1]: expected a network"),
        (["::1%lo"], "metrics[0]: expected a network"),
        ([None], "metrics[0]: expected a network"),
    ],
)
def test_wrong_network_is_refused(value: Any, path: str) -> None:
    (error,) = errors_of({"commands": {"ok": {"cmd": ["true"]}}, "metrics": value})
    assert error.startswith(path)


# --- our own server, and what it costs


def test_own_server_counts_live_answers(serve: Serve) -> None:
    server = serve(metrics=LOOPBACK)
    connection = server.begin(f"{V1}/sleep", "text/plain")
    assert server.wait_for_children()

    def now() -> Samples:
        return samples(server.get("/metrics")[2].decode())

    assert soon(lambda: now()["tinytracer_viewers"] == {(): 1})
    connection.close()
    assert soon(lambda: now()["tinytracer_viewers"] == now()["tinytracer_runs"] == {(): 0})
    ((_, outcome, _), count), *others = now()["tinytracer_answers_total"].items()
    assert (outcome, count, others) == ("left", 1, [])
    assert server.get("/metrics")[0] == 200


def test_count_takes_microseconds() -> None:
    from lookingglass.journal import Outcome

    application = glass()
    journal = application._glass.journal
    visitor, outcome = Visitor("", ""), Outcome("success", 200)

    def end() -> None:
        record = journal.begin(visitor, "ok")
        record.router, record.command, record.first = "r1", "ok", 0.1
        journal.close(record, outcome)

    assert best(end, 2000) < 100e-6  # 2 on an idle machine


def best(call: Callable[[], None], number: int) -> float:
    """Return the seconds of CPU that a call takes, in the best of ten rounds."""
    rounds = []
    for _ in range(10):
        began = time.thread_time()
        for _ in range(number):
            call()
        rounds.append((time.thread_time() - began) / number)
    return min(rounds)
