"""The application as a WSGI callable, at the root and under a prefix; every answer passes the validator."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from webob import Request

from lookingglass import answers
from lookingglass import output as output_module
from tests.support import PATIENT, PRINTING, Ask, ClosedFile, asker, build, error, soon

V1 = "/.well-known/looking-glass/v1"
GENEROUS = {"rate": "100000/minute", "burst": 100000, "target_rate": "100000/minute", "per_client": 1000}


@pytest.fixture(scope="module", params=["", "/lg"], ids=["root", "prefix"])
def prefix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def ask(prefix: str) -> Iterator[Ask]:
    application = build()
    yield asker(application, prefix)
    application.close()


# --- runs: success, fail, error


def test_command_that_exits_with_0_is_success(ask: Ask) -> None:
    reply = ask(f"{V1}/echo/192.0.2.1")
    assert reply.status == 200
    assert reply.json["status"] == "success"
    data = reply.json["data"]
    assert data["output"] == ["four 192.0.2.1"]
    assert (data["format"], data["command"], data["target"]) == ("text/plain", "echo", "192.0.2.1")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", data["performed_at"])
    assert isinstance(data["runtime"], float)
    assert "truncated" not in data


def test_failed_command_is_fail_with_200(ask: Ask) -> None:
    reply = ask(f"{V1}/fail")
    assert (reply.status, reply.json["status"]) == (200, "fail")
    assert reply.json["data"]["output"] == ["no"]


def test_missing_program_is_502_and_does_not_tell_its_path(ask: Ask) -> None:
    assert "/no/such" not in error(ask(f"{V1}/missing"), 502)


def test_time_limit_is_504_with_the_partial_output(ask: Ask) -> None:
    reply = ask(f"{V1}/slow?runtime=1")
    error(reply, 504)
    assert reply.json["data"]["output"] == ["begin"]
    assert 1 <= reply.json["data"]["runtime"] < PATIENT


def test_own_ceiling_of_a_command_holds_for_runtime_0_and_more(ask: Ask) -> None:
    for runtime in ("0", "59"):
        started = time.monotonic()
        error(ask(f"{V1}/short?runtime={runtime}"), 504)
        assert time.monotonic() - started < PATIENT


def test_too_much_output_is_cut_and_says_so(ask: Ask) -> None:
    reply = ask(f"{V1}/much")
    error(reply, 500)
    data = reply.json["data"]
    assert data["truncated"] is True
    assert sum(len(line) + 1 for line in data["output"]) <= 256 * 1024


def test_blank_lines_and_an_unfinished_last_line_stay(ask: Ask) -> None:
    assert ask(f"{V1}/lines").json["data"]["output"] == ["a", "", "b"]


# --- paths


@pytest.mark.parametrize("path", ["lines/", "echo/192.0.2.1/", "show/route/192.0.2.0/24/", "show/"])
def test_slash_at_the_end_of_a_path_counts_for_nothing(ask: Ask, path: str) -> None:
    with_slash, without = (ask(f"{V1}/{each}").json["data"] for each in (path, path[:-1]))
    for name in ("command", "output", "router"):
        assert with_slash[name] == without[name]
    assert with_slash.get("target") == without.get("target")


@pytest.mark.parametrize("path", ["ECHO/2001:DB8::A", "Echo/2001:0db8:0::a", "echo/2001%3Adb8%3A%3Aa"])
def test_words_and_targets_are_case_insensitive_and_canonical(ask: Ask, path: str) -> None:
    data = ask(f"{V1}/{path}").json["data"]
    assert (data["output"], data["target"]) == (["six 2001:db8::a"], "2001:db8::a")


@pytest.mark.parametrize("path", ["2001:DB8::/48", "2001:DB8::%2F48", "2001:db8::%2f48"])
def test_slash_of_a_prefix_is_plain_or_encoded(ask: Ask, path: str) -> None:
    assert ask(f"{V1}/show/route/{path}").json["data"]["output"] == ["route 2001:db8::/48"]


def test_longest_command_wins_and_the_shorter_one_remains(ask: Ask) -> None:
    assert ask(f"{V1}/show").json["data"]["command"] == "show"
    assert ask(f"{V1}/show/route/192.0.2.0/24").json["data"]["command"] == "show route"


def test_command_without_argument_takes_no_target(ask: Ask) -> None:
    error(ask(f"{V1}/lines/192.0.2.1"), 400)


def test_command_with_argument_needs_a_target(ask: Ask) -> None:
    assert "address" in error(ask(f"{V1}/echo"), 400)


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        f"{V1}/nothing/192.0.2.1",
        f"{V1}/routers/1",
        f"{V1}/routers/x",
        f"{V1}/routers/01",
        f"{V1}/routers/-1",
        f"{V1}/routers/%D9%A0",
        "/testfiles/x",
        "/.well-known",
        "/index.html",
        "/../config.json",
    ],
)
def test_unknown_path_is_404(ask: Ask, path: str) -> None:
    error(ask(path), 404)


@pytest.mark.parametrize("path", ["/", "/healthz", f"{V1}/cmd", f"{V1}/echo/192.0.2.1", "/style.css"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_other_methods_are_405_with_allow(ask: Ask, path: str, method: str) -> None:
    reply = ask(path, method=method)
    error(reply, 405)
    assert reply.headers["Allow"] == "GET, HEAD, OPTIONS"


def test_options_names_the_methods_and_runs_nothing(ask: Ask) -> None:
    reply = ask(f"{V1}/slow", method="OPTIONS")
    assert (reply.status, reply.headers["Allow"], reply.body) == (204, "GET, HEAD, OPTIONS", b"")


def test_head_has_no_body_and_runs_nothing(ask: Ask) -> None:
    started = time.monotonic()
    for accept in ("*/*", "text/plain", "text/event-stream"):
        reply = ask(f"{V1}/slow", accept, method="HEAD")
        assert (reply.status, reply.body) == (200, b"")
    assert time.monotonic() - started < PATIENT
    assert ask(f"{V1}/lines?%ff=1", method="HEAD").status == 400
    assert ask("/", method="HEAD").body == ask(f"{V1}/cmd", method="HEAD").body == b""
    assert ask(f"{V1}/echo/%20", method="HEAD").status == 400


# --- query parameters


@pytest.mark.parametrize(
    "query", ["protocol=1,1", "protocol=1", "PROTOCOL=1,1", "random=x&random=y", "", "unknown=1"]
)
def test_query_that_fits_an_ipv4_literal(ask: Ask, query: str) -> None:
    assert ask(f"{V1}/echo/192.0.2.1?{query}").json["data"]["output"] == ["four 192.0.2.1"]


@pytest.mark.parametrize(
    "query",
    [
        "protocol=2,1",
        "protocol=26",
        "protocol=1,2",
        "protocol=x",
        "protocol=",
        "protocol=1,",
        "protocol=%D9%A1",
        "protocol=1&Protocol=1",
        "protocol=1%2C1%00",
        "routerindex=1",
        "routerindex=-1",
        "routerindex=x",
        "routerindex=00",
        "routerindex=%D9%A0",
        "router=nobody",
        "router=",
        "vrf=mgmt",
        "vrf=",
        "runtime=-1",
        "runtime=1e3",
        "runtime=nan",
        "runtime=inf",
        "runtime=",
        "runtime=1&runtime=1",
        "format=",
        "format=text",
        "format=a/b,,c/d",
    ],
)
def test_malformed_repeated_or_contradicting_parameter_is_400(ask: Ask, query: str) -> None:
    error(ask(f"{V1}/echo/192.0.2.1?{query}"), 400)


def test_protocol_that_the_command_lacks_is_400(ask: Ask) -> None:
    assert "IPv6" in error(ask(f"{V1}/only/four/2001:db8::1"), 400)


def test_name_is_resolved_and_the_command_gets_the_address(ask: Ask) -> None:
    data = ask(f"{V1}/echo/LOCALHOST").json["data"]
    assert (data["target"], data["address"], data["output"]) == ("localhost", "127.0.0.1", ["four 127.0.0.1"])


@pytest.mark.parametrize("query", ["%ff=1", "protocol=%ff"])
def test_query_that_is_not_utf8_is_400(ask: Ask, query: str) -> None:
    error(ask(f"{V1}/echo/192.0.2.1?{query}"), 400)


def test_path_that_is_not_utf8_is_400(ask: Ask) -> None:
    error(ask("/", PATH_INFO="/\xff"), 400)


# --- lists


def test_command_list_has_absolute_hrefs_and_arguments(ask: Ask, prefix: str) -> None:
    data = ask(f"{V1}/cmd").json["data"]
    listed = {each["command"]: each for each in data["commands"]}
    assert list(listed) == list(PRINTING)
    assert listed["show route"] == {
        "href": f"http://localhost{prefix}{V1}/show/route",
        "arguments": "{addr}",
        "description": "show route",
        "command": "show route",
    }
    assert listed["lines"]["arguments"] == ""
    assert {"performed_at", "runtime"} <= set(data)


def test_hrefs_begin_with_the_configured_host() -> None:
    ask = asker(build({"host": "https://lg.example.net/tools/"}))
    assert ask(f"{V1}/cmd").json["data"]["commands"][0]["href"] == f"https://lg.example.net/tools{V1}/echo"


def test_index_leads_to_the_lists(ask: Ask, prefix: str) -> None:
    for path in ("/.well-known/looking-glass", "/.well-known/looking-glass/"):
        assert ask(path).json["data"]["cmd"] == f"http://localhost{prefix}{V1}/cmd"


def test_several_local_routers_have_their_own_commands() -> None:
    routers = [
        {"name": "One.example", "commands": {"ping": {"cmd": ["echo", "1", "{{TARGET}}"]}}, "city": "Berlin"},
        {
            "name": "two.example",
            "commands": {
                "ping": {"cmd": ["echo", "2", "{{TARGET}}"]},
                "trace": {"cmd": ["echo"]},
                "ping fast": {"cmd": ["echo", "{{TARGET}}"]},
            },
        },
    ]
    ask = asker(build({"routers": routers}))
    assert ask(f"{V1}/routers").json["data"]["routers"] == ["One.example", "two.example"]
    details = ask(f"{V1}/ROUTERS/0").json["data"]
    assert (details["id"], details["name"], details["city"]) == (0, "One.example", "Berlin")
    assert details["format"].startswith("text/plain")
    for query, output in [
        ("", "1"),
        ("routerindex=1", "2"),
        ("router=TWO.example", "2"),
        ("router=one.example", "1"),
    ]:
        data = ask(f"{V1}/ping/192.0.2.1?{query}").json["data"]
        assert data["output"] == [f"{output} 192.0.2.1"]
    assert ask(f"{V1}/ping/192.0.2.1?routerindex=1").json["data"]["router"] == "two.example"
    error(ask(f"{V1}/ping/192.0.2.1?router=one.example&routerindex=1"), 400)
    error(ask(f"{V1}/trace"), 404)
    for path in ("ping/fast", "ping/fast/192.0.2.1", "PING/FAST"):  # no target of ping: two has it
        assert "command" in error(ask(f"{V1}/{path}"), 404)
    listed = ask(f"{V1}/cmd").json["data"]["commands"]
    assert [each["command"] for each in listed] == ["ping", "trace", "ping fast"]
    assert [each["arguments"] for each in listed] == ["{host}", "", "{host}?router=two.example"]
    for each, arguments in (
        (listed[1], ""),
        (listed[2], listed[2]["arguments"].replace("{host}", "192.0.2.1")),
    ):
        url = "/".join(filter(None, (each["href"].removeprefix("http://localhost"), arguments)))
        assert ask(url).json["data"]["router"] == "two.example"  # as a client goes by the list
    assert [each["command"] for each in ask(f"{V1}/cmd?routerindex=0").json["data"]["commands"]] == ["ping"]


def test_info_and_capabilities_are_as_in_the_original_program() -> None:
    info = {"title": "Example", "blurb": "<b>AS64500</b>"}
    ask = asker(build({"info": info, "capabilities": {"ipv4": True, "ipv6": False}}))
    assert ask("/api/info").json == info
    assert ask("/api/capabilities").json == {"ipv4": True, "ipv6": False}
    assert "IPv6" in error(ask(f"{V1}/echo/2001:db8::1"), 400)


def test_healthz_is_ok_until_the_application_is_closing(ask: Ask) -> None:
    assert ask("/healthz").body == b"ok"
    application = build()
    assert asker(application)("/healthz").status == 200
    application.close()
    assert asker(application)("/healthz").status == 503


# --- representations


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "application/json"),
        ("text/html", "application/json"),
        ("nonsense", "application/json"),
        ("application/json", "application/json"),
        ("text/plain", "text/plain"),
        ("TEXT/PLAIN;q=0.9, */*;q=0.1", "text/plain"),
        ("text/*", "text/plain"),
        ("text/plain;charset=utf-8", "text/plain"),
        ("text/plain; charset=UTF-8 ; q=0.1, text/event-stream;x=y;q=0.2", "text/event-stream"),
        ("text/event-stream", "text/event-stream"),
        ("text/event-stream;q=0.5, text/plain", "text/plain"),
        ('text/plain;a=", ", text/event-stream', "text/event-stream"),
        ('text/csv;a="x,y", text/plain;q=0.1', "text/plain"),
        ('text/html;a="x,y", text/plain;q=0.1', "application/json"),
    ],
)
def test_accept_chooses_the_representation(ask: Ask, accept: str | None, media: str) -> None:
    reply = ask(f"{V1}/lines", accept)
    assert reply.headers["Content-Type"].partition(";")[0] == media
    assert reply.headers["Vary"] == "Accept"
    assert reply.headers["Cache-Control"] == "no-store"


def test_plain_text_is_the_output_itself(ask: Ask) -> None:
    reply = ask(f"{V1}/lines", "text/plain")
    assert reply.body == b"a\n\nb"
    assert reply.headers["X-Accel-Buffering"] == "no"


def test_plain_text_says_when_it_was_cut_short(ask: Ask) -> None:
    reply = ask(f"{V1}/slow?runtime=0.3", "text/plain")
    assert reply.status == 200
    assert re.fullmatch(
        r"begin\n\n--- The time is up after 0\.\d s; the output is not complete\.\n", reply.text
    )


def test_events_bring_output_and_then_the_same_envelope(ask: Ask) -> None:
    reply = ask(f"{V1}/lines", "text/event-stream")
    events = re.findall(r"^event: (\w+)\ndata: (.*)\n\n", reply.text, re.MULTILINE)
    assert "".join(json.loads(data)["text"] for name, data in events if name == "output") == "a\n\nb"
    name, data = events[-1]
    assert name == "result"
    envelope = json.loads(data)
    assert envelope["status"] == "success"
    assert set(envelope["data"]) == set(ask(f"{V1}/lines").json["data"])


REPLY = "64 bytes from 192.0.2.1: icmp_seq={} ttl=60 time=1.5 ms"
PINGING = f"echo '{REPLY.format(1)}'; sleep 0.6; echo '{REPLY.format(2)}'; sleep 1000"


def test_events_tell_facts_and_signs_of_life_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_module, "FACTS", 0.2)
    monkeypatch.setattr(answers, "HEARTBEAT", 0.3)
    ask = asker(build({"commands": {"ping": {"cmd": ["sh", "-c", PINGING], "parser": "ping"}}}))
    text = ask(f"{V1}/ping?runtime=1.5", "text/event-stream").text
    facts = [json.loads(data) for data in re.findall(r"^event: facts\ndata: (.*)$", text, re.MULTILINE)]
    assert [len(each["replies"]) for each in facts] == [1, 2]
    assert ": still running\n\n" in text
    result = json.loads(re.findall(r"^event: result\ndata: (.*)$", text, re.MULTILINE)[0])
    assert (result["code"], len(result["data"]["replies"])) == (504, 2)


def test_error_before_the_run_is_json_in_every_representation(ask: Ask) -> None:
    for accept in ("text/plain", "text/event-stream"):
        error(ask(f"{V1}/echo/-c1", accept), 400)


def test_programs_on_other_sites_may_read_the_api_but_not_the_page(ask: Ask) -> None:
    for path in (f"{V1}/cmd", f"{V1}/routers/0", f"{V1}/routers/9", "/api/info", "/nothing"):
        headers = ask(path).headers
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    for path in ("/", "/?cmd=lines&run=1", f"{V1}/lines", f"{V1}/nothing", "/style.css", "/healthz"):
        headers = ask(path, HTTP_ORIGIN="http://localhost").headers
        assert "Access-Control-Allow-Origin" not in headers
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_answers_are_hardened(ask: Ask) -> None:
    for path in ("/", f"{V1}/cmd", f"{V1}/lines", "/nothing", "/style.css", "/healthz", "/testfiles/x"):
        headers = ask(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "camera=()" in headers["Permissions-Policy"]
        assert "Server" not in headers
        assert "Strict-Transport-Security" not in headers
    assert ask("/healthz").headers["Cache-Control"] == "no-store"


# --- safety


HOSTILE = [
    "127.0.0.1;id",
    "127.0.0.1%26%26id",
    "$(id)",
    "`id`",
    "|id",
    "-c1",
    "--help",
    "-4",
    "%2Dc1",
    "::1%25;id",
    "fe80::1%25eth0",
    "127.0.0.1%0aid",
    "127.0.0.1%0d%0a",
    "%00",
    "127.0.0.1%00",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "127.0.0.01",
    "%D9%A1.1.1.1",
    "%EF%BC%91.1.1.1",
    "1%E3%80%822%E3%80%823%E3%80%824",
    "a" * 254,
    "a" * 64 + ".example",
    "192.0.2.0/24",
    "2001:db8::/32",
    "[::1]",
    "localhost%20-c",
    "exa mple.com",
    "..",
    "../../etc/passwd",
    "",
    "%20",
    "a..b",
    "-a.example",
    "a_b.example",
]


@pytest.mark.parametrize("target", HOSTILE)
def test_hostile_target_is_400_and_nothing_ran(target: str, tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    ask = asker(build({"commands": {"echo": {"cmd": ["touch", str(witness), "{{TARGET}}"]}}}))
    message = error(ask(f"{V1}/echo/{target}"), 400)
    assert len(target) < 3 or target not in message
    error(ask(f"{V1}/echo/{target}", "text/plain"), 400)
    assert not witness.exists()
    assert ask(f"{V1}/echo/127.0.0.1").status == 200
    assert witness.exists()


@pytest.mark.parametrize(
    "target",
    [
        "127.0.0.1",
        "10.1.2.3",
        "::1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::1",
        "64:ff9b::a00:1",
        "224.0.0.1",
        "localhost",
        "169.254.169.254",
        "fe80::1",
        "2a00::5efe:127.0.0.1",
        "2a00::200:5efe:10.0.0.1",
    ],
)
def test_denied_target_is_400_by_default_and_nothing_ran(target: str, tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    commands = {
        "ping": {"cmd": ["touch", str(witness), "{{TARGET}}"]},
        "show route": {"cmd": ["echo", "{{TARGET}}"], "argument": "addr"},
    }
    ask = asker(build({"commands": commands, "targets": {}}))
    error(ask(f"{V1}/ping/{target}"), 400)
    assert not witness.exists()
    if target != "localhost":
        assert ask(f"{V1}/show/route/{target}").json["status"] == "success"  # a look-up sends no packets


@pytest.mark.parametrize(
    "prefix",
    ["126.0.0.0/7", "8.0.0.0/5", "9.255.255.0/24", "2001:db8::/32", "2002:800::/21", "64:ff9b::800:0/101"],
)
def test_prefix_that_holds_what_is_denied_is_denied_where_packets_are_sent(prefix: str) -> None:
    command = {"cmd": ["echo", "{{TARGET}}"], "argument": "addr", "parser": "ping"}
    reply = asker(build({"commands": {"ping": command}, "targets": {}}))(f"{V1}/ping/{prefix}")
    assert reply.status == (200 if prefix == "9.255.255.0/24" else 400)


def test_limits_are_refused_at_once_with_retry_after() -> None:
    ask = asker(build({"limits": {"rate": "2/minute", "burst": 2}}))
    for _ in range(2):
        assert ask(f"{V1}/lines").status == 200
    reply = ask(f"{V1}/lines")
    error(reply, 429)
    assert 1 <= int(reply.headers["Retry-After"]) <= 60
    assert ask(f"{V1}/lines", REMOTE_ADDR="198.51.100.8").status == 200
    assert ask(f"{V1}/cmd").status == 200


def test_target_network_is_limited_over_all_clients() -> None:
    ask = asker(build({"limits": {**GENEROUS, "target_rate": "2/minute"}}))
    for number in range(2):
        assert ask(f"{V1}/echo/192.0.2.{number}", REMOTE_ADDR=f"198.51.{number}.1").status == 200
    error(ask(f"{V1}/echo/192.0.2.9", REMOTE_ADDR="198.51.9.1"), 429)
    assert ask(f"{V1}/echo/203.0.113.9").status == 200
    assert ask(f"{V1}/show/route/192.0.2.1").status == 200


def test_refused_question_gives_its_place_back() -> None:
    ask = asker(build({"limits": {**GENEROUS, "per_client": 1, "viewers": 1, "concurrent": 1}}))
    ask(f"{V1}/lines", **{"wsgi.input": ClosedFile()})
    for path in ("missing", "echo/nosuch.invalid", "echo/10.0.0.1?protocol=2", "fail", "much"):
        assert ask(f"{V1}/{path}").status not in {429, 503}
    assert ask(f"{V1}/lines").status == 200


def test_client_that_got_no_slot_may_try_as_often_as_told() -> None:
    application = build({"limits": {**GENEROUS, "concurrent": 1, "rate": "2/minute", "burst": 2}})
    ask = asker(application)
    environ = Request.blank(f"{V1}/slow", headers={"Accept": "text/plain"}).environ
    body = application(environ, lambda status, headers: None)
    for _ in range(5):
        error(ask(f"{V1}/lines"), 503)
    body.close()  # type: ignore[attr-defined]
    assert soon(lambda: ask(f"{V1}/lines").status != 503)
    assert ask(f"{V1}/lines").status == 200


def test_live_answer_that_is_never_read_gives_its_place_back() -> None:
    application = build({"limits": {**GENEROUS, "per_client": 1, "concurrent": 1}})
    environ = Request.blank(f"{V1}/slow", headers={"Accept": "text/plain"}).environ
    environ["REMOTE_ADDR"] = "198.51.100.7"
    body = application(environ, lambda status, headers: None)
    ask = asker(application)
    error(ask(f"{V1}/lines"), 429)
    body.close()  # type: ignore[attr-defined]
    assert soon(lambda: ask(f"{V1}/lines").status != 503)
    assert ask(f"{V1}/lines").status == 200


def test_failure_inside_is_500_without_details(monkeypatch: pytest.MonkeyPatch) -> None:
    application = build()

    def fail(request: Request) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(application, "_command_list", fail)
    message = error(asker(application)(f"{V1}/cmd"), 500)
    assert "secret" not in message


# --- who has asked


def test_clients_behind_a_trusted_proxy_have_limits_of_their_own() -> None:
    ask = asker(build({"trustproxy": True, "limits": {**GENEROUS, "rate": "1/minute", "burst": 1}}))
    statuses = [
        ask(f"{V1}/lines", REMOTE_ADDR="127.0.0.1", HTTP_X_FORWARDED_FOR=f"9.9.9.9, 192.0.2.{number}").status
        for number in (1, 2, 1)
    ]
    assert statuses == [200, 200, 429]


@pytest.mark.parametrize("host", ['"><script>', "a b", "user@lg.example", "lg.example/x", "", "lg.example?x"])
def test_host_that_is_none_is_400_and_in_no_href(host: str) -> None:
    reply = asker(build())(f"{V1}/cmd", HTTP_HOST=host)
    if host:
        error(reply, 400)
    assert not host or host not in reply.text


# --- the page


def test_page_fills_in_the_form_and_runs_nothing(ask: Ask) -> None:
    started = time.monotonic()
    page = ask("/?ip=%22%3E%3Cscript%3E&cmd=slow&router=nobody").text
    assert time.monotonic() - started < PATIENT
    assert "&quot;&gt;&lt;script&gt;" in page
    assert '"><script>' not in page
    assert re.search(r'<option value="slow"[^>]* selected>', page)


def test_page_shows_the_visitors_address_only_when_configured() -> None:
    assert "198.51.100.7" in asker(build())("/").text
    assert "198.51.100.7" not in asker(build({"showip": False}))("/").text


def test_page_loads_nothing_from_elsewhere_and_its_links_are_relative(ask: Ask) -> None:
    links = re.findall(r'(?:href|src|action)="([^"]*)"', ask("/").text)
    assert links
    for link in links:
        assert not re.match(r"[a-z]+:|/", link)
        if link != "./":
            assert ask(f"/{link}").status == 200


def test_page_without_javascript_has_the_output_escaped(ask: Ask) -> None:
    reply = ask("/?cmd=markup&run=1&ip=ignored")
    assert reply.status == 200
    assert "&lt;script&gt;alert(1)&lt;/script&gt;␛[31m&amp;" in reply.text
    assert "✓</span> done" in reply.text
    assert reply.text.rstrip().endswith("</html>")


@pytest.mark.parametrize(
    ("query", "status"),
    [("cmd=echo&ip=-c1", 400), ("cmd=nothing&ip=x", 404), ("cmd=show&ip=x/y", 200), ("ip=x", 404)],
)
def test_page_without_javascript_shows_errors_in_the_page(ask: Ask, query: str, status: int) -> None:
    reply = ask(f"/?{query}&run=1")
    assert reply.status == status
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "</html>" in reply.text


def test_page_without_javascript_shows_a_limit_with_retry_after() -> None:
    ask = asker(build({"limits": {"rate": "1/minute", "burst": 1}}))
    ask("/?cmd=lines&run=1")
    reply = ask("/?cmd=lines&run=1")
    assert reply.status == 429
    assert int(reply.headers["Retry-After"]) >= 1


def test_page_offers_routers_only_when_there_are_several(ask: Ask) -> None:
    assert 'type="hidden" id="router"' in ask("/").text
    assert "checkbox" not in ask("/").text
    routers = [{"name": name, "commands": {"x": {"cmd": ["echo"]}}} for name in ("one", "two")]
    page = asker(build({"routers": routers}))("/?router=TWO").text
    assert re.search(r'<option value="two" selected>', page)
    assert page.count('type="checkbox"') == 2


def test_page_offers_what_the_lists_hold() -> None:
    routers = [
        {"name": "one", "commands": {"x": {"cmd": ["echo"]}, "show y": {"cmd": ["echo"]}}},
        {"name": "two", "commands": {"x": {"cmd": ["echo"]}, "z": {"cmd": ["echo"]}}},
    ]
    ask = asker(build({"routers": routers}))
    page = ask("/").text
    menus = dict(re.findall(r'<select id="(\w+)"[^>]*>(.*?)</select>', page, re.DOTALL))
    offered = {name: re.findall(r'<option value="([^"]*)"', menu) for name, menu in menus.items()}
    assert offered["router"] == ask(f"{V1}/routers").json["data"]["routers"]
    assert offered["cmd"] == [each["command"] for each in ask(f"{V1}/cmd").json["data"]["commands"]]


def test_assets_are_revalidated_and_not_sent_twice(ask: Ask) -> None:
    reply = ask("/style.css")
    assert reply.headers["Content-Type"].startswith("text/css")
    for has in (reply.headers["ETag"], f'"x", W/{reply.headers["ETag"]}', "*"):
        again = ask("/style.css", HTTP_IF_NONE_MATCH=has)
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", reply.headers["ETag"])
    assert ask("/style.css", HTTP_IF_NONE_MATCH='"x"').body == reply.body


def test_path_without_slash_leads_to_the_page() -> None:
    reply = asker(build(), "/lg")("", PATH_INFO="")
    assert reply.status == 308
    assert reply.headers["Location"].endswith("/lg/")
    assert reply.headers["Content-Length"] == "0"


# --- test files


def test_testfiles_are_served_with_ranges_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "1M.bin").write_bytes(b"0123456789")
    (tmp_path / "files" / ".hidden").write_text("secret")
    (tmp_path / "files" / "link").symlink_to(tmp_path / "config.json")
    (tmp_path / "config.json").write_text("secret")
    ask = asker(build({"testfiles": str(tmp_path / "files")}))
    assert ask("/testfiles/1M.bin").body == b"0123456789"
    part = ask("/testfiles/1M.bin", HTTP_RANGE="bytes=2-4")
    assert (part.status, part.body, part.headers["Content-Range"]) == (206, b"234", "bytes 2-4/10")
    head = ask("/testfiles/1M.bin", method="HEAD", HTTP_RANGE="bytes=2-4")
    assert (head.status, head.headers["Content-Length"], head.body) == (200, "10", b"")
    for beyond in (ask("/testfiles/1M.bin", HTTP_RANGE=f"bytes={wanted}") for wanted in ("10-", "-0")):
        assert "10 bytes" in error(beyond, 416)
        assert beyond.headers["Content-Range"] == "bytes */10"
    etag = ask("/testfiles/1M.bin").headers["ETag"]
    has_it = ask("/testfiles/1M.bin", HTTP_IF_NONE_MATCH=etag, HTTP_RANGE="bytes=20-")
    assert (has_it.status, has_it.headers["ETag"], has_it.body) == (304, etag, b"")
    error(ask("/testfiles/1M.bin", HTTP_IF_MATCH='"other"'), 412)
    for path in (
        *("../config.json", "..%2fconfig.json", "nothing", ".", "%2e%2e/config.json", "//etc/passwd"),
        *(".hidden", "1M.bin/", "1M.bin%00", "./1M.bin", "link"),
    ):
        reply = ask(f"/testfiles/{path}")
        error(reply, 404)
        assert b"secret" not in reply.body
    error(asker(build())("/testfiles/1M.bin"), 404)


# --- what WebOb and the route table must not stumble over


@pytest.mark.parametrize("path", ["/%C5%BFtyle.css", "/%C4%B1con.svg"])
def test_letter_that_is_only_like_one_of_ours_is_404(ask: Ask, path: str) -> None:
    error(ask(path), 404)


@pytest.mark.parametrize("path", ["/style.css", f"{V1}/cmd"])
def test_range_that_cannot_be_read_is_ignored(ask: Ask, path: str) -> None:
    assert ask(path, HTTP_RANGE="bytes=" + "9" * 5000 + "-").status == 200


@pytest.mark.parametrize("date", ["Fri, 31 Dec 9999 23:59:59 -0100", "Mon, 01 Jan 99999999999 00:00:00 GMT"])
@pytest.mark.parametrize("name", ["HTTP_IF_MODIFIED_SINCE", "HTTP_IF_UNMODIFIED_SINCE", "HTTP_IF_RANGE"])
def test_condition_with_an_impossible_date_is_ignored(ask: Ask, name: str, date: str) -> None:
    assert ask("/style.css", **{name: date, "HTTP_RANGE": "bytes=0-"}).status in {200, 206}


def test_path_of_slashes_only_is_refused_without_effort(ask: Ask) -> None:
    started = time.thread_time()
    error(ask(f"{V1}/x{'/' * 100_000}"), 404)  # with effort: a minute
    assert time.thread_time() - started < 5


def test_redirect_below_a_prefix_is_a_valid_url() -> None:
    reply = asker(build(), "/\xd0\x96 x")("")
    assert (reply.status, reply.headers["Location"]) == (308, "http://localhost/%D0%96%20x/")
