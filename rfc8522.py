"""RFC 8522, Looking Glass Command Set: query parameters in, status/data envelopes out; knows no WSGI."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self
from urllib.parse import quote

from commands import JSON, TEXT, Command, Router, Template

PREFIX = "/.well-known/looking-glass"
IP_VERSIONS = {1: 4, 2: 6}  # IANA address family number -> IP version
# Why a Run, or a viewer's part in it, has ended: by itself, after its time, with too much output, because
# its last viewer has left, or because this looking glass is stopping.
Reason = Literal["exit", "time", "full", "left", "closing"]

Envelope = dict[str, Any]

SOURCES = ("visitor", "target", "resolver", "router", "glass")  # who may be to blame, a failure_source
ASKED = "asked"  # the target of a command that sends packets to it, else the router
# Who is to blame for an outcome that is no success, by why the Run has ended.
BLAMED: dict[Reason, str] = {
    "exit": ASKED,  # it ran and failed
    "time": ASKED,
    "full": "glass",
    "left": "visitor",
    "closing": "glass",
}

# RFC 8522 section 2.2: AFI, optionally a comma and SAFI; IANA-AFN and IANA-SAFI are 16 and 8 bits wide.
PROTOCOL = re.compile(r"([0-9]{1,5})(?:,([0-9]{1,3}))?")
# RFC 8522 section 2.2: routerindex and runtime are JSON Numbers that cannot be negative.
ROUTERINDEX = re.compile(r"0|[1-9][0-9]{0,5}")
RUNTIME = re.compile(r"(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,20})?")
# RFC 6838 section 4.2: type and subtype are restricted-names.
RESTRICTED_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
MEDIA_TYPE = re.compile(f"{RESTRICTED_NAME}/{RESTRICTED_NAME}")
UNKNOWN = "There is no router of that name; see the list of routers."
EVERY_ROUTER = ("*",)  # router
MOST_ROUTERS = 64  # routers of one question


class Problem(Exception):
    """Tell a visitor why there is no answer: the root of all such errors, each an envelope of section 2.3.3.

    ``status`` is the HTTP status, ``retry_after`` whole seconds (None: asking again does not help),
    ``failure_source`` is one of SOURCES; ``headers`` go with it.
    """

    status: int = 500
    retry_after: int | None = None
    failure_source: str = "glass"
    headers: Mapping[str, str] = {}

    def again(self) -> Self:
        """Return the same to be raised by who keeps it: what was raised leads to all whom it has passed."""
        same = type(self).__new__(type(self), *self.args)
        same.__dict__.update(self.__dict__)
        return same


class ProtocolError(Problem):
    """A request is not as RFC 8522 has it."""

    failure_source = "visitor"

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class End(NamedTuple):
    """Tell how a Run ended, or how a viewer's time with it did."""

    reason: Reason
    status: int | None  # the exit status; None: not known
    runtime: float  # seconds
    performed_at: float  # seconds since the epoch


class Parameters(NamedTuple):
    """Hold the query parameters of RFC 8522 section 2.2, and one of ours; None: not given."""

    protocol: int | None = None  # IP version, 4 or 6
    router: str | None = None
    routerindex: int | None = None
    vrf: str | None = None
    runtime: float | None = None  # seconds; 0: as long as allowed
    format: tuple[str, ...] = ()  # media types, the best first
    # Extensions, which other servers ignore.
    routers: tuple[str, ...] = ()  # names of several, or EVERY_ROUTER
    view: bool = False  # for a page: events carry what it shows, and what exceeds a limit waits

    @classmethod
    def read(cls, pairs: Iterable[tuple[str, str]]) -> Parameters:
        """Read parameters in any case; unknown ones and ``random`` are ignored.

        Raises ProtocolError for a parameter that is malformed or repeated.
        """
        given: dict[str, Any] = {}
        for name, value in pairs:
            reader = PARAMETER_READERS.get(name.lower())
            if reader is None:
                continue
            if name.lower() in given:
                raise ProtocolError(f"The parameter {name.lower()} is given twice.")
            given[name.lower()] = reader(value)
        return cls(**given)


