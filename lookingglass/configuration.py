"""config.json in, a Configuration out, or every mistake at once, each with its path."""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import rfc8522
from commands import Router
from lookingglass import cures, targets, themes
from lookingglass.cabinet import Keeping
from lookingglass.documents import StrPath, load_json
from lookingglass.facts import PARSERS
from lookingglass.guard import Limits
from lookingglass.reading import (
    REQUIRED,
    Key,
    Place,
    address,
    base_url,
    boolean,
    complete,
    content,
    deny,
    duration,
    existing_folder,
    list_of,
    members,
    number,
    one_of,
    or_false,
    origins,
    present,
    proxies,
    rate,
    store,
    text,
    url,
    with_metrics,
)
from lookingglass.resources import ROOT, resource
from lookingglass.spawning import ENVIRONMENT
from lookingglass.templates import template
from lookingglass.visitors import Trust
from lookingglass.whitelist import Program, build, commands, formats, router_name, routers, via, vrf_name

# fmt: off
# A key is a row: name, reader, default as in JSON (None: there is none, or the meaning says it), meaning.
# "$comment", a string, may stand in every object. config.schema.json says the same to editors.
INFO = (
    Key("title", text, "Looking Glass", "The title of the page."),
    Key("blurb", text, "", "Your own HTML, which the page shows."),
    Key("asn", text, None, "Your AS number, for /api/info."),
    Key("contact", text, None, "How visitors reach you, such as noc@example.net."),
    Key("ipv4", url, None, "The URL of this looking glass that has an IPv4 address only."),
    Key("ipv6", url, None, "The URL of this looking glass that has an IPv6 address only."),
)
CAPABILITIES = (
    Key("ipv4", boolean, True, "Whether IPv4 is offered; if not, templates for IPv4 are not looked at."),
    Key("ipv6", boolean, True, "Whether IPv6 is offered; if not, templates for IPv6 are not looked at."),
)
TEMPLATES = (
    Key("cmd", template("cmd"), None, "The argv for both families, or for none."),
    Key("cmd4", template("cmd4"), None, "The argv for IPv4."),
    Key("cmd6", template("cmd6"), None, "The argv for IPv6."),
    Key("prefix4", template("prefix4"), None, "Instead of cmd4, when the target is a prefix."),
    Key("prefix6", template("prefix6"), None, "Instead of cmd6, when the target is a prefix."),
    Key("large4", template("large4"), None, "Instead of cmd4, when the target is a large community."),
    Key("large6", template("large6"), None, "Instead of cmd6, when the target is a large community."),
)
COMMAND = (
    Key("description", text, None, "A sentence for visitors; absent: its name."),
    *TEMPLATES,
    Key("argument", one_of(*targets.ARGUMENTS, "none"), None,
        "What the target is; absent: host with a {{TARGET}}, else none."),
    Key("parser", one_of(*PARSERS), None, "What reads facts from its output; absent: nothing."),
    Key("runtime", number(0.1, 86400, "seconds"), None, "Seconds that it may take; absent: max_runtime."),
    Key("weight", number(1, 1000, "tokens", whole=True), 1, "Tokens of the limit rate that it costs."),
    Key("reuse", number(0, 86400, "seconds"), 0,
        "Seconds for which a finished success answers the same question again; 0: it never does."),
    Key("probes", boolean, None,
        "Whether it sends packets to its target; absent: yes, unless it is known to read a table."),
    Key("formats", formats(TEMPLATES), None, "Templates for other media types of RFC 8522's format."),
)
ROUTER = (
    Key("name", router_name, REQUIRED, "A name that visitors see and ask for, such as fra1.lg.example.net."),
    Key("commands", commands(COMMAND), None,
        "Its commands, or the name of a command set such as frr, or of a file beside the configuration; "
        "absent: the commands at the top."),
    Key("via", via, None, "The argv that leads there, normally ssh; the command becomes its last argument."),
    Key("remote", one_of("shell", "cli"), "shell",
        "How the command is written there: quoted for a POSIX shell, or joined with spaces."),
    Key("source4", address(4), None, "Its IPv4 address, for {{SOURCE}}."),
    Key("source6", address(6), None, "Its IPv6 address, for {{SOURCE}}."),
    Key("vrfs", list_of(vrf_name), None, "The names that visitors may choose for {{VRF}}."),
    Key("country", text, None, "Where it is, for visitors."),
    Key("city", text, None, "Where it is, for visitors."),
    Key("autonomous_system", number(1, (1 << 32) - 1, whole=True), None,
        "Its AS number, for visitors."),
)
LIMITS = (
    Key("runtime", number(0.1, 86400, "seconds"), 30,
        "Seconds that a run may take when the visitor says nothing; never more than max_runtime."),
    Key("max_runtime", number(0.1, 86400, "seconds"), 60, "The most seconds that a run may take."),
    Key("concurrent", number(1, 10000, "processes", whole=True), 16, "Processes at once."),
    Key("per_router", number(1, 10000, "processes", whole=True), 8, "Processes at once for one router."),
    Key("viewers", number(1, 10000, "answers", whole=True), None,
        "Answers in progress; absent: four times concurrent."),
    Key("per_client", number(1, 10000, "answers", whole=True), 2, "Answers in progress for one client."),
    Key("output_kib", number(1, 1 << 20, "KiB", whole=True), 256, "KiB of output, after which a run is cut."),
    Key("routers_at_once", number(1, rfc8522.MOST_ROUTERS, "routers", whole=True), 4,
        "Runs at once for one question to several routers; the others wait."),
    Key("queue", number(1, 10000, "questions", whole=True), 32,
        "Questions that wait at once: from the page and to several routers; others are refused at once."),
    Key("lookups", number(1, 32, "names", whole=True), 2, "Names being looked up for one client."),
    Key("rate", rate, "20/minute", "Tokens for one client; an answer costs as many as its command's weight."),
    Key("burst", number(1, 1_000_000, "tokens", whole=True), 10,
        "Tokens for one client at once; absent, but with a rate: the rate's number."),
    Key("target_rate", rate, "20/minute",
        "Runs towards one target's /24 or /48, for all together; a quarter for one client's /24 or /48."),
    Key("global_rate", rate, "120/minute",
        "Runs for all clients together; a quarter is kept for networks that have run little."),
    Key("slot_seconds", rate, "60/minute",
        "Seconds of runs for one client, charged at their end; its /24 or /48 has twice as many."),
    Key("network_share", number(0.001, 1), 0.25,
        "The share of slots, viewers, runs, look-ups, downloads and connections for one /24 or /48."),
    Key("downloads", number(1, 10000, "downloads", whole=True), 2,
        "Downloads of test files at once for one client; 16 for all, or as many as one client may have."),
    Key("connections", number(1, 100_000, "connections", whole=True), 64,
        "Connections of one client to TinyTracer's own server; loopback and trusted proxies may have all."),
    Key("requests", rate, "20/second",
        "Requests of one client for pages, lists and files; its network has four times as many. Runs have"
        " their own limits, /healthz none."),
)
RESULTS = (
    Key("keep", duration, "1 day", "For how long each is kept, such as 12 hours."),
    Key("entries", number(1, 100_000, "answers", whole=True), 1000, "How many are kept."),
    Key("mib", number(1, 16384, "MiB", whole=True), 64, "MiB that they may take, compressed."),
)
THEME = (
    Key("css", content(themes.STYLES, themes.FILE_KIB), None,
        "A style sheet beside the configuration, which goes behind the page's own."),
    Key("logo", content(themes.LOGOS, themes.FILE_KIB), None,
        "A picture beside the configuration, which stands before the title."),
    Key("icon", content(themes.ICONS, themes.FILE_KIB), None,
        "A small picture beside the configuration, which browsers show in the tab."),
    Key("about", content(themes.PROSE, themes.PROSE_KIB), None,
        "A text beside the configuration, with your own words, which becomes a page at /about."),
)
TARGETS = (
    Key("deny", deny, None,
        "Networks to which no packets are sent; []: none; absent: special-purpose networks and multicast."),
)
TOP = (
    Key("$schema", text, None, "Where editors find the schema; ignored."),
    Key("info", members(INFO), None, "What /api/info answers and the page shows."),
    Key("host", base_url, None, "The public base URL, for hrefs; absent: the request's own."),
    Key("showip", boolean, True, "Whether the page fills the form with the visitor's address."),
    Key("trustproxy", proxies, False,
        "The proxies whose X-Forwarded-For or Forwarded is believed: true means loopback and unix sockets; "
        'a list holds networks, and "unix:" for unix sockets.'),
    Key("cors", origins, False,
        "The sites whose pages may run commands by fetch(): false for none, a list of origins such as "
        'https://www.example.net, or "*" for all. Lists and descriptions may be read by all.'),
    Key("debug", boolean, False, "Whether the log has more details."),
    Key("capabilities", members(CAPABILITIES), None, "Which address families are offered: one or both."),
    Key("theme", members(THEME), None,
        "How the page looks: style sheet, logo, icon and a page of your own words."),
    Key("commands", commands(COMMAND), None,
        "The commands of each router that has none of its own, or the name of a command set or a file."),
    Key("routers", routers(ROUTER), None, "The routers that are offered; absent: this machine."),
    Key("limits", members(LIMITS), None, "How much visitors may run."),
    Key("store", store, "memory",
        "Where limits are counted and results are kept: memory, sqlite:PATH for the processes of one "
        "machine, or redis://HOST:PORT."),
    Key("results", or_false(members(RESULTS)), None,
        "Finished answers that are kept under a link; false: none. When there are too many, the oldest of "
        "the /24 or /48 that has most goes."),
    Key("targets", members(TARGETS), None, "What may be a target."),
    Key("log", one_of("logfmt", "json"), "logfmt", "The format of the log's line for each answer."),
    Key("log_clients", one_of("full", "network", "none"), "network",
        "What the log keeps of a client's address: all of it, its /24 or /48, or nothing."),
    Key("metrics", with_metrics, [],
        "Networks that may read /metrics, directly or through trusted proxies; absent or empty: nobody may."),
    Key("testfiles", existing_folder, None, "A folder that is served under /testfiles/; absent: none is."),
)
# fmt: on


