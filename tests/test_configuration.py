"""The configuration: every mistake at once, each with its path; the schema says the same."""

from __future__ import annotations

import contextlib
import os
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookingglass import configuration
from lookingglass.configuration import ConfigurationError
from lookingglass.guard import Limits, Rate
from tests.support import HERE, PING, SCHEMA, changed, errors_of

ROUTER = {"name": "r1", "commands": {"ping": PING}}
GOOD_VALUES = [
    ("info", {"title": "T", "blurb": "<b>B</b>", "asn": "AS1", "$comment": "x"}),
    ("$schema", "./config.schema.json"),
    ("$comment", "mine"),
    ("host", "https://lg.example.net/"),
    ("host", "http://[2001:db8::1]:8080/lg"),
    ("showip", False),
    ("trustproxy", True),
    ("trustproxy", ["10.0.0.0/8", "2001:db8::/32", "192.0.2.1"]),
    ("trustproxy", []),
    ("trustproxy", ["unix:"]),
    ("trustproxy", ["unix:", "10.0.0.0/8"]),
    ("debug", True),
    ("info", {"contact": "noc@example.net", "ipv4": "https://ipv4.lg.example.net/"}),
    ("info/ipv6", "http://[2001:db8::1]/lg"),
    *(("log", value) for value in ("logfmt", "json")),
    *(("log_clients", value) for value in ("full", "network", "none")),
    *(("commands/ping/probes", value) for value in (True, False)),
    ("commands/x", {"cmd": ["x", "--format={json}", "{print $1}}", "{ {json} }"]}),
    ("capabilities", {"ipv4": True, "ipv6": False}),
    ("capabilities", {"ipv6": False}),
    (
        "commands/Show Route",
        {"cmd": ["ip", "{{TARGET}}"], "prefix4": ["ip", "{{TARGET}}"], "argument": "addr"},
    ),
    ("commands/summary", {"cmd": ["birdc"], "argument": "none", "parser": "bird", "runtime": 5.5}),
    ("commands/mtr", {**PING, "formats": {"application/json": {"cmd4": ["mtr", "{{TARGET}}"]}}}),
    ("commands/mtr", {**PING, "formats": {"$comment": "none yet"}}),
    (
        "commands/route",
        {"cmd": ["x", "{{TARGET}}"], "prefix4": ["x", "{{NETWORK}}", "{{MASK}}"], "argument": "addr"},
    ),
    ("commands/as", {"cmd": ["x", "as {{TARGET}} y"], "argument": "asn"}),
    (
        "commands/community",
        {"cmd": ["x", "{{TARGET}}"], "large4": ["x", "large:{{TARGET}}"], "argument": "community"},
    ),
    ("commands/script", {"cmd": ["sh", "-c", "for i in 1 2; do\necho $i; done"]}),
    ("commands/old", {"cmd4": "ping -c 10 {{TARGET}} 2>&1", "description": "Ping"}),
    ("routers", [ROUTER]),
    (
        "routers",
        [
            {"name": "a"},
            {**ROUTER, "via": ["ssh", "x"], "remote": "cli", "contact": "noc", "rack": 3},
        ],
    ),
    (
        "routers",
        [{"name": "a", "source4": "192.0.2.1", "source6": "2001:db8::1", "vrfs": ["mgmt"], "city": "x"}],
    ),
    ("routers", [{"name": "a", "country": "de", "autonomous_system": 4294967295}]),
    ("limits", {}),
    ("limits", {"max_runtime": 10}),
    (
        "limits",
        {"runtime": 1, "max_runtime": 1.5, "concurrent": 1, "viewers": 1, "per_client": 1, "output_kib": 1},
    ),
    ("limits", {"rate": "1/day", "burst": 1, "target_rate": "999/second"}),
    ("targets", {"deny": []}),
    ("targets", {"deny": ["10.0.0.0/8"]}),
    ("targets", {}),
    ("testfiles", "testfiles"),
]
BAD_VALUES = [
    ("nonsense", 1),
    ("$comment", 1),
    ("info", []),
    ("info/titel", "T"),
    ("info/title", 5),
    ("host", "lg.example.net"),
    ("host", "https://lg.example.net/?x"),
    ("host", "https://user@lg.example.net/"),
    ("showip", "yes"),
    ("showip", 1),
    ("trustproxy", "10.0.0.0/8"),
    ("trustproxy", ["ten"]),
    ("trustproxy", ["fe80::%eth0/128"]),
    ("trustproxy", ["unix"]),
    ("trustproxy", ["unix:/run/nginx.sock"]),
    ("trustproxy", "unix:"),
    ("debug", None),
    ("info/contact", ["noc@example.net"]),
    ("info/ipv4", "ipv4.lg.example.net"),
    ("info/ipv6", "ftp://lg.example.net/"),
    ("info/ipv6", 6),
    ("log", "syslog"),
    ("log", True),
    ("log", None),
    ("log_clients", "all"),
    ("log_clients", False),
    ("log_clients", ["network"]),
    ("commands/ping/probes", "yes"),
    ("commands/ping/probes", 1),
    ("commands/ping/probes", None),
    ("commands", ""),
    ("capabilities/ipv5", True),
    ("capabilities", {"ipv4": False, "ipv6": False}),
    ("commands", {}),
    ("commands", []),
    ("commands/p ing  x", PING),
    ("commands/cmd", PING),
    ("commands/routers x", PING),
    ("commands/ping", "ping"),
    ("commands/ping/cmd5", ["x"]),
    ("commands/ping/cmd4", []),
    ("commands/ping/cmd4", ["ping", 4]),
    ("commands/ping/cmd4", [""]),
    ("commands/ping/cmd4", ["a\0", "{{TARGET}}"]),
    ("commands/ping/cmd4", ["{{TARGET}}"]),
    ("commands/ping/cmd4", 5),
    ("commands/ping/cmd4", ""),
    ("commands/ping/argument", "ip"),
    ("commands/ping/parser", "iperf"),
    ("commands/ping/runtime", 0),
    ("commands/ping/runtime", "30"),
    ("commands/ping/description", None),
    ("commands/ping/formats", {"json": {"cmd4": ["x", "{{TARGET}}"]}}),
    ("commands/ping/formats", {"text/plain": {"cmd4": ["x", "{{TARGET}}"]}}),
    ("commands/ping/formats", {"application/json": {"cmd5": ["x"]}}),
    ("commands/none", {"description": "nothing"}),
    ("routers", []),
    ("routers", {}),
    ("routers", [{"commands": {"ping": PING}}]),
    ("routers", [{**ROUTER, "name": "a b"}]),
    ("routers", [{**ROUTER, "name": "a/b"}]),
    ("routers", [{**ROUTER, "url": "https://lg.example.net/"}]),
    ("routers", [{**ROUTER, "id": 1}]),
    ("routers", [{**ROUTER, "via": "ssh x"}]),
    ("routers", [{**ROUTER, "via": []}]),
    ("routers", [{**ROUTER, "remote": "tcl"}]),
    ("routers", [{**ROUTER, "source4": "2001:db8::1"}]),
    ("routers", [{**ROUTER, "vrfs": ["-x"]}]),
    ("routers", [{**ROUTER, "vrfs": ["a b"]}]),
    ("routers", [{**ROUTER, "autonomous_system": 0}]),
    ("routers", [{**ROUTER, "contact": ["a"]}]),
    ("routers", [5]),
    ("limits", 5),
    ("limits/runtime", -1),
    ("limits/runtime", True),
    ("limits/concurrent", 0),
    ("limits/concurrent", 1.5),
    ("limits/rate", "10 per minute"),
    ("limits/rate", "0/minute"),
    ("limits/rate", 10),
    ("limits/bursts", 5),
    ("targets/allow", []),
    ("targets/deny", "10.0.0.0/8"),
    ("targets/deny", ["10.0.0.0/8x"]),
    ("testfiles", 5),
]
# What a schema cannot say: it depends on two places, on the machine, or on what a string means.
BAD_BEYOND_THE_SCHEMA = [
    ("targets/deny", ["10.0.0.1/8"], "targets.deny[0]: "),
    ("trustproxy", ["1.2.3.999"], "trustproxy[0]: "),
    ("testfiles", "no-such-folder", "testfiles: "),
    ("limits", {"runtime": 61}, "limits.runtime: "),
    ("commands/PING", PING, "commands.PING: "),
    ("commands/ping/cmd4", "ping {{TARGET}}; id", "commands.ping.cmd4: ';' needs a shell"),
    ("commands/ping/cmd4", ["ping", "{{WHO}}"], "commands.ping.cmd4: "),
    (
        "commands/ping/cmd4",
        ["ping", "{{NETWORK}}"],
        "commands.ping.cmd4: {{NETWORK}}, {{LENGTH}}, {{MASK}} are",
    ),
    ("commands/ping/cmd4", ["ping"], "commands.ping.cmd4: it has no {{TARGET}}"),
    ("commands/ping/argument", "none", "commands.ping.cmd4: it has a {{TARGET}}"),
    ("commands/ping/prefix4", ["x", "{{TARGET}}"], "commands.ping: prefix4"),
    (
        "commands/ping/large6",
        ["x", "{{TARGET}}"],
        "commands.ping: large4 and large6 need the argument community",
    ),
    *(
        ("commands/ping/cmd4", argv, "commands.ping.cmd4: a shell would read")
        for argv in (
            ["sh", "-c", "ping {{TARGET}}"],
            ["env", "/bin/bash", "-ec", "ping {{TARGET}}"],
            ["bash", "-c", "-e", "ping {{TARGET}}"],
            ["fish", "--command=ping {{TARGET}}"],
            ["su", "lg", "-c", "ping {{TARGET}}"],
            ["sh", "-c", 'eval "$1"', "sh", "{{TARGET}}"],
            ["env", "-S", "sh -c 'ping {{TARGET}}'"],
            ["/usr/bin/env", "-S", "sh -c 'ping {{TARGET}}'"],
            ["script", "-qc", "ping {{TARGET}}", "/dev/null"],
        )
    ),
    ("routers", [{**ROUTER, "via": ["/bin/sh", "-c"]}], "routers[0].via: a shell"),
    ("routers", [{**ROUTER, "via": ["ssh", "{{TARGET}}"]}], "routers[0].via[1]: "),
    ("routers", [{**ROUTER, "via": ["\ud800"]}], "routers[0].via[0]: "),
    ("routers", [{**ROUTER, "<b>": 1}], "routers[0].<b>: "),
    ("commands/ping/formats", {"application/json": {}}, "commands.ping.formats.application/json: "),
    ("info/title", "\ud800", "info.title: "),
    ("commands/ping/cmd4", ["ping", "\ud800", "{{TARGET}}"], "commands.ping.cmd4: "),
    ("testfiles", "x" * 5000, "testfiles: "),
    ("commands/ping/cmd4", ["ping", "{{SOURCE}}", "{{TARGET}}"], "commands.ping.cmd4: {{SOURCE}}"),
    ("commands/ping/cmd4", ["ping", "{{VRF}}", "{{TARGET}}"], "commands.ping.cmd4: {{VRF}}"),
    ("commands/a.prefixes", {"cmd": ["x", "{{LENGTH}}"]}, "commands.a.prefixes.cmd: {{NETWORK}}"),
    (
        "routers",
        [{"name": "r1", "vrfs": ["m"], "commands": {"x": {"cmd4": ["x", "{{VRF}}"], "cmd6": ["x"]}}}],
        "routers[0].commands.x: {{VRF}} has to be in all",
    ),
    ("routers", [ROUTER, {**ROUTER, "name": "R1"}], "routers[1].name: "),
    ("routers", [{**ROUTER, "commands": "none.json"}], "routers[0].commands: "),
    ("routers", [{**ROUTER, "source4": "192.0.2"}], "routers[0].source4: "),
    ("routers", [{**ROUTER, "Via": "x"}], "routers[0].Via: did you mean via?"),
    ("routers", [{**ROUTER, "vrf": "x"}], "routers[0].vrf: did you mean vrfs?"),
]


