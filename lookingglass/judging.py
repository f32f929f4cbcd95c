"""Check what keys of a configuration mean together: proxies, limits, commands that send packets."""

from __future__ import annotations

from collections.abc import Iterator

from commands import Command
from lookingglass import reloading
from lookingglass.findings import NOTE, Finding, Situation
from lookingglass.stores import MEMORY


def proxies(situation: Situation) -> Iterator[Finding]:
    """Hold the base URL against whose forwarding headers are believed."""
    configuration = situation.configuration
    trust, host = configuration.trustproxy, configuration.host
    if host and host.startswith("https:") and not trust:
        told = "host is HTTPS, so a proxy stands before this; none is trusted, so all visitors are one client"
        yield Finding("trustproxy", told, situation.key("trustproxy", "true"))
    if trust and not host:
        told = "a proxy is trusted, and host is not said: hrefs in answers are what the proxy asks for"
        yield Finding("host", told, situation.key("host", '"https://lg.example.net/"') + ", with your name")


def limits(situation: Situation) -> Iterator[Finding]:
    """Tell where limits are counted."""
    store = situation.configuration.store
    if store == MEMORY:
        told = "limits are counted in each process by itself; to have several workers count together,"
        yield Finding("store", told, situation.key("store", '"sqlite:/run/tinytracer/limits.db"'), NOTE)


def probing(situation: Situation) -> Iterator[Finding]:
    """Tell which commands send packets, and so are held against targets.deny and target_rate."""
    commands = [each for router in situation.configuration.routers for each in router.commands.values()]
    for probes, what in ((True, "send packets to their target"), (False, "only read tables")):
        names = dict.fromkeys(command.name for command in commands if command.probes is probes)
        if names:
            yield Finding("commands", f"these {what}: {', '.join(names)}", "", NOTE)
    for command in filter(_is_unknown, commands):
        told = f"{command.name} counts as sending packets, for its program is not known"
        yield Finding("commands", told, 'if it only reads a table, add "probes": false', NOTE)


def _is_unknown(command: Command) -> bool:
    return command.probes and command.argument in {"addr", "address"} and command.parser is None


def changes(situation: Situation) -> Iterator[Finding]:
    """Tell what a server that runs with this file would change when it reads the file again."""
    if not situation.file:
        return
    now = reloading.summary(situation.configuration)
    servers = list(reloading.running(situation.file))
    for each in servers:
        changed = reloading.changes(each.summary, now)
        told = f"the server with the process number {each.pid} runs with this file. "
        cure = f"kill -HUP {each.pid}" if changed else ""
        yield Finding(situation.file, told + reloading.told(changed), cure, NOTE)
    if not servers:
        told = "no server that runs with this file can be seen, so there is nothing to compare it with"
        yield Finding(situation.file, told, "", NOTE)
