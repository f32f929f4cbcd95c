"""Describe the configured commands in OpenAPI 3.1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from commands import EVENTS, JSON, TEXT, Command, Router
from lookingglass import targets
from lookingglass.configuration import Configuration
from lookingglass.facts import PARSERS
from lookingglass.facts.schemas import STRING, Table, object_of
from lookingglass.results import NAME
from rfc8522 import MEDIA_TYPE, PREFIX, path_of

LIST: Table = {"type": "array", "items": STRING}
SECONDS: Table = {"type": "number", "minimum": 0}
TIMES: dict[str, Table] = {"performed_at": {"type": "string", "format": "date-time"}, "runtime": SECONDS}
URI: Table = {"type": "string", "format": "uri"}

MEDIA = MEDIA_TYPE.pattern
# A target that matches may still be refused with 400; one that does not match always is.
ADDRESS = f"(?:{targets.IPV4.pattern}|{targets.IPV6.pattern})"
TARGETS = {
    "host": (f"{ADDRESS}|{targets.NAME.pattern}", "192.0.2.1"),
    "addr": (f"{ADDRESS}(?:/(?:{targets.LENGTH.pattern}))?", "192.0.2.0/24"),
    "address": (ADDRESS, "2001:db8::1"),
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
        {**SECONDS, "exclusiveMaximum": 1e15, "examples": [10]},
    ),
    "format": (
        "Media types of data.output, the best first, separated by commas. Default: text/plain.",
        {"type": "string", "pattern": f"^ *{MEDIA} *(?:, *{MEDIA} *)*$", "examples": [TEXT]},
    ),
    "random": ("Ignored; it keeps caches from answering.", STRING),
}
ROUTER_PARAMETERS = ("router", "routerindex", "random")

ERRORS = {
    400: "The request is malformed, or the target is not allowed.",
    404: "There is no such command, path or router number.",
    405: "Only GET, HEAD and OPTIONS are offered.",
    406: "This answer has no picture.",
    429: "A limit of this client or of this target network is reached.",
    500: "The looking glass has failed, or the output was too long and was cut.",
    502: "The router could not be reached, or has no such program.",
    503: "There is no room for more now, or the command was stopped.",
    504: "The time is up; data has the output so far. Plain text and events have begun with 200 then.",
}
ALLOW: Table = {"description": "The methods that are offered.", "required": True, "schema": STRING}
RETRY: Table = {"description": "Seconds.", "required": True, "schema": {"type": "integer", "minimum": 1}}
HEADERS: dict[int, Table] = {405: {"Allow": ALLOW}, 429: {"Retry-After": RETRY}, 503: {"Retry-After": RETRY}}


def _ref(name: str, kind: str = "schemas") -> Table:
    return {"$ref": f"#/components/{kind}/{name}"}


def _envelope(status: str, data: Table) -> Table:
    return object_of({"status": {"const": status}, "data": data}, "status data")


def _timed(fields: Mapping[str, Table], required: str) -> Table:
    """Wrap data with the members that RFC 8522 section 2.3.1 requires."""
    return _envelope("success", object_of({**TIMES, **fields}, f"performed_at runtime {required}"))


RUN: dict[str, Table] = {
    **TIMES,
    "router format command": STRING,
    "output": {"description": "A list of lines; with the format application/json, what that holds."},
    "target": {**STRING, "description": "In canonical form."},
    "address": {**STRING, "description": "What a name was resolved to."},
    "vrf": STRING,
    "truncated": {"type": "boolean"},
    "result": {**URI, "description": "Where this answer is kept for a while."},
}
LINES: Table = {"if": object_of({"format": {"const": JSON}}), "else": object_of({"output": LIST})}
ERROR = {"status": {"const": "error"}, "message": STRING, "code": {"type": "integer"}, "data": _ref("Run")}
LISTED = object_of(
    {"href": URI, "arguments description command": STRING}, "href arguments description command"
)
SCHEMAS: dict[str, Table] = {
    "Run": object_of(RUN, "performed_at runtime router output format command") | LINES,
    "Error": object_of(ERROR, "status message code"),
    "Index": _timed({"cmd routers": URI}, "cmd routers"),
    "Commands": _timed({"commands": {"type": "array", "items": LISTED}}, "commands"),
    "Routers": _timed({"routers": LIST}, "routers"),
    "Router": _timed({"id": {"type": "integer"}, "name format": STRING}, "id name format"),
    "Info": object_of({"title blurb asn": STRING}),
    "Capabilities": object_of({"ipv4 ipv6": {"type": "boolean"}}, "ipv4 ipv6"),
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
V1 = f"{PREFIX}/v1"
OF_RUNS = tuple(status for status in ERRORS if status != 406)
LIMITED = (405, 429, 500, 503)  # statuses of errors of what "limits.requests" counts
# What is not a command: path -> summary, parameters, media type and schema of 200, statuses of errors.
RESOURCES: dict[str, tuple[str, tuple[str, ...], str, str, tuple[int, ...]]] = {
    PREFIX: ("Where the lists are", (), JSON, "Index", LIMITED),
    f"{V1}/cmd": ("List the commands", ROUTER_PARAMETERS, JSON, "Commands", (400, *LIMITED)),
    f"{V1}/routers": ("List the routers", (), JSON, "Routers", LIMITED),
    f"{V1}/routers/{{number}}": ("Describe a router", ("number",), JSON, "Router", (400, 404, *LIMITED)),
    "/api/info": ("Title and blurb", (), JSON, "Info", LIMITED),
    "/api/capabilities": ("Address families", (), JSON, "Capabilities", LIMITED),
    "/healthz": ("Tell whether it is alive", (), TEXT, "Healthy", (405, 500, 503)),
}

# What is kept: path -> summary, parameters, schema of JSON, other media types.
KEPT: dict[str, tuple[str, tuple[str, ...], str, tuple[str, ...]]] = {
    "/results/{name}": ("Show a frozen answer", ("name",), "Result", (TEXT, "text/html", "image/svg+xml")),
    "/results/{name}/vs/{other}": (
        "Compare two frozen answers", ("name", "other"), "Comparison", (TEXT, "text/html"),
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
            path = f"{V1}/{path_of(command.name, target)}"
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
        operation = _operation(path, commands[0].description, wanted, _outcome(commands), OF_RUNS)
        yield path, operation | {"description": f"On {', '.join(router.name for router, _ in offered)}."}


def _kept() -> Iterator[tuple[str, Table]]:
    """Yield the paths of frozen answers."""
    for path, (summary, names, schema, others) in KEPT.items():
        parameters = [_ref(name, "parameters") for name in names]
        content = {JSON: {"schema": _ref(schema)}, **{media: {"schema": STRING} for media in others}}
        yield path, _operation(path, summary, parameters, content, (400, 404, 406, *LIMITED))


def _operation(
    path: str, summary: str, parameters: list[Table], content: Table, errors: tuple[int, ...]
) -> Table:
    responses = {str(status): _ref(f"Error{status}", "responses") for status in errors}
    return {
        "operationId": path.removeprefix(f"{V1}/"),
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
        "maxLength": targets.LONGEST,
        "pattern": f"^(?:{'|'.join(TARGETS[kind][0] for kind in kinds)})$",
        "examples": [TARGETS[kind][1] for kind in kinds],
    }
    wanted = f"Target: {'; '.join(targets.EXPECTED[kind] for kind in kinds)}."
    return [{"name": "target", "in": "path", "required": True, "description": wanted, "schema": schema}]


def _outcome(commands: Iterable[Command]) -> Table:
    """Describe the three representations of a run; facts only where all routers have the same parser."""
    data: Table = _ref("Run")
    parsers = {command.parser for command in commands}
    if len(parsers) == 1 and (parser := parsers.pop()):
        data = {"allOf": [data, _ref(f"{parser.capitalize()}Facts")]}
    envelopes = {"oneOf": [_envelope(status, data) for status in ("success", "fail")]}
    return {
        JSON: {"schema": envelopes},
        TEXT: {"schema": {**STRING, "description": "The output as it comes."}},
        EVENTS: {"schema": {**STRING, "description": "The events output, facts, and at the end result."}},
    }


def _error(status: int) -> Table:
    content = {JSON: {"schema": {"allOf": [_ref("Error"), object_of({"code": {"const": status}})]}}}
    headers = {"headers": HEADERS[status]} if status in HEADERS else {}
    return {"description": ERRORS[status], **headers, "content": content}


def _parameters(routers: Sequence[Router]) -> Table:
    """Return the parameters by name; there is no vrf where no router has any."""
    number = {"type": "integer", "minimum": 0, "maximum": len(routers) - 1}
    vrfs = sorted({vrf for router in routers for vrf in router.vrfs})
    schemas = {
        **{name: schema for name, (_, schema) in PARAMETERS.items()},
        "router": {**STRING, "enum": [router.name for router in routers]},
        "routerindex": number,
        "vrf": {**STRING, "enum": vrfs},
    }
    found: Table = {
        name: {"name": name, "in": "query", "description": text, "schema": schemas[name]}
        for name, (text, _) in PARAMETERS.items()
        if name != "vrf" or vrfs
    }
    kept = {"type": "string", "pattern": f"^{NAME}$"}
    paths = {"number": number, "name": kept, "other": kept}
    return found | {
        name: {"name": name, "in": "path", "required": True, "schema": schema}
        for name, schema in paths.items()
    }