@pytest.mark.parametrize(("path", "value"), GOOD_VALUES)
def test_good_value_is_accepted_by_validator_and_schema(path: str, value: Any) -> None:
    document = changed(path, value)
    configuration.read(document, HERE)
    SCHEMA.validate(document)


@pytest.mark.parametrize(("path", "value"), BAD_VALUES)
def test_bad_value_is_refused_by_validator_and_schema(path: str, value: Any) -> None:
    document = changed(path, value)
    beginning = path.replace("/", ".")
    assert any(
        error.startswith((beginning, beginning.rpartition(".")[0] or "\0")) for error in errors_of(document)
    )
    assert not SCHEMA.is_valid(document)


@pytest.mark.parametrize(("path", "value", "message"), BAD_BEYOND_THE_SCHEMA)
def test_what_a_schema_cannot_say_is_refused_by_the_validator(path: str, value: Any, message: str) -> None:
    document = changed(path, value)
    assert any(error.startswith(message) for error in errors_of(document)), errors_of(document)
    assert SCHEMA.is_valid(document)


@pytest.mark.parametrize(
    ("path", "value", "cure"),
    [
        ("commands/ping/cmd44", ["x"], "did you mean cmd4?"),
        ("limits/brust", 5, "did you mean burst?"),
        ("logs", "json", "did you mean log?"),
        ("trust_proxy", True, "did you mean trustproxy?"),
    ],
)
def test_mistyped_key_is_refused_with_the_likely_one(path: str, value: Any, cure: str) -> None:
    (error,) = errors_of(changed(path, value))
    assert error.startswith(f"{path.replace('/', '.')}: there is no such key; {cure}")


