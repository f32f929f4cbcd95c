"""Describe the configured commands in OpenAPI 3.1."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from commands import EVENTS, JSON, SVG, TEXT, Command, Router
from lookingglass import targets
from lookingglass.answers import HTML
from lookingglass.configuration import Configuration
from lookingglass.facts import PARSERS
from lookingglass.facts.schemas import STRING, Table, object_of
from lookingglass.results import RESULT_NAME
from rfc8522 import MEDIA_TYPE, MOST_ROUTERS, PREFIX, SOURCES, path_of

LIST: Table = {"type": "array", "items": STRING}
DURATION: Table = {"type": "number", "minimum": 0}
RUN_TIMES: dict[str, Table] = {"performed_at": {"type": "string", "format": "date-time"}, "runtime": DURATION}
URI: Table = {"type": "string", "format": "uri"}

MEDIA = MEDIA_TYPE.pattern
# A target that matches may still be refused with 400; one that does not match always is.
LITERAL = f"(?:{targets.IPV4.pattern}|{targets.IPV6.pattern})"
TARGET_PATTERNS = {
    "host": (f"{LITERAL}|{targets.HOST_NAME.pattern}", "192.0.2.1"),
    "addr": (f"{LITERAL}(?:/(?:{targets.LENGTH.pattern}))?", "192.0.2.0/24"),
    "address": (LITERAL, "2001:db8::1"),
    "asn": (targets.ASN.pattern, "AS64500"),
    "community": (f"{targets.COMMUNITY.pattern}|[A-Za-z][A-Za-z_-]+", "64500:100"),
}

# RFC 8522 section 2.2. The server takes names and values in any case, and ignores what it does not know.
PARAMETERS: dict[str, tuple[str, Table]] = {
    "protocol": (
        "AFI, or AFI,SAFI: 1,1 is IPv4 and 2,1 is IPv6. Default: the family of the target.",
        {"type": "string", "pattern": "^0{0,4}[12](?:,0{0,2}1)?$", "examples": ["1,1", "2,1"]},
    ),
    "router": ("The router's name. Default: the first router.", STRING),
    "routerindex": ("The router's number, counted from 0.", STRING),
    "vrf": ("A VRF of the router, which is needed where it is offered.", STRING),
    "runtime": (
        "Seconds after which the command is stopped; 0 means as long as allowed.",
        {**DURATION, "exclusiveMaximum": 1e15, "examples": [10]},
    ),
    "format": (
        "Media types of data.output, the best first, separated by commas. Default: text/plain.",
        {"type": "string", "pattern": f"^ *{MEDIA} *(?:, *{MEDIA} *)*$", "examples": [TEXT]},
    ),
    "random": ("Ignored; it keeps caches from answering.", STRING),
    "routers": (
        "Instead of router: names of several, separated by commas, or * for all that have the command."
        f" At most {MOST_ROUTERS}. The answer is one of all their answers; what exceeds a limit waits.",
        STRING,
    ),
    "view": (
        "1: for a page. Events carry views as well, what the page shows; what exceeds a limit waits, and the"
        " event waiting tells its place, why it waits, and the seconds to its turn where they are known.",
        {"type": "integer", "enum": [0, 1]},
    ),
}
ROUTER_PARAMETERS = ("router", "routerindex", "random")

ERRORS = {
    400: "The request is malformed, or the target is not allowed.",
    404: "There is no such command, path or router number.",
    406: "There is no picture of this command, or of this answer.",
    405: "Only GET, HEAD and OPTIONS are offered.",
    429: "A limit of this client or of this target network is reached.",
    500: "The looking glass has failed, or the output was too long and was cut.",
    502: "The router could not be reached, or has no such program.",
    503: "There is no room for more now, or the command was stopped.",
    504: "The time is up; data has the output so far. Plain text and events have begun with 200 then.",
}
ALLOWED: Table = {"description": "The methods that are offered.", "required": True, "schema": STRING}
WAIT: Table = {
    "description": "Seconds.",
    "required": True,
    "schema": {"type": "integer", "minimum": 1},
}
ERROR_HEADERS: dict[int, Table] = {
    405: {"Allow": ALLOWED},
    429: {"Retry-After": WAIT},
    503: {"Retry-After": WAIT},
}


def _ref(name: str, kind: str = "schemas") -> Table:
    return {"$ref": f"#/components/{kind}/{name}"}


def _envelope(status: str, data: Table) -> Table:
    return object_of({"status": {"const": status}, "data": data}, "status data")


def _timed(fields: Mapping[str, Table], required: str) -> Table:
    """Wrap data with the members that RFC 8522 section 2.3.1 requires."""
    return _envelope("success", object_of({**RUN_TIMES, **fields}, f"performed_at runtime {required}"))


RUN: dict[str, Table] = {
    **RUN_TIMES,
    "router format command": STRING,
    "output": {"description": "A list of lines; with the format application/json, what that holds."},
    "target": {**STRING, "description": "In canonical form."},
    "address": {**STRING, "description": "What a name was resolved to."},
    "vrf": STRING,
    "truncated": {"type": "boolean"},
    "result": {**URI, "description": "Where this answer is kept for a while."},
}
LINES: Table = {"if": object_of({"format": {"const": JSON}}), "else": object_of({"output": LIST})}
FAILURE: dict[str, Table] = {
    "status": {"const": "error"},
    "message": STRING,
    "code": {"type": "integer"},
}
SOURCE: Table = {"description": "Who is to blame.", "enum": [*SOURCES]}
WITH_OUTPUT: Table = {
    "allOf": [
        {"if": {"required": ["output"]}, "then": _ref("Run")},
        {"if": {"required": ["answers"]}, "then": _ref("Answers")},
    ]
}
FAILED: Table = {"allOf": [_ref("Run"), _ref("Failure")]}
# Of several routers: the answer of one, and that of all.
NAMED: Table = {
    "allOf": [
        object_of({"router": STRING}, "router"),
        {"oneOf": [_envelope("success", _ref("Run")), _envelope("fail", FAILED), _ref("Error")]},
    ]
}
LISTED = object_of(
    {"href": URI, "arguments description command": STRING}, "href arguments description command"
)
SCHEMAS: dict[str, Table] = {
    "Run": object_of(RUN, "performed_at runtime router output format command") | LINES,
    "Failure": object_of({**RUN_TIMES, "failure_source": SOURCE}, "performed_at runtime failure_source"),
    "Error": object_of({**FAILURE, "data": _ref("Failure") | WITH_OUTPUT}, "status message code data"),
    "Answers": object_of(
        {**RUN_TIMES, "answers": {"type": "array", "minItems": 1, "items": NAMED}},
        "performed_at runtime answers",
    ),
    "Index": _timed({"cmd routers": URI}, "cmd routers"),
    "Commands": _timed({"commands": {"type": "array", "items": LISTED}}, "commands"),
    "Routers": _timed({"routers": LIST}, "routers"),
    "Router": _timed({"id": {"type": "integer"}, "name format": STRING}, "id name format"),
    "Info": object_of({"title blurb asn": STRING}),
    "Capabilities": object_of({"ipv4 ipv6": {"type": "boolean"}}, "ipv4 ipv6"),
    "Address": object_of({"ip": STRING}, "ip"),
    "Healthy": {"const": "ok"},
    "Result": {
        "description": "The envelope of the run, as it was.",
        **object_of({"status": {"enum": ["success", "fail", "error"]}, "data": _ref("Run")}, "status data"),
    },
    "Comparison": _envelope(
        "success",
        object_of(
            {
                "a b": object_of({"result": URI, "performed_at router command target": STRING}),
                "kind sentence": STRING,
                "same": {"type": "boolean"},
                "rows": {
                    "type": "array",
                    "items": object_of(
                        {"label change": STRING, "matters": {"type": "boolean"}, "a b": {}},
                        "a b change matters",
                    ),
                },
            },
            "a b kind sentence same rows",
        ),
    ),
}
API = f"{PREFIX}/v1"
LIMITED = (405, 429, 500, 503)  # statuses of errors of what "limits.requests" counts
# What is not a command: path -> summary, parameters, media type and schema of 200, statuses of errors.
RESOURCES: dict[str, tuple[str, tuple[str, ...], str, str, tuple[int, ...]]] = {
    PREFIX: ("Where the lists are", (), JSON, "Index", LIMITED),
    f"{API}/cmd": ("List the commands", ROUTER_PARAMETERS, JSON, "Commands", (400, *LIMITED)),
    f"{API}/routers": ("List the routers", (), JSON, "Routers", LIMITED),
    f"{API}/routers/{{number}}": ("Describe a router", ("number",), JSON, "Router", (400, 404, *LIMITED)),
    "/api/info": ("Title and blurb", (), JSON, "Info", LIMITED),
    "/api/capabilities": ("Address families", (), JSON, "Capabilities", LIMITED),
    "/api/ip": ("Tell the address of who asks", (), JSON, "Address", (404, *LIMITED)),
    "/healthz": ("Tell whether it is alive", (), TEXT, "Healthy", (405, 500, 503)),
}

# What is kept: path -> summary, parameters, schema of JSON, other media types.
KEPT_PATHS: dict[str, tuple[str, tuple[str, ...], str, tuple[str, ...]]] = {
    "/results/{name}": ("Show a frozen answer", ("name",), "Result", (TEXT, HTML, SVG)),
    "/results/{name}/vs/{other}": (
        "Compare two frozen answers", ("name", "other"), "Comparison", (TEXT, HTML),
    ),
}  # fmt: skip


def document(configuration: Configuration, base: str, version: str) -> dict[str, Any]:
    """Return the description; ``base`` is the URL under which visitors see the application."""
    routers = configuration.routers
    return {
        "openapi": "3.1.0",
        "info": {"title": configuration.title, "version": version},
        "servers": [{"url": base}],
        "paths": {
            path: {"get": operation}
            for path, operation in (*_operations(routers), *(_kept() if configuration.results else ()))
        },
        "components": {
            "schemas": SCHEMAS
            | {f"{name.capitalize()}Facts": parser.schema for name, parser in PARSERS.items()},
            "responses": {f"Error{status}": _error(status) for status in ERRORS},
            "parameters": _parameters(routers),
        },
    }


def _operations(routers: Sequence[Router]) -> Iterator[tuple[str, Table]]:
    """Yield a path for each command of any router; two where it has a target on some of them only."""
    for path, (summary, names, media, schema, errors) in RESOURCES.items():
        parameters = [_ref(name, "parameters") for name in names]
        yield path, _operation(path, summary, parameters, {media: {"schema": _ref(schema)}}, errors)
    offers: dict[str, list[tuple[Router, Command]]] = {}
    for router in routers:
        for command in router.commands.values():
            target = "" if command.argument == "none" else "{target}"
            path = f"{API}/{path_of(command.name, target)}"
            offers.setdefault(path, []).append((router, command))
    for path, offered in offers.items():
        commands = [command for _, command in offered]
        vrf = any(command.wants("VRF") for command in commands)
        query = [
            name
            for name, each in _parameters(routers).items()
            if each["in"] == "query" and (vrf or name != "vrf")
        ]
        wanted = [*_target(commands), *(_ref(name, "parameters") for name in query)]
        operation = _operation(path, commands[0].description, wanted, _outcome(commands), tuple(ERRORS))
        yield path, operation | {"description": f"On {', '.join(router.name for router, _ in offered)}."}


def _kept() -> Iterator[tuple[str, Table]]:
    """Yield the paths of frozen answers."""
    for path, (summary, names, schema, others) in KEPT_PATHS.items():
        parameters = [_ref(name, "parameters") for name in names]
        content = {JSON: {"schema": _ref(schema)}, **{media: {"schema": STRING} for media in others}}
        yield path, _operation(path, summary, parameters, content, (400, 404, 406, *LIMITED))


def _operation(
    path: str, summary: str, parameters: list[Table], content: Table, errors: tuple[int, ...]
) -> Table:
    responses = {str(status): _ref(f"Error{status}", "responses") for status in errors}
    return {
        "operationId": path.removeprefix(f"{API}/"),
        "summary": summary,
        "parameters": parameters,
        "responses": {"200": {"description": "Here it is.", "content": content}, **responses},
    }


def _target(commands: Iterable[Command]) -> list[Table]:
    """Describe what one command takes that may want different kinds of targets on several routers."""
    kinds = dict.fromkeys(command.argument for command in commands)
    if "none" in kinds:
        return []
    schema = {
        "type": "string",
        "maxLength": targets.LONGEST_TARGET,
        "pattern": f"^(?:{'|'.join(TARGET_PATTERNS[kind][0] for kind in kinds)})$",
        "examples": [TARGET_PATTERNS[kind][1] for kind in kinds],
    }
    wanted = f"Target: {'; '.join(targets.EXPECTED[kind] for kind in kinds)}."
    return [{"name": "target", "in": "path", "required": True, "description": wanted, "schema": schema}]


def _outcome(commands: Iterable[Command]) -> Table:
    """Describe the representations of a run; facts only where all routers have the same parser."""
    data: Table = _ref("Run")
    parsers = {command.parser for command in commands}
    if len(parsers) == 1 and (parser := next(iter(parsers))):
        data = {"allOf": [data, _ref(f"{parser.capitalize()}Facts")]}
    pictured = any(each and PARSERS[each].has_picture for each in parsers)
    picture: Table = {SVG: {"schema": {**STRING, "description": "The picture of it."}}} if pictured else {}
    failed = {"allOf": [data, _ref("Failure")]}
    several = _ref("Answers")
    some_failed = {"allOf": [several, _ref("Failure")]}
    envelopes = {
        "oneOf": [
            *(_envelope("success", each) for each in (data, several)),
            *(_envelope("fail", each) for each in (failed, some_failed)),
        ]
    }
    return {
        JSON: {"schema": envelopes},
        TEXT: {"schema": {**STRING, "description": "The output as it comes."}},
        **picture,
        EVENTS: {
            "schema": {
                **STRING,
                "description": "The events waiting, output, facts, view, and at the end result. Of several"
                " routers each has the member router, and a last result has all their answers.",
            }
        },
    }


def _error(status: int) -> Table:
    content = {JSON: {"schema": {"allOf": [_ref("Error"), object_of({"code": {"const": status}})]}}}
    headers = {"headers": ERROR_HEADERS[status]} if status in ERROR_HEADERS else {}
    return {"description": ERRORS[status], **headers, "content": content}


def _parameters(routers: Sequence[Router]) -> Table:
    """Return the parameters by name; there is no vrf where no router has any."""
    number = {"type": "integer", "minimum": 0, "maximum": len(routers) - 1}
    names = f"(?:{'|'.join(re.escape(router.name) for router in routers)})"
    vrfs = sorted({vrf for router in routers for vrf in router.vrfs})
    schemas = {
        **{name: schema for name, (_, schema) in PARAMETERS.items()},
        "router": {**STRING, "enum": [router.name for router in routers]},
        "routerindex": number,
        "vrf": {**STRING, "enum": vrfs},
        "routers": {**STRING, "pattern": rf"^(?:\*|{names}(?:,{names}){{0,{MOST_ROUTERS - 1}}})$"},
    }
    found: Table = {
        name: {"name": name, "in": "query", "description": text, "schema": schemas[name]}
        for name, (text, _) in PARAMETERS.items()
        if name != "vrf" or vrfs
    }
    kept = {"type": "string", "pattern": f"^{RESULT_NAME}$"}
    paths = {"number": number, "name": kept, "other": kept}
    return found | {
        name: {"name": name, "in": "path", "required": True, "schema": schema}
        for name, schema in paths.items()
    }
