"""Whether a command sends packets to its target or reads a table, where the configuration does not say it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

from commands import Template
from lookingglass.facts import PARSERS

ADDRESSES = {"host", "addr", "address"}  # arguments that packets can be sent to

# RFC 8522 sections 3.2.1 to 3.2.4: commands of these names look something up, whatever their program is,
LOOK_UPS = re.compile(r"show (?:route|bgp)(?: .*)?")
# unless it is one of these.
PROBERS = {
    *("ping", "ping4", "ping6", "fping", "fping6", "nping", "hping3", "arping", "nmap", "mtr", "mtr-packet"),
    *("traceroute", "traceroute4", "traceroute6", "tracepath", "tracepath6", "tracert", "tcptraceroute"),
}
# A program is known by its name, whatever its folder. What is not in these tables probes.
TABLE_READERS = {
    *("bird", "birdc", "birdc6", "birdcl", "birdcl6", "birdlg"),
    *("bgpctl", "gobgp", "gobgplg", "ospfctl"),
}
SHELLS_OF_ROUTERS = {"vtysh", "cli", "Cli", "FastCli"}  # they read when each -c begins as READING says
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


def probes(
    name: str, argument: str, parser: str | None, templates: Mapping[str, Mapping[str, Template]]
) -> bool:
    """Tell whether a command sends packets to its target: yes, unless it is known to read a table.

    A command with a target of addresses is known by its parser, a routing daemon's, by the argv of each of
    its templates, or by its name. The argument ``host`` always means yes: a table needs no names.
    """
    if parser and PARSERS[parser].probes:
        return True
    if argument not in ADDRESSES:
        return False
    if argument == "host":
        return True
    argvs = [template.argv for inner in templates.values() for template in inner.values()]
    is_look_up = LOOK_UPS.fullmatch(name) and not any(map(_names_a_prober, argvs))
    return not (parser or is_look_up or all(map(reads_a_table, argvs)))


def reads_a_table(argv: Iterable[str]) -> bool:
    """Tell whether an argv is known to read a table, on this machine or at a router's prompt."""
    argv = tuple(argv)
    if SEPARATORS & set(argv) or any(re.search(r"[;\n]", element) for element in argv):
        return False
    line = WRAPPERS.sub("", " ".join(_words(argv)), count=1)
    words = line.split(" ")
    program = os.path.basename(words[0])
    if program in TABLE_READERS or words[0] in READING or ROUTEROS.fullmatch(line):
        return True
    if program in SHELLS_OF_ROUTERS:
        return _only_shows(words[1:])
    return program == "ip" and _ip_object(words[1:]) in IP_OBJECTS


def _words(argv: Iterable[str]) -> list[str]:
    return " ".join(argv).translate(QUOTES).split()


def _names_a_prober(argv: Iterable[str]) -> bool:
    return any(os.path.basename(word) in PROBERS for word in _words(argv))


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