@pytest.mark.parametrize("document", [None, [], "x", 5, {}])
def test_document_that_is_no_configuration_is_refused(document: object) -> None:
    assert errors_of(document)
    assert not SCHEMA.is_valid(document)


def test_all_errors_are_listed_at_once() -> None:
    document = {
        "nonsense": 1,
        "commands": {"a": {"cmd": 5}, "b": {"cmd": "x | y"}},
        "limits": {"rate": 1, "burst": "x"},
        "targets": {"deny": ["x", "y"]},
    }
    paths = [error.partition(": ")[0] for error in errors_of(document)]
    expected = ["nonsense", "commands.a.cmd", "commands.b.cmd", "limits.rate", "limits.burst"]
    assert paths == [*expected, "targets.deny[0]", "targets.deny[1]"]


def test_line_break_in_a_key_forges_no_error() -> None:
    (error,) = errors_of(changed("a\nlimits: fine", 1))
    assert error.startswith("'a\\nlimits: fine': ")


def test_name_of_a_command_is_ascii() -> None:
    assert errors_of({"commands": {"\u212aelvin": PING}})


def test_mistakes_of_one_command_do_not_hide_each_other() -> None:
    errors = errors_of(
        {"commands": {"ping": {"cmd4": ["ping"], "argument": "host", "parser": "x"}}, "debug": 1}
    )
    assert [error.partition(": ")[0] for error in errors] == [
        "commands.ping.parser",
        "commands.ping.cmd4",
        "debug",
    ]


