"""Whether a command sends packets to its target or reads a table, where the configuration does not say it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

from commands import Template
from lookingglass.facts import PARSERS

ADDRESSES = {"host", "addr", "address"}  # arguments that packets can be sent to

# A program is known by its name, whatever its folder. What is not in these tables probes.
READERS = {
    *("bird", "birdc", "birdc6", "birdcl", "birdcl6", "birdlg"),
    *("bgpctl", "gobgp", "gobgplg", "ospfctl"),
}
SHELLS_OF_ROUTERS = {
    "vtysh",
    "cli",
    "Cli",
    "FastCli",
}  # read a table when each -c begins with a word of READING
READING = {"show", "/show", "display"}
IP_OBJECTS = {
    *("route", "ro", "r", "neighbour", "neighbor", "neigh", "n", "rule", "ru"),
    *("address", "addr", "a", "link", "l", "nexthop", "mroute"),
}
IP_VALUES = {"-n", "-netns", "-f", "-family", "-l", "-loops", "-rc", "-rcvbuf"}  # options before a value
# RouterOS: `ip route print …`, `/routing/bgp/session/print …`
ROUTEROS = re.compile(
    r"/?(?:(?:ip|ipv6)[ /](?:route|address|neighbor|arp)|routing(?:[ /][a-z-]{1,30}){1,3}?)[ /]print(?: .*)?",
    re.DOTALL,
)
# What may stand before the command itself.
WRAPPERS = re.compile(
    r"(?:(?:\S{0,200}/)?(?:(?:sudo|doas)(?: -n)?(?: -u \S{1,64})?|nice|timeout [0-9.]{1,9}[smhd]?"
    r"|vyatta-op-cmd-wrapper|dataplane shell) )*+"
)
SEPARATORS = {"&", "&&", "||"}  # elements after which another command begins, at a router's prompt
QUOTES = str.maketrans("", "", "\"'")


def probes(argument: str, parser: str | None, templates: Mapping[str, Mapping[str, Template]]) -> bool:
    """Tell whether a command sends packets to its target: yes, unless it is known to read a table.

    A command with a target of addresses is known by its parser, a routing daemon's, or by the argv of each of
    its templates. The argument ``host`` always means yes: a table needs no names.
    """
    if parser and PARSERS[parser].probes:
        return True
    if argument not in ADDRESSES:
        return False
    if argument == "host":
        return True
    return parser is None and not all(map(reads_a_table, _argvs(templates.values())))


def reads_a_table(argv: Iterable[str]) -> bool:
    """Tell whether an argv is known to read a table, on this machine or at a router's prompt."""
    argv = tuple(argv)
    if SEPARATORS & set(argv) or any(re.search(r"[;\n]", element) for element in argv):
        return False
    line = " ".join(" ".join(argv).translate(QUOTES).split())
    line = WRAPPERS.sub("", line, count=1)
    words = line.split(" ")
    program = os.path.basename(words[0])
    if program in READERS or words[0] in READING or ROUTEROS.fullmatch(line):
        return True
    if program in SHELLS_OF_ROUTERS:
        return _only_shows(words[1:])
    return program == "ip" and _ip_object(words[1:]) in IP_OBJECTS


def _argvs(templates: Iterable[Mapping[str, Template]]) -> Iterable[tuple[str, ...]]:
    return (template.argv for inner in templates for template in inner.values())


def _only_shows(words: list[str]) -> bool:
    """Tell whether each command after -c begins with a word of READING, and there is one."""
    options = [number for number, word in enumerate(words) if word.startswith(("-c", "--c"))]
    told = [words[number + 1 : number + 2] for number in options if words[number] == "-c"]
    return bool(told) and len(told) == len(options) and all(word[:1] and word[0] in READING for word in told)


def _ip_object(words: list[str]) -> str:
    """Return what iproute2's ip is asked about: its first word that is no option."""
    remaining = iter(words)
    for word in remaining:
        if not word.startswith("-"):
            return word
        if word in IP_VALUES:
            next(remaining, "")
    return ""