VARIABLE = "TINYTRACER_CONFIG"  # names the configuration's file where no argument does
HERE = "config.json"


log = logging.getLogger("tinytracer")


class ConfigurationError(Exception):
    """A configuration cannot be used; ``errors`` has a line for each mistake, beginning with its path.

    ``cure`` is a command that mends all of them, "" where they have to be mended in the file.
    """

    def __init__(self, errors: Iterable[str], cure: str = "") -> None:
        self.errors, self.cure = tuple(errors), cure
        super().__init__("\n".join((*self.errors, f"    {cure}")) if cure else "\n".join(self.errors))


class Configuration(NamedTuple):
    """Hold a valid configuration; the table above says what its values mean."""

    title: str
    blurb: str
    info: Mapping[str, str]  # as configured
    host: str | None  # without a slash at its end
    showip: bool
    trustproxy: Trust
    cors: Collection[str]  # origins, or "*"
    debug: bool
    capabilities: Mapping[str, bool]  # ipv4, ipv6
    theme: Mapping[str, themes.File]  # css, logo, icon, about: those that are configured
    routers: tuple[Router, ...]  # at least one
    limits: Limits
    store: str  # for stores.open_store
    results: Keeping | None  # None: no answers are kept
    deny: targets.DenyTable
    log: str
    log_clients: str
    metrics: tuple[targets.Network, ...]
    testfiles: str | None  # an absolute path
    programs: tuple[Program, ...]  # that this machine has to have

    @property
    def families(self) -> tuple[int, ...]:
        """Return the address families that are offered."""
        return _offered(self.capabilities)

    def lacking(self) -> list[str]:
        """Return a line for each program that this machine does not have, beginning with its path."""
        return [
            f"{path}: there is no program {name!r} on this machine; "
            f"{cures.how_to_get(name) or 'install it'}, or change this"
            for path, name in self.programs
            if not shutil.which(name, path=ENVIRONMENT["PATH"])
        ]