def test_values_arrive() -> None:
    document = {
        "info": {"title": "T", "blurb": "B"},
        "host": "https://lg.example.net/x/",
        "capabilities": {"ipv6": False},
        "limits": {"concurrent": 3, "rate": "7/hour", "target_rate": "1/second"},
        "routers": [
            {**ROUTER, "via": ["ssh", "a"], "source6": "2001:DB8::1", "vrfs": ["m"], "city": "X", "rack": 4},
            {"name": "r2"},
        ],
        "commands": {"Show  route".replace("  ", " "): {"cmd": ["x"]}},
    }
    read = configuration.read(document, HERE)
    assert (read.title, read.blurb, read.host) == ("T", "B", "https://lg.example.net/x")
    assert read.capabilities == {"ipv4": True, "ipv6": False}
    assert read.limits == Limits(
        concurrent=3, viewers=12, rate=Rate(7, 3600.0), burst=7, target_rate=Rate(1, 1.0)
    )
    first, second = read.routers
    assert (first.number, first.via, first.sources, first.vrfs) == (
        0,
        ("ssh", "a"),
        {6: "2001:db8::1"},
        ("m",),
    )
    assert first.details == {"city": "X", "rack": 4}
    assert list(second.commands) == ["show route"]


def test_defaults_are_safe() -> None:
    read = configuration.read({"commands": {"ping": PING}}, HERE)
    assert read.limits == Limits(
        runtime=30,
        max_runtime=60,
        output_kib=256,
        concurrent=16,
        per_router=8,
        viewers=64,
        per_client=2,
        lookups=2,
        network_share=0.25,
        rate=Rate(20, 60),
        burst=10,
        target_rate=Rate(20, 60),
        global_rate=Rate(120, 60),
        slot_seconds=Rate(60, 60),
    )
    assert read.limits == Limits()  # as in code that reads no configuration
    assert (read.trustproxy, read.debug, read.testfiles, read.host) == (False, False, None, None)
    assert (read.title, read.blurb, read.info, read.showip) == ("Looking Glass", "", {}, True)
    assert (read.log, read.log_clients) == ("logfmt", "network")
    assert read.deny.denies(ip_address("10.0.0.1"))
    assert read.routers[0].name == os.uname().nodename
    command = read.routers[0].commands["ping"]
    assert (command.argument, command.description) == ("host", "ping")