def choose(routers: Sequence[Router], parameters: Parameters) -> Router:
    """Return the router that parameters name by name, by index or not at all (then the first).

    Raises ProtocolError when there is no such router, or when name and index mean different ones.
    """
    chosen = routers[0]
    if parameters.routerindex is not None:
        if parameters.routerindex >= len(routers):
            raise ProtocolError(f"There is no such router; routerindex is 0 to {len(routers) - 1}.")
        chosen = routers[parameters.routerindex]
    if parameters.router is not None:
        named = router_of(routers, parameters.router)
        if named is None:
            raise ProtocolError(UNKNOWN)
        if parameters.routerindex is not None and named is not chosen:
            raise ProtocolError("The parameters router and routerindex mean different routers.")
        chosen = named
    return chosen


def choose_several(routers: Sequence[Router], parameters: Parameters) -> list[Router]:
    """Return the routers that the parameter ``routers`` names, in that order, each once.

    Raises ProtocolError when one of them is not there, when there are too many, or when router or routerindex
    is given as well.
    """

    def named(name: str) -> Router:
        router = router_of(routers, name)
        if router is None:
            raise ProtocolError(f"{UNKNOWN} Commas separate names, as in routers=a,b; * means all.")
        return router

    if parameters.router is not None or parameters.routerindex is not None:
        raise ProtocolError("The parameter routers goes without router and routerindex.")
    if parameters.routers == EVERY_ROUTER:
        return list(routers)
    if len(parameters.routers) > MOST_ROUTERS:
        raise ProtocolError(f"The parameter routers names at most {MOST_ROUTERS}.")
    return list({router.number: router for router in map(named, parameters.routers)}.values())


def router_of(routers: Sequence[Router], name: str) -> Router | None:
    """Return the router with this name, in any case of ASCII (section 2); None: there is none."""
    same = (router for router in routers if name.isascii() and router.name.lower() == name.lower())
    return next(same, None)


def choose_vrf(router: Router, command: Command, parameters: Parameters) -> str:
    """Return the vrf that parameters name, as configured; "" for none.

    Raises ProtocolError when there is none of that name, or where none is named and the command needs one: a
    table that was not asked for would not be an answer.
    """
    if parameters.vrf is None:
        if command.wants("VRF"):
            raise ProtocolError("This command needs the parameter vrf.")
        return ""
    if not command.wants("VRF"):
        raise ProtocolError("This command has no vrf.")
    for vrf in router.vrfs:
        if vrf.lower() == parameters.vrf.lower():
            return vrf
    raise ProtocolError("There is no such vrf on this router.")


class Vocabulary(NamedTuple):
    """Hold the names of all routers' commands, which are never read as targets."""

    names: frozenset[str]
    longest: int  # words

    @classmethod
    def of(cls, routers: Iterable[Router]) -> Vocabulary:
        """Collect the names of some routers' commands."""
        names = frozenset(name for router in routers for name in router.commands)
        return cls(names, max(name.count(" ") + 1 for name in names))

    def knows(self, path: str, router: Router) -> bool:
        """Tell whether a path below ``…/v1/`` begins with a command of a router."""
        try:
            self.split(path, router)
        except ProtocolError:
            return False
        return True

    def split(self, path: str, router: Router) -> tuple[Command, str]:
        """Split a path below ``…/v1/`` into the command with the longest name and the target's text.

        A slash at the end counts for nothing. Raises ProtocolError when the router has no such command.
        """
        segments = path.removesuffix("/").split("/", self.longest)
        for length in range(min(self.longest, len(segments)), 0, -1):
            name = " ".join(segments[:length]).lower()
            if name in router.commands:
                return router.commands[name], "/".join(segments[length:])
            if name in self.names:
                break
        if any("\udc80" <= each <= "\udcff" for each in path):  # bytes that are no UTF-8
            raise ProtocolError("The URL is not UTF-8.")
        raise ProtocolError("There is no such command on this router.", 404)


def path_of(name: str, target: str = "") -> str:
    """Return the path below ``…/v1/`` of a command and a target's text: what ``Vocabulary.split`` reads."""
    words = name.replace(" ", "/")
    return f"{words}/{target}" if target else words