def load(path: StrPath) -> Configuration:
    """Read a configuration file; raises ConfigurationError."""
    mistakes: list[str] = []
    document = load_json(path, mistakes, or_pipe=True)
    name = shlex.quote(os.fspath(path))
    if mistakes:
        cure = "" if os.path.exists(path) else f"{cures.program()} init --config {name}"
        raise ConfigurationError((f"{path}: {mistake}" for mistake in mistakes), cure)
    if is_caps(document):
        cure = f"{cures.program()} migrate {name} --config {HERE}"
        raise ConfigurationError([f"{path}: this is a caps.json of intrace"], cure)
    return read(document, os.path.dirname(path))


def find_configuration(path: str | None) -> Configuration:
    """Load ``path``, else ``$TINYTRACER_CONFIG``, else ``./config.json``, else what this machine has.

    Raises ConfigurationError.
    """
    file = find_file(path)
    if file:
        return load(file)
    log.warning("There is no config.json here: offering what this machine has.")
    return default()


def find_file(path: str | None) -> str:
    """Return the configuration's file; "" when none is named and none is here."""
    here = HERE if os.path.exists(HERE) else ""
    return path or os.environ.get(VARIABLE) or here


def new_file(path: str | None) -> str:
    """Return the configuration's file, which need not be there."""
    return path or os.environ.get(VARIABLE) or HERE