def test_empty_deny_list_denies_nothing() -> None:
    read = configuration.read(changed("targets", {"deny": []}), HERE)
    assert not read.deny.denies(ip_address("127.0.0.1"))


def test_new_values_arrive() -> None:
    document = {
        **changed("info", {"contact": "noc", "ipv4": "https://4.lg.example.net/", "$comment": "x"}),
        "trustproxy": ["unix:", "10.0.0.0/8"],
        "log": "json",
        "log_clients": "none",
    }
    read = configuration.read(document, HERE)
    assert read.info == {"contact": "noc", "ipv4": "https://4.lg.example.net/"}
    assert read.trustproxy == ("unix:", ip_network("10.0.0.0/8"))
    assert (read.log, read.log_clients) == ("json", "none")


def test_lacking_programs_are_named_but_not_those_of_remote_routers() -> None:
    routers = [
        {"name": "here", "commands": {"x": {"cmd": ["no-such-tool"]}, "y": {"cmd": ["true"]}}},
        {"name": "there", "via": ["ssh-no-such"], "commands": {"x": {"cmd": ["tool-of-the-router"]}}},
    ]
    lacking = configuration.read({"routers": routers}, HERE).lacking()
    assert [line.partition(": ")[0] for line in lacking] == ["routers[0].commands.x.cmd", "routers[1].via"]


def test_lacking_program_of_shared_commands_is_named_once() -> None:
    document = {
        "commands": {"x": {"cmd": ["no-such-tool"], "cmd6": ["no-such-six"]}},
        "routers": [{"name": "a"}, {"name": "b"}],
        "capabilities": {"ipv6": False},
    }
    (line,) = configuration.read(document, HERE).lacking()
    assert line.startswith("commands.x.cmd: there is no program 'no-such-tool'")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
PATHS = sorted(
    {each[0] for each in [*GOOD_VALUES, *BAD_VALUES]} | {each[0] for each in BAD_BEYOND_THE_SCHEMA}
)


@given(st.sampled_from(PATHS), JSON_VALUES)
def test_any_value_anywhere_is_accepted_or_refused(path: str, value: Any) -> None:
    with contextlib.suppress(ConfigurationError):
        configuration.read(changed(path, value), HERE)
