"""Which commands send packets to their target: what is not known to read a table does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from commands import Command
from lookingglass import configuration
from lookingglass.probing import reads_a_table

HERE = Path(__file__).parent.parent
FOLDER = HERE / "examples" / "routers"
SETS = sorted(path.name for path in FOLDER.glob("*.json"))
PROBES = {"ping", "traceroute", "mtr"}  # among the commands that we ship; all others read a table
SOURCES = {"source4": "192.0.2.1", "source6": "2001:db8::1"}


def named(name: str, **keys: Any) -> Command:
    return configuration.read({"commands": {name: keys}}, HERE).routers[0].commands[name.lower()]


def command(**keys: Any) -> Command:
    return named("x", **keys)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("via", [{}, {"via": ["ssh", "r1"], "remote": "cli"}], ids=["here", "there"])
def test_each_command_of_a_shipped_set_is_known(name: str, via: dict[str, Any]) -> None:
    router = {"name": "r1", **SOURCES, "commands": name, **via}
    commands = configuration.read({"routers": [router]}, FOLDER).routers[0].commands
    assert {each.name for each in commands.values() if each.probes} == PROBES & set(commands)
    assert set(commands) - PROBES


@pytest.mark.parametrize("name", SETS)
def test_look_up_of_a_shipped_set_is_known_by_each_argv_alone(name: str) -> None:
    for key, keys in json.loads((FOLDER / name).read_text()).items():
        if key == "$comment":
            continue
        inner = [keys, *keys.get("formats", {}).values()]
        argvs = [value for each in inner for value in each.values() if isinstance(value, list)]
        assert argvs
        assert [argv for argv in argvs if reads_a_table(argv) == (key in PROBES)] == []


def test_each_command_of_the_template_is_known() -> None:
    commands = configuration.load(HERE / "config.json.template").routers[0].commands
    assert {each.name for each in commands.values() if each.probes} == PROBES


@pytest.mark.parametrize("argument", ["addr", "address"])
@pytest.mark.parametrize(
    "argv",
    [
        ["sudo", "-n", "/usr/sbin/birdc", "-r", "show route for {{TARGET}} where a && b"],
        ["sudo", "-u", "frr", "vtysh", "-d", "bgpd", "-c", "show bgp {{TARGET}}"],
        ["timeout", "5", "vtysh", "-c", "show version", "-c", "show bgp {{TARGET}}"],
        ["ip", "-n", "lab", "-j", "-6", "route", "get", "{{TARGET}}"],
        ["/sbin/ip", "r", "g", "{{TARGET}}"],
        ["cli", "-c", "show route {{TARGET}}"],
        ["/routing/route/print", "where", "dst-address={{TARGET}}"],
        ["/ip", "route", "print", "where", "{{TARGET}} in dst-address"],
        ["show ip bgp", "{{TARGET}}"],
        ["/show", "router", "{{TARGET}}"],
        ["/opt/vyatta/bin/vyatta-op-cmd-wrapper", "show", "ip", "route", "{{TARGET}}"],
    ],
)
def test_table_read_is_known_by_its_argv(argument: str, argv: list[str]) -> None:
    assert not command(cmd=argv, argument=argument).probes


@pytest.mark.parametrize(
    "argv",
    [
        ["ping", "{{TARGET}}"],
        ["sudo", "nmap", "{{TARGET}}"],
        ["ip", "netns", "exec", "route", "ping", "{{TARGET}}"],
        ["ip", "-n", "route", "vrf", "exec", "mgmt", "ping", "{{TARGET}}"],
        ["ip"],
        ["ip", "-4", "-n"],
        ["vtysh", "-u", "-c", "ping {{TARGET}}"],
        ["vtysh", "-c", "show version", "-c", "traceroute {{TARGET}}"],
        ["vtysh", "-c", "show version", "--command=ping {{TARGET}}"],
        ["vtysh", "-c", "show version", "-cping {{TARGET}}"],
        ["vtysh", "-c"],
        ["vtysh", "-f", "{{TARGET}}"],
        ["show version; ping", "{{TARGET}}"],
        ["show", "version\nping", "{{TARGET}}"],
        ["birdc", "-r", "show", "route", "&&", "ping", "{{TARGET}}"],
        ["tool", "traceroute", "{{TARGET}}"],
        ["/ping", "{{TARGET}}"],
        ["showing", "{{TARGET}}"],
        ["./show", "{{TARGET}}"],
        ["routing", "ping", "{{TARGET}}"],
        ["dataplane", "shell", "ping", "{{TARGET}}"],
        ["sudo"],
        ["my own tool", "birdc", "{{TARGET}}"],
    ],
)
def test_what_is_not_known_to_read_a_table_probes(argv: list[str]) -> None:
    assert not reads_a_table(argv)
    keys = {"cmd": [*argv, "{{TARGET}}"], "argument": "addr"}
    assert command(**keys).probes


def test_one_argv_that_probes_makes_its_command_probe() -> None:
    shown = {"cmd": ["birdc", "show route for {{TARGET}}"], "argument": "addr"}
    assert not command(**shown).probes
    assert command(**shown, prefix4=["fping", "-g", "{{TARGET}}"]).probes
    assert command(**shown, formats={"application/json": {"cmd6": ["mtr", "-j", "{{TARGET}}"]}}).probes


@pytest.mark.parametrize("name", ["show route", "Show BGP", "show bgp neighbors", "show route mine"])
def test_look_up_of_rfc_8522_reads_a_table_whatever_its_program(name: str) -> None:
    keys = {"cmd": ["mine", "{{TARGET}}"], "argument": "addr"}
    assert not named(name, **keys).probes
    assert named(name, **{**keys, "argument": "host"}).probes
    assert named(name, **keys, parser="ping").probes
    assert named(name, **keys, prefix6=["sudo", "-E", "/usr/bin/mtr", "-6", "{{TARGET}}"]).probes
    assert named(name, **{**keys, "cmd": ["vtysh", "-c", "do ping {{TARGET}}"]}).probes
    assert named(name, **{**keys, "cmd": ["tool", "traceroute", "{{TARGET}}"]}).probes


@pytest.mark.parametrize("name", ["show path", "show", "show routes", "route", "my show route"])
def test_name_that_is_not_of_rfc_8522_says_nothing(name: str) -> None:
    assert named(name, cmd=["mine", "{{TARGET}}"], argument="addr").probes


def test_parser_decides_before_the_argv() -> None:
    unknown = {"cmd": ["mine", "{{TARGET}}"], "argument": "addr"}
    assert command(**unknown).probes
    assert not command(**unknown, parser="bird").probes
    assert not command(**unknown, parser="frr").probes
    assert command(cmd=["show", "{{TARGET}}"], argument="addr", parser="ping").probes


def test_argument_host_probes_and_what_is_no_address_does_not() -> None:
    assert command(cmd=["birdc", "{{TARGET}}"], argument="host", parser="bird").probes
    assert not command(cmd=["mine", "{{TARGET}}"], argument="asn").probes
    assert not command(cmd=["mine", "{{TARGET}}"], argument="community").probes
    assert not command(cmd=["mine"], argument="none").probes


@pytest.mark.parametrize("said", [True, False])
def test_what_the_configuration_says_counts(said: bool) -> None:
    assert command(cmd=["ping", "{{TARGET}}"], probes=said).probes is said
    assert command(cmd=["birdc", "{{TARGET}}"], argument="addr", probes=said).probes is said
    assert command(cmd=["x", "{{TARGET}}"], argument="addr", parser="mtr", probes=said).probes is said


def test_line_of_any_length_is_judged_at_once() -> None:
    assert not reads_a_table(["routing " + "a " * 100_000, "{{TARGET}}"])
    assert not reads_a_table(["sudo -n " * 20_000])
