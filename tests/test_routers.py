"""The command sets in examples/routers: valid, read-only, bounded, and what the platforms' tables say."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from commands import JSON, TEXT, Router
from lookingglass import configuration, targets

HERE = Path(__file__).parent.parent
FOLDER = HERE / "examples" / "routers"
FILES = sorted(path.name for path in FOLDER.glob("*.json"))
PLATFORMS = (
    "bird", "eos", "frr", "gobgp", "ios", "ios-xr", "junos", "linux", "nx-os", "openbgpd", "routeros6", "routeros7",
    "sros", "tnsr", "vrp", "vyos",
)  # fmt: skip
SOURCES = {"source4": "192.0.2.1", "source6": "2001:db8::1"}
WRITING = re.compile(
    r"\b(?:conf|configure|clear|reload|restart|write|commit|set|delete|enable|disable|reset)\b"
)


def router(platform: str, **extra: Any) -> Router:
    document = {"routers": [{"name": "r1", **SOURCES, "commands": f"{platform}.json", **extra}]}
    return configuration.read(document, FOLDER).routers[0]


def argv(platform: str, name: str, target: str = "", **extra: Any) -> tuple[str, ...]:
    """Return what would be executed for a target of either family."""
    chosen = router(platform, **extra)
    command = chosen.commands[name]
    family = 6 if ":" in target and command.argument in {"host", "addr"} else 4
    template = command.template(family, kind=targets.parse(target, command.argument).kind if target else "")
    return chosen.argv(template, family, target, "")


def test_every_platform_has_a_file() -> None:
    assert sorted(f"{platform}.json" for platform in PLATFORMS) == FILES


@pytest.mark.parametrize("name", FILES)
def test_file_is_valid_and_says_what_it_was_tested_against(name: str) -> None:
    document = json.loads((FOLDER / name).read_text())
    schema = json.loads((HERE / "config.schema.json").read_text())
    commands = {"$ref": "#/$defs/commands", "$defs": schema["$defs"]}
    jsonschema.Draft202012Validator(commands).validate(document)
    assert re.match(r"Tested |Never run on ", document["$comment"])
    bgp = {f"show bgp{more}" for more in ("", " summary", " neighbors", " as-path", " community")}
    offered = set(router(name.removesuffix(".json")).commands)
    assert offered == {"show route", "ping", "traceroute"} | (bgp if name != "linux.json" else {"mtr"})


def test_first_line_says_how_many_ran_on_the_real_thing_and_how_many_never_did() -> None:
    comments = [json.loads((FOLDER / name).read_text())["$comment"] for name in FILES]
    ran = sum(comment.startswith("Tested ") for comment in comments)
    told = f"{ran} of them ran on the real thing, {len(FILES) - ran} never did"
    assert told in (FOLDER / "README.md").read_text().splitlines()[0]


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_template_reads_only_and_is_bounded(platform: str) -> None:
    for command in router(platform).commands.values():
        assert TEXT in command.templates
        for media, templates in command.templates.items():
            for key, template in templates.items():
                text = " ".join(template.argv)
                where = f"{platform} {command.name} {media} {key}: {text}"
                assert not WRITING.search(text), where
                assert "birdc" not in text or "birdc -r" in text, where
                assert "vtysh" not in text or "vtysh -u -c" in text, where
                if command.name == "ping" and platform not in {"eos", "sros"}:  # these send five by default
                    assert re.search(r"-c 5|count=?\s?5|repeat 5", text), where


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("family", [4, 6])
def test_set_is_whole_on_a_machine_with_one_family(platform: str, family: int) -> None:
    source = f"source{family}"
    document = {
        "capabilities": {f"ipv{10 - family}": False},
        "routers": [{"name": "r1", source: SOURCES[source], "commands": f"{platform}.json"}],
    }
    commands = configuration.read(document, FOLDER).routers[0].commands
    assert set(commands) == set(router(platform).commands)
    for command in commands.values():
        assert all(command.template_of(media, family) for media in command.templates), command.name


FRR = ("vtysh", "-u", "-c")
VYOS = "/opt/vyatta/bin/vyatta-op-cmd-wrapper"
EXPANSIONS: list[tuple[str, str, str, tuple[str, ...]]] = [
    ("linux", "show route", "192.0.2.9", ("ip", "-4", "route", "get", "192.0.2.9")),
    ("linux", "show route", "2001:db8::9", ("ip", "-6", "route", "get", "2001:db8::9")),
    ("linux", "ping", "192.0.2.9", ("ping", "-4", "-c", "5", "-I", "192.0.2.1", "192.0.2.9")),
    ("linux", "ping", "2001:db8::9", ("ping", "-6", "-c", "5", "-I", "2001:db8::1", "2001:db8::9")),
    (
        "linux",
        "traceroute",
        "192.0.2.9",
        ("traceroute", "-4", "-w", "1", "-q", "1", "-s", "192.0.2.1", "192.0.2.9"),
    ),
    ("linux", "mtr", "192.0.2.9", ("mtr", "-4", "--raw", "-c", "10", "-G", "1", "192.0.2.9")),
    ("bird", "show route", "2001:db8::/32", ("birdc", "-r", "show", "route", "for", "2001:db8::/32", "all")),
    ("bird", "show bgp summary", "", ("birdc", "-r", "show", "protocols")),
    ("bird", "show bgp neighbors", "192.0.2.9", ("birdlg", "neighbors", "192.0.2.9")),
    ("bird", "show bgp community", "64500:100", ("birdlg", "community", "4", "64500:100")),
    (
        "bird",
        "traceroute",
        "2001:db8::9",
        ("traceroute", "-6", "-w", "1", "-q", "1", "-s", "2001:db8::1", "2001:db8::9"),
    ),
    ("frr", "show bgp", "192.0.2.9", (*FRR, "show bgp ipv4 unicast 192.0.2.9")),
    ("frr", "show bgp", "2001:db8::/32", (*FRR, "show bgp ipv6 unicast 2001:db8::/32")),
    ("frr", "show bgp summary", "", (*FRR, "show bgp ipv4 unicast summary")),
    ("frr", "show bgp neighbors", "192.0.2.9", (*FRR, "show bgp neighbors 192.0.2.9")),
    ("frr", "show bgp as-path", "64500", (*FRR, "show bgp ipv4 unicast regexp _64500_")),
    ("frr", "show bgp community", "64500:100", (*FRR, "show bgp ipv4 unicast community 64500:100")),
    ("frr", "show bgp community", "64500:1:2", (*FRR, "show bgp ipv4 unicast large-community 64500:1:2")),
    (
        "openbgpd",
        "show bgp community",
        "64500:1:2",
        ("bgpctl", "show", "rib", "inet", "large-community", "64500:1:2"),
    ),
    ("gobgp", "show bgp community", "64500:1:2", ("gobgplg", "community", "4", "64500:1:2")),
    ("frr", "ping", "192.0.2.9", ("ping", "-4", "-c", "5", "-I", "192.0.2.1", "192.0.2.9")),
    ("vyos", "show bgp", "192.0.2.9", (*FRR, "show bgp ipv4 unicast 192.0.2.9")),
    ("vyos", "ping", "192.0.2.9", (VYOS, "ping", "192.0.2.9", "count", "5")),
    ("vyos", "traceroute", "2001:db8::9", (VYOS, "traceroute", "2001:db8::9")),
    ("openbgpd", "show route", "2001:db8::9", ("bgpctl", "show", "rib", "inet6", "2001:db8::9")),
    ("gobgp", "show route", "192.0.2.9", ("gobgp", "global", "rib", "-a", "ipv4", "192.0.2.9")),
]
# What an operating system of its own is told, in one line.
LINES = [
    ("junos", "show bgp", "192.0.2.9", "show route protocol bgp table inet.0 192.0.2.9 detail | no-more"),
    ("junos", "show bgp", "2001:db8::9", "show route protocol bgp table inet6.0 2001:db8::9 detail | no-more"),
    ("junos", "ping", "192.0.2.9", "ping inet 192.0.2.9 count 5 source 192.0.2.1"),
    ("junos", "ping", "2001:db8::9", "ping inet6 2001:db8::9 count 5 source 2001:db8::1"),
    ("junos", "traceroute", "192.0.2.9", "traceroute inet 192.0.2.9 wait 1 source 192.0.2.1"),
    ("junos", "show bgp as-path", "64500", 'show route protocol bgp table inet.0 aspath-regex ".* 64500 .*" | no-more'),
    ("junos", "show bgp neighbors", "192.0.2.9", "show bgp neighbor 192.0.2.9 | no-more"),
    ("junos", "show bgp community", "64500:1:2",
     "show route protocol bgp table inet.0 community large:64500:1:2 | no-more"),
    ("ios", "show bgp community", "64500:1:2", "show bgp ipv4 unicast large-community 64500:1:2"),
    ("routeros7", "show bgp as-path", "64500",
     r'routing route print detail where afi=ip4 and bgp.as-path~"(^|[^0-9])64500([^0-9]|\$)"'),
    ("ios", "show bgp", "192.0.2.9", "show bgp ipv4 unicast 192.0.2.9"),
    ("ios", "ping", "2001:db8::9", "ping 2001:db8::9 repeat 5 source 2001:db8::1"),
    ("ios", "traceroute", "192.0.2.9", "traceroute 192.0.2.9 timeout 1 probe 2 source 192.0.2.1"),
    ("ios-xr", "show bgp", "2001:db8::9", "show bgp ipv6 unicast 2001:db8::9"),
    ("ios-xr", "ping", "192.0.2.9", "ping ipv4 192.0.2.9 count 5 source 192.0.2.1"),
    ("ios-xr", "traceroute", "2001:db8::9", "traceroute ipv6 2001:db8::9 timeout 1 probe 2 source 2001:db8::1"),
    ("nx-os", "ping", "2001:db8::9", "ping6 2001:db8::9 source 2001:db8::1 count 5"),
    ("nx-os", "traceroute", "192.0.2.9", "traceroute 192.0.2.9 source 192.0.2.1"),
    ("eos", "show bgp", "192.0.2.9", "show ip bgp 192.0.2.9"),
    ("eos", "ping", "2001:db8::9", "ping ipv6 2001:db8::9 source 2001:db8::1"),
    ("routeros6", "show route", "192.0.2.9", "ip route print where 192.0.2.9 in dst-address"),
    ("routeros6", "ping", "192.0.2.9", "ping src-address=192.0.2.1 count=5 192.0.2.9"),
    ("routeros7", "show route", "192.0.2.9", 'routing route print detail where "192.0.2.9" in dst-address'),
    ("routeros7", "traceroute", "192.0.2.9",
     "tool traceroute src-address=192.0.2.1 timeout=1 duration=5 count=1 192.0.2.9"),
    ("vrp", "show bgp", "192.0.2.9", "display bgp routing-table 192.0.2.9 | no-more"),
    ("vrp", "show bgp", "192.0.2.0/24", "display bgp routing-table 192.0.2.0 24 | no-more"),
    ("vrp", "show bgp", "2001:db8::/32", "display bgp ipv6 routing-table 2001:db8:: 32 | no-more"),
    ("ios", "show route", "192.0.2.0/24", "show ip route 192.0.2.0 255.255.255.0"),
    ("vrp", "show bgp", "2001:db8::9", "display bgp ipv6 routing-table 2001:db8::9 | no-more"),
    ("vrp", "ping", "2001:db8::9", "ping ipv6 -c 5 -a 2001:db8::1 2001:db8::9"),
    ("vrp", "traceroute", "192.0.2.9", "tracert -q 2 -f 1 -a 192.0.2.1 192.0.2.9"),
    ("sros", "show bgp", "2001:db8::/32", "/show router bgp routes 2001:db8::/32 ipv6 hunt"),
    ("sros", "ping", "192.0.2.9", "/ping 192.0.2.9 source-address 192.0.2.1"),
    ("sros", "traceroute", "192.0.2.9", "/traceroute 192.0.2.9 source-address 192.0.2.1 wait 2 seconds"),
    ("tnsr", "show bgp", "192.0.2.9", 'dataplane shell sudo vtysh -u -c "show bgp ipv4 unicast 192.0.2.9"'),
    ("tnsr", "ping", "192.0.2.9", "ping 192.0.2.9 ipv4 source 192.0.2.1 count 5 timeout 1"),
    ("tnsr", "traceroute", "2001:db8::9", "traceroute 2001:db8::9 ipv6 source 2001:db8::1 timeout 1 waittime 1"),
]  # fmt: skip


@pytest.mark.parametrize(("platform", "name", "target", "expected"), EXPANSIONS)
def test_command_expands_to_the_platforms_argv(
    platform: str, name: str, target: str, expected: tuple[str, ...]
) -> None:
    assert argv(platform, name, target) == expected


@pytest.mark.parametrize(("platform", "name", "target", "line"), LINES)
def test_command_expands_to_the_platforms_line(platform: str, name: str, target: str, line: str) -> None:
    ssh = ["ssh", "lg@192.0.2.7"]
    assert argv(platform, name, target, via=ssh, remote="cli") == (*ssh, line)


def test_command_for_a_remote_shell_is_quoted() -> None:
    found = argv("frr", "show bgp", "192.0.2.9", via=["ssh", "r1"])
    assert found == ("ssh", "r1", "vtysh -u -c 'show bgp ipv4 unicast 192.0.2.9' 2>&1")


def test_birdlg_knows_every_community_that_has_a_name_here() -> None:
    known = runpy.run_path(str(FOLDER / "birdlg"))["WELL_KNOWN"]
    named = {name for name in targets.WELL_KNOWN.values() if not name[0].isdigit()}
    assert set(known) == named


def test_json_variants_ask_for_json() -> None:
    for platform in ("frr", "openbgpd", "gobgp", "eos", "linux"):
        commands = router(platform).commands.values()
        variants = [template for command in commands for template in command.templates.get(JSON, {}).values()]
        assert variants
        assert all(re.search(r"json|-j\b", " ".join(template.argv)) for template in variants)