def success(data: Mapping[str, Any], started: float) -> Envelope:
    """Wrap data that was begun at ``started`` (monotonic clock), with the members of section 2.3.1."""
    times = {"performed_at": utc(time.time()), "runtime": round(time.monotonic() - started, 6)}
    return {"status": "success", "data": {**data, **times}}


def error(status: int, message: str, source: str, data: Mapping[str, Any] | None = None) -> Envelope:
    """Wrap an error (section 2.3.3); ``code`` is the HTTP status, ``source`` who is to blame.

    Without ``data`` of a run nothing was run, in no time.
    """
    blamed = {**(data or {"performed_at": utc(time.time()), "runtime": 0.0}), "failure_source": source}
    return {"status": "error", "message": message, "code": status, "data": blamed}


def envelope_of(problem: Problem) -> Envelope:
    """Wrap what a visitor is told instead of an answer."""
    return error(problem.status, str(problem), problem.failure_source)


def together(answers: Sequence[tuple[int, Envelope]], started: float) -> tuple[int, Envelope]:
    """Return the HTTP status and the envelope of several routers' answers, begun at ``started``.

    It is an error when all of them are: the one with the highest status.
    """
    envelope = success({"answers": [each for _, each in answers]}, started)
    failed = [answer for answer in answers if answer[1]["status"] != "success"]
    if not failed:
        return 200, envelope
    status, worst = max(failed, key=lambda answer: answer[0])
    source = worst["data"]["failure_source"]
    if all(each["status"] == "error" for _, each in answers):
        return status, error(status, worst["message"], source, envelope["data"])
    return 200, {"status": "fail", "data": {**envelope["data"], "failure_source": source}}


def index(base: str) -> dict[str, Any]:
    """Return where the organizational commands are."""
    return {name: f"{base}{PREFIX}/v1/{name}" for name in ("cmd", "routers")}


def router_list(routers: Sequence[Router]) -> dict[str, Any]:
    """Return the data of section 3.3.1."""
    return {"routers": [router.name for router in routers]}


def router_details(router: Router) -> dict[str, Any]:
    """Return the data of section 3.3.2."""
    formats = dict.fromkeys(media for command in router.commands.values() for media in command.formats)
    return {"id": router.number, "name": router.name, "format": ",".join(formats), **router.details}


def command_list(routers: Sequence[Router], base: str, first: Router) -> dict[str, Any]:
    """Return the data of section 3.3.3 for the union of some routers' commands.

    Clients append a target to ``href``. Where they name no router they reach ``first``, so what that one
    lacks carries the name of a router that has it: behind the target, or in ``href`` when there is none.
    """
    commands: dict[str, tuple[Router, Command]] = {}
    for router in routers:
        for command in router.commands.values():
            commands.setdefault(command.name, (router, command))
    return {"commands": [_listed(*each, base, first) for each in commands.values()]}


def choose_format(command: Command, parameters: Parameters, family: int, kind: str) -> tuple[str, Template]:
    """Return the first format of the parameters that the command offers, and its template (section 2.2).

    ``kind`` is the target's, "" for none. Without any it is text/plain, which a parser can turn into JSON.
    """
    plain = command.template_of(TEXT, family, kind=kind)
    if plain is None:
        raise ProtocolError(f"{command.name} is not offered for IPv{family}.")
    for media in parameters.format:
        if template := command.template_of(media, family, kind=kind):
            return media, template
        if media == JSON and command.parser:
            return media, plain
    return TEXT, plain


class Subject(NamedTuple):
    """Say what a run was about, for the envelope of its outcome."""

    router: Router
    command: Command
    target: str | None  # canonical
    address: str | None  # what a name was resolved to
    vrf: str  # "" for none
    media: str  # of the output, as ``choose_format`` says
    output_kib: int  # the limit


