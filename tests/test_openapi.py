"""The OpenAPI document: valid, complete, and what the server really answers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

import rfc8522
from lookingglass import configuration, openapi, problems, targets
from tests.support import GENEROUS, HERE, MEDIA, V1, Reply, Serve, asker, build

PING = (
    "PING 192.0.2.1 (192.0.2.1) 56(84) bytes of data.\n"
    "64 bytes from 192.0.2.1: icmp_seq=1 ttl=64 time=0.031 ms\n\n"
    "--- 192.0.2.1 ping statistics ---\n"
    "1 packets transmitted, 1 received, 0% packet loss, time 0ms\n"
    "rtt min/avg/max/mdev = 0.031/0.031/0.031/0.000 ms\n"
)
ECHO = ["echo", "{{TARGET}}"]
FRANKFURT: dict[str, Any] = {
    "ping": {"cmd": ["printf", "%s", PING, "{{TARGET}}"], "argument": "address", "parser": "ping"},
    "show route": {"cmd": ECHO, "argument": "addr", "parser": "bird", "description": "Look it up"},
    "show route origin": {"cmd": ECHO, "argument": "asn"},
    "show route community": {"cmd": ["echo", "{{VRF}}", "{{TARGET}}"], "argument": "community"},
    "only four": {"cmd4": ECHO, "argument": "address"},
    "fail": {"cmd": ["false"]},
    "wait": {"cmd": ["sleep", "0.01"], "runtime": 0.3},
    "json": {"cmd": ["echo", "text"], "formats": {"application/json": {"cmd": ["echo", '{"a": [1]}']}}},
}
TOKYO: dict[str, Any] = {
    "show route": {"cmd": ["echo", "all"]},
    "trace": {"cmd": ECHO, "argument": "address", "parser": "traceroute"},
    "healthz": {"cmd": ["echo", "well"]},
}
ROUTERS: list[dict[str, Any]] = [
    {"name": "fra1.example.net", "city": "Frankfurt", "vrfs": ["mgmt"], "commands": FRANKFURT},
    {"name": "tyo1.example.net", "commands": TOKYO},
]
SLOW: dict[str, Any] = {"cmd": ["sh", "-c", "echo begin; exec sleep 1000"], "runtime": 0.3}
TRUE: dict[str, Any] = {"cmd": ["true"]}
WAIT: dict[str, Any] = {"cmd": ["sleep", "1000"]}
RESOURCES = [
    ("/.well-known/looking-glass", ""),
    (f"{V1}/cmd", "?router=TYO1.example.net"),
    (f"{V1}/routers", ""),
    ("/api/info", ""),
    ("/api/ip", ""),
    ("/api/capabilities", ""),
]
RUNS = [
    ("ping", "192.0.2.1", ""),
    ("ping", "2001:db8::1", "?format=application/json"),
    ("show/route", "192.0.2.0%2F24", "?protocol=1,1"),
    ("show/route/origin", "as64500", "?routerindex=0"),
    ("show/route/community", "no_export", "?random=1&vrf=MGMT"),
    ("only/four", "192.0.2.1", "?runtime=0"),
    ("fail", "", ""),
    ("json", "", "?format=application/json"),
    ("show/route", "", "?router=tyo1.example.net"),
    ("trace", "192.0.2.1", "?routerindex=1"),
]
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
)
# Left out is positive_data_acceptance: parameters that are right by themselves may contradict each other.
UNWANTED = ("COVERAGE_", "PYTHONDEVMODE")
# A runtime of microseconds is valid, and 504 is its answer.
SCHEMATHESIS = '[checks]\nnot_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 504]\n'

# What visitors may send: texts that the parsers' own patterns describe, and others like them.
ADDRESSES = st.ip_addresses().map(str) | st.from_regex(targets.IPV6, fullmatch=True)
TEXTS = st.one_of(
    ADDRESSES,
    ADDRESSES.map(lambda text: text.upper()),
    st.tuples(ADDRESSES, st.integers(0, 130)).map(lambda both: f"{both[0]}/{both[1]}"),
    st.from_regex(targets.HOST_NAME, fullmatch=True),
    st.from_regex(targets.ASN, fullmatch=True),
    st.from_regex(targets.COMMUNITY, fullmatch=True),
    st.sampled_from(sorted(targets.WELL_KNOWN)).map(lambda text: text.replace("-", "_").upper()),
    st.text(max_size=20),
)
VALUES = {
    "protocol": st.from_regex(r"0*[12](,0*1)?", fullmatch=True),
    "routerindex": st.from_regex(rfc8522.ROUTERINDEX, fullmatch=True),
    "runtime": st.from_regex(rfc8522.RUNTIME, fullmatch=True),
    "format": st.lists(st.from_regex(rfc8522.MEDIA_TYPE, fullmatch=True), min_size=1).map(" , ".join),
}


def describe(**document: Any) -> dict[str, Any]:
    known = configuration.read({"routers": ROUTERS, **document}, Path())
    return openapi.document(known, "https://lg.example.net/lg", "1.2")


def operation(document: dict[str, Any], path: str) -> Any:
    return document["paths"][path]["get"]


def target_pattern(argument: str) -> str:
    commands = {"look": {"cmd": ECHO, "argument": argument}}
    document = describe(routers=[{"name": "a", "commands": commands}])
    return str(operation(document, f"{V1}/look/{{target}}")["parameters"][0]["schema"]["pattern"])


def check(document: dict[str, Any], path: str, reply: Reply) -> Any:
    """Hold an answer to what the document says of its path, status and media type; return its JSON."""
    response = operation(document, path)["responses"][str(reply.status)]
    if "$ref" in response:
        response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
    media = reply.headers["Content-Type"].partition(";")[0]
    for name, header in response.get("headers", {}).items():
        assert name in reply.headers or not header["required"]
    schema = {**response["content"][media]["schema"], "components": document["components"]}
    value = reply.json if media == "application/json" else reply.text
    Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(value)
    return value


def test_document_is_valid_openapi() -> None:
    for document in (describe(), describe(info={"title": "Example"}, routers=ROUTERS[:1])):
        assert not list(OpenAPIV31SpecValidator(document).iter_errors())
    assert document["info"] == {"title": "Example", "version": "1.2"}
    assert document["servers"] == [{"url": "https://lg.example.net/lg"}]


def test_every_command_of_any_router_has_a_path_and_no_other() -> None:
    paths = set(describe()["paths"])
    assert {path.removeprefix(f"{V1}/") for path in paths if path.startswith(V1)} == {
        *("cmd", "routers", "routers/{number}"),
        *("ping/{target}", "show/route/{target}", "show/route/origin/{target}", "only/four/{target}"),
        *("show/route/community/{target}", "fail", "wait", "json", "show/route", "trace/{target}", "healthz"),
    }
    assert {path for path in paths if not path.startswith(V1)} == {
        *("/.well-known/looking-glass", "/api/info", "/api/capabilities", "/api/ip", "/healthz"),
        *("/results/{name}", "/results/{name}/vs/{other}"),
    }
    assert not [path for path in describe(results=False)["paths"] if path.startswith("/results")]


def test_results_and_their_comparison_are_as_described() -> None:
    document = describe()
    ask = asker(build({"routers": ROUTERS}))
    names = [ask(f"{V1}/ping/192.0.2.{host}").json["data"]["result"].rpartition("/")[2] for host in (1, 2)]
    check(document, "/results/{name}", ask(f"/results/{names[0]}"))
    check(document, "/results/{name}", ask(f"/results/{'0' * 32}"))
    check(document, "/results/{name}/vs/{other}", ask(f"/results/{names[0]}/vs/{names[1]}"))
    for media in ("text/plain", "text/html", "image/svg+xml"):
        check(document, "/results/{name}", ask(f"/results/{names[0]}", media))


def test_parameters_are_those_of_the_routers() -> None:
    parameters = describe()["components"]["parameters"]
    assert parameters["router"]["schema"]["enum"] == ["fra1.example.net", "tyo1.example.net"]
    assert parameters["routerindex"]["schema"]["maximum"] == 1
    assert parameters["vrf"]["schema"]["enum"] == ["mgmt"]
    assert "vrf" not in describe(routers=ROUTERS[1:])["components"]["parameters"]
    vrf = {"$ref": "#/components/parameters/vrf"}
    assert vrf in operation(describe(), f"{V1}/show/route/community/{{target}}")["parameters"]
    assert vrf not in operation(describe(), f"{V1}/show/route/{{target}}")["parameters"]


def test_command_with_other_targets_on_another_router_accepts_both() -> None:
    looks = ({"look": {"cmd": ECHO, "argument": kind, "parser": "bird"}} for kind in ("asn", "community"))
    routers = [{"name": f"r{number}", "commands": look} for number, look in enumerate(looks)]
    schema = operation(describe(routers=routers), f"{V1}/look/{{target}}")["parameters"][0]["schema"]
    assert all(re.search(schema["pattern"], text) for text in ("AS64500", "64500:1", "no-export"))
    assert not re.search(schema["pattern"], "192.0.2.1")


@pytest.mark.parametrize("argument", targets.ARGUMENTS)
def test_no_target_that_is_accepted_is_excluded(argument: str) -> None:
    pattern = re.compile(target_pattern(argument))

    @settings(deadline=None)
    @given(TEXTS)
    def is_included(text: str) -> None:
        with contextlib.suppress(problems.TargetError):
            targets.parse(text, argument)
            assert pattern.search(text)

    is_included()


@pytest.mark.parametrize("name", VALUES)
def test_no_parameter_that_is_accepted_is_excluded(name: str) -> None:
    routers = [{"name": f"r{number}", "commands": TOKYO} for number in range(12)]
    schema = describe(routers=routers)["components"]["parameters"][name]["schema"]
    read = json.loads if schema["type"] in {"integer", "number"} else str

    @settings(deadline=None)
    @given(VALUES[name])
    def is_included(text: str) -> None:
        with contextlib.suppress(rfc8522.ProtocolError):
            query = rfc8522.Parameters.read([(name, text)])
            if query.routerindex is None or query.routerindex < len(routers):
                Draft202012Validator(schema).validate(read(text))

    is_included()


@pytest.mark.parametrize("prefix", ["", "/lg"])
def test_served_under_a_prefix_and_says_so(prefix: str) -> None:
    reply = asker(build({"routers": ROUTERS}), prefix)("/openapi.json")
    assert reply.status == 200
    assert reply.json["servers"] == [{"url": f"http://localhost{prefix}"}]


def test_configured_host_is_the_server() -> None:
    ask = asker(build({"routers": ROUTERS, "host": "https://lg.example.net/x/"}))
    assert ask("/openapi.json").json["servers"] == [{"url": "https://lg.example.net/x"}]


def test_resources_are_as_described() -> None:
    ask = asker(build({"routers": ROUTERS, "info": {"title": "A", "blurb": "<b>B</b>"}}))
    document = ask("/openapi.json").json
    for path, query in RESOURCES:
        check(document, path, ask(path + query))
    assert check(document, "/healthz", ask("/healthz")) == "ok"
    details = f"{V1}/routers/{{number}}"
    assert check(document, details, ask(f"{V1}/routers/0"))["data"]["city"] == "Frankfurt"
    assert check(document, details, ask(f"{V1}/routers/2"))["code"] == 404
    assert check(document, f"{V1}/cmd", ask(f"{V1}/cmd?router=no"))["code"] == 400
    assert check(document, "/api/info", ask("/api/info", method="POST"))["code"] == 405
    hidden = asker(build({"routers": ROUTERS, "showip": False}))
    assert check(document, "/api/ip", hidden("/api/ip"))["code"] == 404


@pytest.mark.parametrize("media", MEDIA)
@pytest.mark.parametrize(("command", "target", "query"), RUNS)
def test_runs_are_as_described(command: str, target: str, query: str, media: str) -> None:
    ask = asker(build({"routers": ROUTERS}))
    document = ask("/openapi.json").json
    path, slash = f"{V1}/{command}", "/" if target else ""
    described = f"{path}/{{target}}" if target else path
    reply = ask(f"{path}{slash}{target}{query}", media)
    assert reply.headers["Content-Type"].startswith(media)
    check(document, described, reply)
    if media == "text/event-stream":
        (event,) = re.findall(r"^event: result\ndata: (.*)$", reply.text, re.MULTILINE)
        result = Reply(200, {"Content-Type": "application/json"}, event.encode())
        assert check(document, described, result)["status"] == ("fail" if command == "fail" else "success")


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ({"cmd": ["yes"]}, 500),
        ({"cmd": ["/no/such/program"]}, 502),
        (SLOW, 504),
        ({"cmd4": ["true"]}, 400),  # not for the IPv6 that is asked for
    ],
)
def test_errors_are_as_described(command: dict[str, Any], status: int) -> None:
    ask = asker(build({"commands": {"run": command}}))
    reply = ask(f"{V1}/run?protocol=2")
    assert reply.status == status
    assert check(ask("/openapi.json").json, f"{V1}/run", reply)["code"] == status


def test_refusals_are_as_described(serve: Serve) -> None:
    server = serve(commands={"wait": WAIT, "true": TRUE}, limits={**GENEROUS, "concurrent": 1})
    document = server.json("/openapi.json")
    with server.begin(f"{V1}/wait"):
        server.wait_for_children()
        refused = Reply(*server.get(f"{V1}/true"))
    assert check(document, f"{V1}/true", refused)["code"] == 503
    ask = asker(build({"commands": {"true": TRUE}, "limits": {"rate": "1/minute", "burst": 1}}))
    assert ask(f"{V1}/true").status == 200
    assert check(document, f"{V1}/true", ask(f"{V1}/true"))["code"] == 429


def test_importing_the_program_does_not_import_it() -> None:
    probe = "import sys, tinytracer; sys.exit('openapi' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], cwd=HERE, check=False).returncode == 0


@pytest.mark.slow
def test_live_server_answers_as_described(serve: Serve, tmp_path: Path) -> None:
    server = serve(routers=ROUTERS, commands=FRANKFURT)
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(SCHEMATHESIS)
    argv = ["-m", "schemathesis.cli", "--config-file", str(settings), "run", "--checks", ",".join(CHECKS)]
    argv += ["--max-examples", "20", "--generation-deterministic", "--no-color"]
    argv += [f"http://127.0.0.1:{server.port}/openapi.json"]
    # Not the tool is to be measured, and in development mode it takes three times as long.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(UNWANTED)}
    done = subprocess.run(
        [sys.executable, *argv],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert server.children() == set()