def is_caps(document: object) -> bool:
    """Tell whether a document is a caps.json of intrace: commands by name, and nothing besides."""
    return (
        isinstance(document, dict)
        and bool(document)
        and not {key.name for key in TOP} & set(document)
        and all(isinstance(each, dict) and {"cmd4", "cmd6"} & set(each) for each in document.values())
    )


def default() -> Configuration:
    """Return the template's configuration, with those of its commands that this machine has.

    Raises ConfigurationError when it has none of them.
    """
    document = json.loads(resource("config.json.template", ROOT))
    offered = document["commands"]
    document["commands"] = {
        name: command
        for name, command in offered.items()
        if shutil.which(command["cmd4"][0], path=ENVIRONMENT["PATH"])
    }
    if not document["commands"]:
        programs = [command["cmd4"][0] for command in offered.values()]
        told = f"There is no config.json, and on this machine none of {', '.join(programs)}."
        raise ConfigurationError([told], cures.how_to_install(programs))
    return read(document, "")


def read(document: object, folder: StrPath) -> Configuration:
    """Check a configuration and return it; files that it names are relative to ``folder``.

    Raises ConfigurationError with every mistake at once.
    """
    place = Place("", [], folder, _families(document))
    given = members(TOP)(document, place)
    if given is None:
        raise ConfigurationError(place.errors)
    found, programs = build(ROUTER, given, place)
    capabilities = complete(CAPABILITIES, given.get("capabilities"))
    if not any(capabilities.values()):
        place.at("capabilities").error("expected ipv4 or ipv6 to be true")
    limits = _limits(present(given.get("limits")), place.at("limits"))
    if place.errors:
        raise ConfigurationError(place.errors)
    info = present(given.get("info"))
    denied = complete(TARGETS, given.get("targets"))["deny"]
    values = {
        **complete(TOP, given),
        **{name: value for name, value in complete(INFO, info).items() if name in {"title", "blurb"}},
        "info": info,
        "capabilities": capabilities,
        "theme": present(given.get("theme")),
        "routers": found,
        "programs": programs,
        "limits": limits,
        "results": _keeping(given.get("results")),
        "deny": targets.DenyTable.built_in() if denied is None else denied,
    }
    return Configuration(**{name: values[name] for name in Configuration._fields})


def _families(document: object) -> tuple[int, ...]:
    """Return the address families that a document offers; both, when it does not say it well."""
    given = document.get("capabilities") if isinstance(document, dict) else None
    capabilities = complete(CAPABILITIES, members(CAPABILITIES)(given, Place("", [])))
    return _offered(capabilities) or (4, 6)


def _offered(capabilities: Mapping[str, bool]) -> tuple[int, ...]:
    return tuple(family for family in (4, 6) if capabilities[f"ipv{family}"])


def _keeping(given: Any) -> Keeping | None:
    """Return how much of answers is kept, None for nothing."""
    if given is False:
        return None
    values = complete(RESULTS, given)
    return Keeping(values["keep"], values["entries"], values["mib"] << 20)


def _limits(given: dict[str, Any], place: Place) -> Limits:
    """Fill in the limits that follow from others."""
    values = complete(LIMITS, given)
    values["viewers"] = values["viewers"] or 4 * values["concurrent"]
    if "rate" in given and "burst" not in given:
        values["burst"] = values["rate"].runs
    if "runtime" not in given:
        values["runtime"] = min(values["runtime"], values["max_runtime"])
    runtime, ceiling = values["runtime"], values["max_runtime"]
    if runtime > ceiling:
        place.at("runtime").error(f"{runtime:g} s is more than max_runtime, {ceiling:g} s; lower it")
    return Limits(**values)