def outcome(
    subject: Subject, text: str, end: End, facts: Mapping[str, Any], document: object
) -> tuple[int, Envelope]:
    """Return the HTTP status and the envelope of a run (section 2.3).

    ``document`` is the JSON in the text, None when there is none or when it is not wanted.
    """
    data = _run_data(subject, text, end, facts, document)
    source = BLAMED[end.reason]
    if source == ASKED:
        source = "target" if subject.command.probes and subject.target else "router"
    if end.reason == "time":
        message = f"The time is up after {end.runtime:.1f} s; the output is not complete."
        return 504, error(504, message, source, data)
    if end.reason == "full":
        message = f"The output is longer than {subject.output_kib} KiB and was cut."
        return 500, error(500, message, source, data)
    if end.reason != "exit":
        return 503, error(503, "The command was stopped.", source, data)
    if subject.router.succeeded(end.status, text):
        return 200, {"status": "success", "data": data}
    if failure := subject.router.failure(end.status):
        return 502, error(502, failure, "router")
    return 200, {"status": "fail", "data": {**data, "failure_source": source}}


def _run_data(
    subject: Subject, text: str, end: End, facts: Mapping[str, Any], document: object
) -> dict[str, Any]:
    media, output = subject.media, document
    if media != JSON or (document is None and not facts):
        media, output = (TEXT if media == JSON else media), lines(text)
    data = {
        "performed_at": utc(end.performed_at),
        "runtime": round(end.runtime, 3),
        "router": subject.router.name,
        "output": facts if output is None else output,
        "format": media,
        "command": subject.command.name,
        "target": subject.target,
        "address": subject.address,
        "vrf": subject.vrf or None,
        "truncated": True if end.reason == "full" else None,
    }
    return {**{name: value for name, value in data.items() if value is not None}, **facts}


def lines(text: str) -> list[str]:
    """Split output at its newlines; blank lines stay, an unfinished last line counts."""
    parts = text.split("\n")
    return parts if parts[-1] else parts[:-1]


def utc(seconds: float) -> str:
    """Return seconds since the epoch as ISO 8601 has them."""
    return _utc(int(seconds))


@functools.lru_cache(8)
def _utc(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))


def _listed(router: Router, command: Command, base: str, first: Router) -> dict[str, str]:
    has_target = command.argument != "none"
    elsewhere = "" if command.name in first.commands else f"?router={quote(router.name, safe='')}"
    return {
        "href": f"{base}{PREFIX}/v1/{path_of(command.name)}{'' if has_target else elsewhere}",
        "arguments": f"{{{command.argument}}}{elsewhere}" if has_target else "",
        "description": command.description,
        "command": command.name,
    }


def _read_protocol(value: str) -> int:
    match = PROTOCOL.fullmatch(value)
    if not match:
        raise ProtocolError("The parameter protocol is an AFI or AFI,SAFI: 1,1 for IPv4, 2,1 for IPv6.")
    family = IP_VERSIONS.get(int(match[1]))
    if family is None or int(match[2] or 1) != 1:
        raise ProtocolError("This protocol is not offered; protocol is 1 or 1,1 for IPv4, 2 or 2,1 for IPv6.")
    return family


def _read_routerindex(value: str) -> int:
    if not ROUTERINDEX.fullmatch(value):
        raise ProtocolError("The parameter routerindex is a number, counted from 0.")
    return int(value)


def _read_runtime(value: str) -> float:
    if not RUNTIME.fullmatch(value):
        raise ProtocolError("The parameter runtime is a number of seconds; 0 means as long as allowed.")
    return float(value)


def _read_format(value: str) -> tuple[str, ...]:
    media = tuple(part.strip(" ") for part in value.split(","))
    if not all(MEDIA_TYPE.fullmatch(part) for part in media):
        raise ProtocolError("The parameter format is a list of media types, separated by commas.")
    return tuple(part.lower() for part in media)


def _read_routers(value: str) -> tuple[str, ...]:
    return tuple(part.strip(" ") for part in value.split(","))


def _read_view(value: str) -> bool:
    if value not in {"0", "1"}:
        raise ProtocolError("The parameter view is 1 or 0.")
    return value == "1"


PARAMETER_READERS: dict[str, Callable[[str], Any]] = {
    "protocol": _read_protocol,
    "router": str,
    "routerindex": _read_routerindex,
    "vrf": str,
    "runtime": _read_runtime,
    "format": _read_format,
    "routers": _read_routers,
    "view": _read_view,
}
