"""RFC 8522: its examples, sent as they stand, and the table of its requirements."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rfc8522 import Parameters, ProtocolError
from tests.support import V1, Ask, asker, build, error

HERE = Path(__file__).parent.parent
RECEIVED, RTT = "5 packets transmitted, 5 received", "rtt min/avg/max/mdev = 40/41/44/1 ms"
NEIGHBOR = "BGP neighbor is {{TARGET}}, remote AS 64500, internal link"
COMMANDS: dict[str, Any] = {
    "ping": {
        "cmd": ["printf", f"{RECEIVED}\\n{RTT}%.0s\\n", "{{TARGET}}"],  # %.0s shows nothing of its argument
        "parser": "ping",
    },
    "traceroute": {"cmd": ["echo", "Tracing the route to {{TARGET}}"]},
    "show route": {
        "cmd4": ["echo", "4 {{TARGET}}"],
        "cmd6": ["echo", "6 {{TARGET}}"],
        "argument": "addr",
    },
    "show bgp": {"cmd": ["echo", "BGP routing table entry for {{TARGET}}"], "argument": "addr"},
    "show bgp summary": {"cmd4": ["echo", "summary 4"], "cmd6": ["echo", "summary 6"], "argument": "none"},
    "show bgp neighbors": {"cmd": ["echo", NEIGHBOR], "argument": "address"},
    "show ospf database": {"cmd": ["echo", "OSPF Router with ID (192.0.2.18)"]},
}
ROUTERS: list[dict[str, Any]] = [
    {"name": f"{name}.lookingglass.example.net", "commands": COMMANDS}
    for name in ("route-server", "customer-edge", "provider-edge", "c2951", "c7206", "c7301")
]
ROUTERS[1].update({"country": "de", "autonomous_system": 64512})
REQUIRED = {"performed_at", "runtime", "router", "output", "format"}


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    application = build({"routers": ROUTERS})
    yield asker(application)
    application.close()


EXAMPLES = [
    ("ping/2001:DB8::35?protocol=2,1", 0, {"min": 40, "avg": 41, "max": 44, "rate": 100}),
    ("traceroute/192.0.2.8?routerindex=5", 5, {"output": ["Tracing the route to 192.0.2.8"]}),
    ("show/route/2001:DB8::/48?protocol=2,1", 0, {"output": ["6 2001:db8::/48"]}),
    ("show/bgp/192.0.2.0/24", 0, {"output": ["BGP routing table entry for 192.0.2.0/24"]}),
    ("show/bgp/summary?protocol=2&routerindex=3", 3, {"output": ["summary 6"]}),
    ("show/bgp/neighbors/192.0.2.226", 0, {"output": [NEIGHBOR.replace("{{TARGET}}", "192.0.2.226")]}),
    ("show/ospf/database", 0, {"output": ["OSPF Router with ID (192.0.2.18)"]}),
]


@pytest.mark.parametrize(("path", "router", "expected"), EXAMPLES)
@pytest.mark.parametrize("upper", [False, True])
def test_example_of_the_rfc_gets_an_answer_of_its_shape(
    ask: Ask, path: str, router: int, expected: dict[str, Any], upper: bool
) -> None:
    reply = ask(f"{V1}/{path.upper() if upper else path}")
    assert (reply.status, reply.json["status"]) == (200, "success")
    data = reply.json["data"]
    assert set(data) >= REQUIRED
    assert data["router"] == ROUTERS[router]["name"]
    assert data["format"] == "text/plain"
    assert {key: data[key] for key in expected} == expected


def test_router_list_is_as_in_section_3_3_1(ask: Ask) -> None:
    data = ask(f"{V1}/routers").json["data"]
    assert data["routers"] == [router["name"] for router in ROUTERS]
    assert {"performed_at", "runtime"} <= set(data)


def test_router_details_are_as_in_section_3_3_2(ask: Ask) -> None:
    data = ask(f"{V1}/routers/1").json["data"]
    expected = {"id": 1, "name": ROUTERS[1]["name"], "country": "de", "autonomous_system": 64512}
    assert {key: data[key] for key in expected} == expected
    assert data["format"] == "text/plain,application/json"


def test_command_list_is_as_in_section_3_3_3(ask: Ask) -> None:
    listed = {each["command"]: each for each in ask(f"{V1}/cmd").json["data"]["commands"]}
    assert set(listed) == set(COMMANDS)
    assert listed["show route"]["arguments"] == "{addr}"
    assert listed["ping"]["arguments"] == "{host}"
    assert all(set(each) == {"href", "arguments", "description", "command"} for each in listed.values())
    for each in listed.values():
        assert ask(each["href"].removeprefix("http://localhost") + "/%20").status == 400


def test_every_runtime_and_format_falls_back_as_the_rfc_says() -> None:
    assert Parameters.read([]) == Parameters()
    pairs = [("Protocol", "2,1"), ("RUNTIME", "0"), ("Format", "Application/YANG,text/plain"), ("x", "y")]
    read = Parameters.read(pairs)
    assert (read.protocol, read.runtime, read.format) == (6, 0.0, ("application/yang", "text/plain"))
    assert Parameters.read([("random", "1"), ("random", "2")]) == Parameters()
    assert Parameters.read([("runtime", "99999999999.5")]).runtime == 99999999999.5
    bad = {"runtime": "1e9", "routerindex": "1.0", "protocol": "26", "format": "x"}
    for pair in bad.items():
        with pytest.raises(ProtocolError):
            Parameters.read([pair])


FORMATS = {
    "own": {"cmd": ["echo", "text"], "formats": {"application/json": {"cmd": ["echo", '{"a": [1]}']}}},
    "broken": {"cmd": ["echo", "text"], "formats": {"application/json": {"cmd": ["echo", "{"]}}},
    "deep": {"cmd": ["echo"], "formats": {"application/json": {"cmd": ["printf", "%s", "[" * 9000]}}},
    "nan": {"cmd": ["echo"], "formats": {"application/json": {"cmd": ["echo", '{"x": NaN}']}}},
    "huge": {"cmd": ["echo"], "formats": {"application/json": {"cmd": ["echo", "[1e999]"]}}},
    "xml": {"cmd": ["echo", "text"], "formats": {"text/xml": {"cmd": ["echo", "<a/>"]}}},
    "parsed": {"cmd": ["echo", "rtt min/avg/max/mdev = 1/2/3/4 ms"], "parser": "ping"},
    "unparsed": {"cmd": ["echo", "nothing"], "parser": "ping"},
    "plain": {"cmd": ["echo", "text"]},
}


@pytest.mark.parametrize(
    ("path", "media", "output"),
    [
        ("own", "text/plain", ["text"]),
        ("own?format=application/json", "application/json", {"a": [1]}),
        ("own?format=application/yang,APPLICATION/JSON,text/plain", "application/json", {"a": [1]}),
        ("own?format=text/plain,application/json", "text/plain", ["text"]),
        ("broken?format=application/json", "text/plain", ["{"]),
        ("deep?format=application/json", "text/plain", ["[" * 9000]),
        ("xml?format=text/xml", "text/xml", ["<a/>"]),
        ("parsed?format=application/json", "application/json", {"min": 1, "avg": 2, "max": 3, "mdev": 4}),
        ("unparsed?format=application/json", "text/plain", ["nothing"]),
        ("plain?format=application/json", "text/plain", ["text"]),
        ("nan?format=application/json", "application/json", {"x": None}),
        ("huge?format=application/json", "application/json", [None]),
    ],
)
def test_format_chooses_the_first_that_is_offered(path: str, media: str, output: object) -> None:
    data = asker(build({"commands": FORMATS}))(f"{V1}/{path}").json["data"]
    assert data["format"] == media
    assert data["output"] == output


def test_vrf_takes_configured_names_only_and_in_any_case() -> None:
    commands = {"show": {"cmd": ["echo", "vrf {{VRF}}"]}, "plain": {"cmd": ["echo", "none"]}}
    ask = asker(build({"routers": [{"name": "r1", "vrfs": ["Mgmt", "red"], "commands": commands}]}))
    data = ask(f"{V1}/show?vrf=mgmt").json["data"]
    assert (data["output"], data["vrf"]) == (["vrf Mgmt"], "Mgmt")
    assert ask(f"{V1}/plain").status == 200
    error(ask(f"{V1}/show?vrf=blue"), 400)
    error(ask(f"{V1}/show?vrf=mgmt%20red"), 400)
    assert "vrf" in error(ask(f"{V1}/show"), 400)
    assert ask(f"{V1}/show", method="HEAD").status == 400
    assert "vrf" in error(ask(f"{V1}/plain?vrf=mgmt"), 400)  # another table than asked for would be a lie


def test_format_is_what_was_used_for_this_family_and_kind() -> None:
    templates = {"cmd4": ["echo", "<a/>", "{{TARGET}}"]}
    command = {"cmd": ["echo", "plain", "{{TARGET}}"], "argument": "addr", "formats": {"text/xml": templates}}
    ask = asker(build({"commands": {"x": command}}))
    for target, media, output in (
        ("192.0.2.1", "text/xml", "<a/> 192.0.2.1"),
        ("2001:db8::1", "text/plain", "plain 2001:db8::1"),
    ):
        data = ask(f"{V1}/x/{target}?format=text/xml,text/plain").json["data"]
        assert (data["format"], data["output"]) == (media, [output])


def test_runtime_is_the_configured_one_when_not_given() -> None:
    document = {
        "commands": {"wait": {"cmd": ["sleep", "1000"]}},
        "limits": {"runtime": 0.3, "max_runtime": 5},
    }
    reply = asker(build(document))(f"{V1}/wait")
    error(reply, 504)
    assert 0.3 <= reply.json["data"]["runtime"] < 2


def test_performed_at_is_the_end_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        data = asker(build({"commands": {"wait": {"cmd": ["sleep", "1.5"]}}}))(f"{V1}/wait").json["data"]
    finally:
        monkeypatch.undo()
        time.tzset()
    performed = datetime.strptime(data["performed_at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert 0 <= time.time() - performed.timestamp() < 1.4


ANSWER = "#!/bin/sh\nprintf 'an answer\\n'\nexit 255\n"


@pytest.mark.parametrize(("remote", "script", "status"), [("cli", ANSWER, 200), ("shell", ANSWER, 502)])
def test_network_operating_system_that_tells_no_status_has_answered(
    tmp_path: Path, remote: str, script: str, status: int
) -> None:
    via = tmp_path / "via"
    via.write_text(script)
    via.chmod(0o755)
    router = {"name": "r1", "via": [str(via)], "remote": remote, "commands": {"show": {"cmd": ["show"]}}}
    reply = asker(build({"routers": [router]}))(f"{V1}/show")
    assert reply.status == status
    if status == 200:
        assert (reply.json["status"], reply.json["data"]["output"]) == ("success", ["an answer"])
    via.write_text("#!/bin/sh\nexit 255\n")
    error(asker(build({"routers": [router]}))(f"{V1}/show"), 502)


def test_facts_never_change_the_output(ask: Ask) -> None:
    data = ask(f"{V1}/ping/192.0.2.1").json["data"]
    assert data["output"] == [RECEIVED, RTT]


def test_every_requirement_names_a_test_that_exists() -> None:
    page = (HERE / "docs" / "rfc8522.md").read_text()
    rows = [line.split("|")[1:-1] for line in page.splitlines() if re.match(r"\| (?!section|what)", line)]
    assert sum(bool(re.fullmatch(r" [2-6][.0-9, ]* ", row[0])) for row in rows) >= 60
    readme = " ".join((HERE / "README.md").read_text().split())
    source = "".join(path.read_text() for path in HERE.rglob("test_*.py"))
    tests = set(re.findall(r"^def (test_\w+)", source, re.MULTILINE))
    for section, requirement, named in rows:
        found = re.findall(r"`(test_\w+)`", named)
        quoted = re.findall(r'README: "(.+)"', named)
        assert found or quoted, (section, requirement)
        assert all(quotation in readme for quotation in quoted), (section, quoted)
        assert set(found) <= tests, (section, set(found) - tests)
