"""config.json in, a Configuration out, or every error at once, each with its path."""

# mypy: disable-error-code="func-returns-value"
# A reader refuses in one line, `return _refuse(…)`, which is None.

from __future__ import annotations

import contextlib
import ipaddress
import json
import math
import os
import re
import shlex
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from commands import JSON, PARTS, PLACEHOLDERS, TEXT, Command, Router, Template
from lookingglass import probing, targets
from lookingglass.children import ENVIRONMENT
from lookingglass.facts import PARSERS
from lookingglass.guard import Limits, Rate

# A template for one kind of target (targets.Target) wants the command to have this argument.
KINDS = {"prefix": "addr", "large": "community"}
TEMPLATE_KEYS = ("cmd", "cmd4", "cmd6", *(f"{kind}{family}" for kind in KINDS for family in (4, 6)))
SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
RESERVED = ("cmd", "routers")  # RFC 8522 sections 3.3.1 and 3.3.3
SHELLS = {"sh", "ash", "bash", "csh", "dash", "fish", "ksh", "mksh", "rbash", "script", "su", "tcsh", "zsh"}

WORD = r"[a-z0-9][a-z0-9._-]*"
COMMAND_NAME = re.compile(rf"{WORD}(?: {WORD})*", re.ASCII | re.IGNORECASE)
ROUTER_NAME = re.compile(r"[!-.0-~]{1,253}")
VIA = re.compile(r"(?:(?!\{\{)[^\0\r\n\ud800-\udfff])+")
VRF_NAME = re.compile(r"[A-Za-z0-9_.:][A-Za-z0-9_.:-]*")
DETAIL_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*")
RATE = re.compile(r"([1-9][0-9]{0,8})/(second|minute|hour|day)")
HOST = re.compile(r"https?://[^\s/?#@\"'<>]+(?:/[^\s?#\"'<>]*)?")
PLACEHOLDER = re.compile(r"\{\{([^{}]*)\}\}")
SCRIPT = re.compile(r"-[A-Za-z]*c|--command")  # what makes a shell read its next argument as a script
ENV_SPLIT = re.compile(r"-[A-Za-z]*S|--split-string")  # what makes env split a string
# What the original program's command strings end with, and what a Template does instead of a shell.
REDIRECTION = re.compile(r"\s+2>\s*(&1|/dev/null)\s*")
TAIL = re.compile(r"\s*\|\s*tail\s+-n\s*\+([0-9]{1,6})\s*")
SHELL_SYNTAX = re.compile(r"[0-9]*>|<<|&&|\|\||\$\(|[;&|<$`()*?\[~#{}\n]|\\\n")
QUOTED_SYNTAX = re.compile(r"[$`]|\\[$`\n]")  # what a shell still acts upon between double quotes
ASSIGNMENT = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*=)")

LOADER: Any = __spec__.loader  # reads files beside this module, in a folder and in a zip alike

Errors = list[str]
StrPath = str | os.PathLike[str]
Read = Callable[[Any, str, Errors], Any]


class ConfigurationError(Exception):
    """A configuration cannot be used; ``errors`` has a line for each mistake, beginning with its path."""

    def __init__(self, errors: Iterable[str]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(self.errors))


class Configuration(NamedTuple):
    """Hold a valid configuration."""

    title: str
    blurb: str  # the operator's own HTML
    info: Mapping[str, str]  # as configured
    host: str | None  # the public base URL, without a slash at its end
    showip: bool
    trustproxy: bool | tuple[targets.Network, ...]
    debug: bool
    capabilities: Mapping[str, bool]  # ipv4, ipv6
    routers: tuple[Router, ...]  # at least one
    limits: Limits
    deny: targets.DenyTable
    testfiles: str | None  # a folder
    log: str = "logfmt"
    log_clients: str = "network"

    def lacking(self) -> list[str]:
        """Return a line for each program that this machine does not have, beginning with its path."""
        return [
            f"{path}: there is no program {program!r} on this machine"
            for path, program in _programs(self.routers)
            if not shutil.which(program, path=ENVIRONMENT["PATH"])
        ]


def load(path: StrPath) -> Configuration:
    """Read a configuration file; raises ConfigurationError."""
    errors: Errors = []
    document = _load_json(path, errors)
    if errors:
        raise ConfigurationError(f"{path}: {error}" for error in errors)
    return read(document, os.path.dirname(path))


def default() -> Configuration:
    """Return the template's configuration, with those of its commands that this machine has.

    Raises ConfigurationError when it has none of them.
    """
    document = json.loads(resource("config.json.template"))
    commands = document["commands"]
    document["commands"] = {
        name: command
        for name, command in commands.items()
        if shutil.which(command["cmd4"][0], path=ENVIRONMENT["PATH"])
    }
    if not document["commands"]:
        programs = ", ".join(command["cmd4"][0] for command in commands.values())
        raise ConfigurationError([f"There is no config.json, and on this machine none of {programs}."])
    return read(document, "")


def resource(name: str) -> bytes:
    """Read a file that the program comes with, from a folder beside this module, also within a zip."""
    for folder in ("html", "../html"):
        path = os.path.normpath(
            os.path.join(os.path.dirname(__file__), folder, name)
        )  # as typed, for a zip is known by that
        with contextlib.suppress(OSError):
            data: bytes = LOADER.get_data(path)
            return data
    raise FileNotFoundError(name)


def read(document: object, folder: StrPath) -> Configuration:
    """Check a configuration and return it; files that it names are below ``folder``.

    Raises ConfigurationError with every mistake at once.
    """
    errors: Errors = []
    given = _object(_top_keys(folder))(document, "", errors) or {}
    routers = _routers(given, errors) if isinstance(document, dict) else ()
    if errors:
        raise ConfigurationError(errors)
    info = _present(given.get("info", {}))
    return Configuration(
        title=info.get("title", "Looking Glass"),
        blurb=info.get("blurb", ""),
        info=info,
        host=given.get("host"),
        showip=given.get("showip", True),
        trustproxy=given.get("trustproxy", False),
        debug=given.get("debug", False),
        capabilities=given.get("capabilities", {"ipv4": True, "ipv6": True}),
        routers=routers,
        limits=given.get("limits", Limits()),
        deny=given.get("targets", {}).get("deny") or targets.DenyTable.built_in(),
        testfiles=given.get("testfiles"),
    )


# --- the keys, and how each is read


def _top_keys(folder: StrPath) -> dict[str, Read]:
    commands = _commands_or_file(folder)
    return {
        "$schema": _text,
        "info": _object({"title": _text, "blurb": _text, "asn": _text}),
        "host": _host,
        "showip": _boolean,
        "trustproxy": _trustproxy,
        "debug": _boolean,
        "capabilities": _capabilities,
        "commands": _commands,
        "routers": _list(_object({**ROUTER_KEYS, "commands": commands}, others=_detail)),
        "limits": _limits,
        "targets": _object({"deny": _deny}),
        "testfiles": _folder_below(folder),
    }


def _object(keys: Mapping[str, Read], others: Read | None = None) -> Read:
    """Return a reader of an object; keys that are not in ``keys`` are read by ``others`` or refused."""

    def read_object(value: Any, path: str, errors: Errors) -> dict[str, Any] | None:
        if not isinstance(value, dict):
            return _refuse(errors, path, "expected an object", value)
        result = {}
        for key, where, inner in _items(value, path, errors):
            if key == "$comment":
                _text(inner, where, errors)
            elif key in keys or others:
                result[key] = (keys.get(key) or others)(inner, where, errors)  # type: ignore[misc]
            else:
                errors.append(f"{where}: there is no such key; there are {', '.join(keys)}")
        return result

    return read_object


def _items(value: dict[str, Any], path: str, errors: Errors) -> Iterator[tuple[str, str, Any]]:
    """Yield key, path and value of an object; note the keys that were given more than once."""
    repeated = getattr(value, "repeated", ())
    for key, inner in value.items():
        shown = key if key.isprintable() else ascii(key)
        where = f"{path}.{shown}" if path else shown
        if key in repeated:
            errors.append(f"{where}: this key is given more than once")
        yield key, where, inner


def _list(read_item: Read) -> Read:
    """Return a reader of a list that is not empty."""

    def read_list(value: Any, path: str, errors: Errors) -> list[Any] | None:
        if not isinstance(value, list) or not value:
            return _refuse(errors, path, "expected a list that is not empty", value)
        return [read_item(item, f"{path}[{number}]", errors) for number, item in enumerate(value)]

    return read_list


def _text(value: Any, path: str, errors: Errors) -> str | None:
    return value if _is_text(value) else _refuse(errors, path, "expected a string", value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)


def _boolean(value: Any, path: str, errors: Errors) -> bool | None:
    return value if isinstance(value, bool) else _refuse(errors, path, "expected true or false", value)


def _matching(pattern: re.Pattern[str], expected: str) -> Read:
    def read_text(value: Any, path: str, errors: Errors) -> str | None:
        is_fine = isinstance(value, str) and pattern.fullmatch(value)
        return value if is_fine else _refuse(errors, path, f"expected {expected}", value)

    return read_text


def _one_of(*choices: str) -> Read:
    return _matching(re.compile("|".join(choices)), f"one of {', '.join(choices)}")


def _number(low: float, high: float, unit: str, whole: bool = False) -> Read:
    kinds = (int,) if whole else (int, float)

    def read_number(value: Any, path: str, errors: Errors) -> Any:
        if isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high:
            return value
        what = "a whole number" if whole else "a number"
        return _refuse(errors, path, f"expected {what} of {unit} from {low} to {high}", value)

    return read_number


def _rate(value: Any, path: str, errors: Errors) -> Rate | None:
    match = RATE.fullmatch(value) if isinstance(value, str) else None
    if not match:
        return _refuse(errors, path, f"expected a rate such as 10/minute ({', '.join(SECONDS)})", value)
    return Rate(int(match[1]), SECONDS[match[2]])


def _limits(value: Any, path: str, errors: Errors) -> Limits | None:
    given = _object(LIMIT_KEYS)(value, path, errors)
    if given is None:
        return None
    if given.get("concurrent"):
        given.setdefault("viewers", 4 * given["concurrent"])
    if given.get("rate"):
        given.setdefault("burst", given["rate"].runs)
    if given.get("max_runtime"):
        given.setdefault("runtime", min(Limits().runtime, given["max_runtime"]))
    limits = Limits(**_present(given))
    if limits.runtime > limits.max_runtime:
        errors.append(
            f"{path}.runtime: {limits.runtime:g} s is more than max_runtime, {limits.max_runtime:g} s"
        )
    return limits


def _host(value: Any, path: str, errors: Errors) -> str | None:
    host = _matching(HOST, "an http or https URL without query")(value, path, errors)
    return host.rstrip("/") if host else None


def _networks(value: Any, path: str, errors: Errors) -> tuple[targets.Network, ...] | None:
    if not isinstance(value, list):
        return _refuse(errors, path, "expected a list of networks", value)
    networks = []
    for number, item in enumerate(value):
        try:
            if not isinstance(item, str) or "%" in item:
                raise ValueError("expected a string without a zone")
            networks.append(ipaddress.ip_network(item))
        except ValueError as error:
            errors.append(f"{path}[{number}]: expected a network such as 192.0.2.0/24: {error}")
    return tuple(networks)


def _deny(value: Any, path: str, errors: Errors) -> targets.DenyTable | None:
    networks = _networks(value, path, errors)
    return None if networks is None else targets.DenyTable(networks)


def _trustproxy(value: Any, path: str, errors: Errors) -> bool | tuple[targets.Network, ...] | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, list):
        return _networks(value, path, errors)
    return _refuse(errors, path, "expected false, true or a list of networks", value)


def _capabilities(value: Any, path: str, errors: Errors) -> dict[str, bool] | None:
    given = _object({"ipv4": _boolean, "ipv6": _boolean})(value, path, errors)
    if given is None:
        return None
    capabilities = {"ipv4": True, "ipv6": True, **given}
    if not any(capabilities.values()):
        errors.append(f"{path}: expected ipv4 or ipv6 to be true")
    return capabilities


def _folder_below(folder: StrPath) -> Read:
    def read_folder(value: Any, path: str, errors: Errors) -> str | None:
        if not isinstance(value, str) or "\0" in value or not os.path.isdir(os.path.join(folder, value)):
            return _refuse(errors, path, "expected a folder that exists", value)
        return os.path.realpath(os.path.join(folder, value))

    return read_folder


def _address(family: int) -> Read:
    def read_address(value: Any, path: str, errors: Errors) -> str | None:
        try:
            address = ipaddress.ip_address(value if isinstance(value, str) and "%" not in value else "")
        except ValueError:
            address = None
        if address is None or address.version != family:
            return _refuse(errors, path, f"expected an IPv{family} address", value)
        return str(address)

    return read_address


def _detail(value: Any, path: str, errors: Errors) -> Any:
    """Read what the operator adds to a router's details; what looks like a mistyped key is refused."""
    key = path.rpartition(".")[2]
    alike = [known for known in (*ROUTER_KEYS, "commands", "sources") if _bare(known) == _bare(key)]
    if not DETAIL_NAME.fullmatch(key):
        errors.append(f"{path}: expected a name of letters, digits and '_'")
        return None
    if alike or key in {"id", "format", "status", "url"}:
        reason = (
            "other looking glasses as routers are not supported yet" if key == "url" else "it is reserved"
        )
        errors.append(f"{path}: {f'did you mean {alike[0]}?' if alike else reason}")
        return None
    is_number = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    if _is_text(value) or is_number:  # true and false are numbers here
        return value
    return _refuse(errors, path, "expected a string, a number, true or false", value)


def _bare(key: str) -> str:
    return re.sub(r"[^a-z]", "", key.lower()).removesuffix("s")


# --- commands


def _commands_or_file(folder: StrPath) -> Read:
    def read_either(value: Any, path: str, errors: Errors) -> dict[str, Command] | None:
        if isinstance(value, str):
            found: Errors = []
            value = _load_json(os.path.join(folder, value), found)
            errors.extend(f"{path}: {error}" for error in found)
            if found:
                return None
        return _commands(value, path, errors)

    return read_either


def _commands(value: Any, path: str, errors: Errors) -> dict[str, Command] | None:
    if not isinstance(value, dict) or not set(value) - {"$comment"}:
        return _refuse(errors, path, "expected an object with a command at least", value)
    commands: dict[str, Command] = {}
    for key, where, inner in _items(value, path, errors):
        name = key.lower()
        if key == "$comment":
            _text(inner, where, errors)
            continue
        if not COMMAND_NAME.fullmatch(key):
            errors.append(
                f"{where}: expected a name of words of a-z, 0-9, '.', '_' and '-', one space between"
            )
        if name.split(" ")[0] in RESERVED:
            errors.append(f"{where}: the words {' and '.join(RESERVED)} are RFC 8522's own")
        if name in commands:
            errors.append(f"{where}: there is another command of this name")
        command = _command(name, inner, where, errors)
        if command:
            commands[name] = command
    return commands


def _command(name: str, value: Any, path: str, errors: Errors) -> Command | None:
    given = _object(COMMAND_KEYS)(value, path, errors)
    if given is None:
        return None
    if not {"cmd", "cmd4", "cmd6"} & set(given):
        errors.append(f"{path}: expected cmd, or cmd4, or cmd6")
    plain = {key: given[key] for key in TEMPLATE_KEYS if given.get(key)}
    templates = {TEXT: plain, **(given.get("formats") or {})}
    wanting = {where: template.wants("TARGET", *PARTS) for where, template in _each_template(path, templates)}
    argument = given.get("argument", "host" if any(wanting.values()) else "none")
    for where, wants in wanting.items() if argument else ():
        if wants != (argument != "none"):
            wrong = "has a {{TARGET}}" if wants else "has no {{TARGET}}"
            errors.append(f"{where}: it {wrong}, but the command's argument is {argument}")
    for where, template in _each_template(path, templates):
        if template.wants(*PARTS) and not where.endswith((".prefix4", ".prefix6")):
            errors.append(f"{where}: {{{{{'}}, {{'.join(PARTS)}}}}} are for prefix4 and prefix6 only")
    if len({template.wants("VRF") for _, template in _each_template(path, templates)}) > 1:
        errors.append(f"{path}: {{{{VRF}}}} has to be in all of its argvs, or in none")
    used = {key.rstrip("46") for inner in templates.values() for key in inner}
    for kind, wanted in KINDS.items():
        if kind in used and argument != wanted:
            errors.append(f"{path}: {kind}4 and {kind}6 need the argument {wanted}, not {argument}")
    description = given.get("description", name)
    parser = given.get("parser")
    probes = given.get("probes", probing.probes(argument or "none", parser, templates))
    return Command(name, description, argument, templates, parser, given.get("runtime"), probes)


def _each_template(
    path: str, templates: Mapping[str, Mapping[str, Template]]
) -> Iterator[tuple[str, Template]]:
    for media, inner in templates.items():
        for key, template in inner.items():
            yield f"{path}.{key}" if media == TEXT else f"{path}.formats.{media}.{key}", template


def _formats(value: Any, path: str, errors: Errors) -> dict[str, dict[str, Template]] | None:
    templates = _object(dict.fromkeys(TEMPLATE_KEYS, _template))
    given: dict[str, Any] | None = _object({}, others=templates)(value, path, errors)
    for media, where, inner in _items(given or {}, path, errors):
        if not MEDIA_TYPE.fullmatch(media) or media == TEXT:
            errors.append(f"{where}: expected a media type other than {TEXT}, such as {JSON}")
        if inner == {}:
            errors.append(f"{where}: expected one of {', '.join(TEMPLATE_KEYS)}")
    return {media: _present(inner) for media, inner in (given or {}).items() if inner}


def _present(given: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what was refused, and comments."""
    return {key: inner for key, inner in given.items() if inner is not None and key != "$comment"}


def _template(value: Any, path: str, errors: Errors) -> Template | None:
    """Read an argv, or a command string of the original program."""
    try:
        template = _translate(value) if isinstance(value, str) else Template(_argv(value))
        _check_program(template.argv)
    except ValueError as error:
        errors.append(f"{path}: {error}")
        return None
    unknown = [name for element in template.argv for name in PLACEHOLDER.findall(element)]
    for name in sorted(set(unknown) - set(PLACEHOLDERS)):
        errors.append(f"{path}: there is no {{{{{name}}}}}; there are {{{{{'}}, {{'.join(PLACEHOLDERS)}}}}}")
    return template


def _argv(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(map(_is_text, value)):
        raise ValueError("expected an argv, a list of strings that is not empty")
    if not value[0] or any("\0" in each for each in value):
        raise ValueError("expected a program, and no NUL in any element")
    return tuple(value)


def _check_program(argv: tuple[str, ...]) -> None:
    """Refuse a program that visitors could choose, and a shell that would read what they say."""
    if PLACEHOLDER.search(argv[0]):
        raise ValueError("the program itself cannot be a placeholder")
    end = len(argv)
    shell = next((number for number, each in enumerate(argv) if os.path.basename(each) in SHELLS), end)
    script = next((number for number in range(shell, end) if SCRIPT.match(argv[number])), end)
    env = next((number for number, each in enumerate(argv) if os.path.basename(each) == "env"), end)
    split = env if any(map(ENV_SPLIT.match, argv[env:])) else end
    if any(PLACEHOLDER.search(each) for each in argv[min(script, split) :]):
        raise ValueError("a shell would read what visitors say; give the argv itself")


def _translate(text: str) -> Template:
    """Split a command string without a shell; raises ValueError that names what needs one."""
    skip, stderr = 0, True
    if match := _at_end(TAIL, text):
        skip, text = max(0, int(match[1]) - 1), text[: match.start()]
    if match := _at_end(REDIRECTION, text):
        stderr, text = match[1] == "&1", text[: match.start()]
    needs = _shell_syntax(REDIRECTION.sub(" ", text)) or _shell_syntax(text)
    if needs:
        raise ValueError(f"{needs!r} needs a shell; give a list of arguments instead")
    try:
        argv = _argv(shlex.split(text))
    except ValueError as error:
        raise ValueError(f"cannot be split into arguments: {error}") from error
    return Template(argv, stderr, skip)


def _at_end(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return next((match for match in pattern.finditer(text) if match.end() == len(text)), None)


def _shell_syntax(text: str) -> str:
    """Return the first thing in a command string that a shell would act upon, else ""."""
    if assignment := ASSIGNMENT.match(text):
        return assignment[1]
    quote, position = "", 0
    text = PLACEHOLDER.sub(lambda match: "_" * len(match[0]), text)
    while position < len(text):
        character = text[position]
        pattern = {"": SHELL_SYNTAX, '"': QUOTED_SYNTAX}.get(quote)
        if pattern and (match := pattern.match(text, position)):
            return match[0]
        if quote == character:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        elif character == "\\" and quote != "'":
            position += 1
        position += 1
    return ""


# --- routers


def _routers(given: Mapping[str, Any], errors: Errors) -> tuple[Router, ...]:
    """Build the routers from what was read; without any, this machine is one."""
    if "routers" not in given:
        if "commands" not in given:
            errors.append("commands: expected commands, or routers")
        return (_router(0, {"name": socket.gethostname()}, given, "commands", errors),)
    routers = tuple(
        _router(number, each, given, f"routers[{number}]", errors)
        for number, each in enumerate(given["routers"] or ())
        if each is not None
    )
    names = [router.name.lower() for router in routers]
    for number, name in enumerate(names):
        if name and name in names[:number]:
            errors.append(f"routers[{number}].name: there is another router of this name")
    return routers


def _router(
    number: int, given: Mapping[str, Any], shared: Mapping[str, Any], path: str, errors: Errors
) -> Router:
    if "name" not in given:
        errors.append(f"{path}.name: expected a name")
    if path != "commands" and "commands" not in {**given, **shared}:
        errors.append(f"{path}.commands: expected commands, here or at the top")
    given = _present(given)
    router = Router(
        name=given.get("name", ""),
        number=number,
        commands=given.get("commands", shared.get("commands")) or {},
        via=tuple(given.get("via", ())),
        remote=given.get("remote", "shell"),
        sources={family: given[f"source{family}"] for family in (4, 6) if f"source{family}" in given},
        vrfs=tuple(given.get("vrfs", ())),
        details={key: value for key, value in given.items() if key not in NOT_DETAILS},
    )
    shared_commands = "commands" not in given
    _check_placeholders(router, "commands" if shared_commands else f"{path}.commands", errors)
    return router


def _via(value: Any, path: str, errors: Errors) -> list[str] | None:
    """Read the argv that leads to a router; the command is added to it as one string, for the far side."""
    read = _list(_matching(VIA, "an argument without NUL, line break and placeholder"))
    via: list[str] | None = read(value, path, errors)
    if via and via[0] and os.path.basename(via[0]) in SHELLS:
        errors.append(f"{path}: a shell of this machine cannot lead to a router; expected ssh or the like")
    return via


def _check_placeholders(router: Router, path: str, errors: Errors) -> None:
    for command in router.commands.values():
        for where, template in _each_template(command.name, command.templates):
            families = [family for family in (4, 6) if str(family) == where[-1]] or [4, 6]
            for family in families if template.wants("SOURCE") else []:
                if family not in router.sources:
                    needed = f"source{family} of the router {router.name}"
                    errors.append(f"{path}.{where}: {{{{SOURCE}}}} needs {needed}")
            if template.wants("VRF") and not router.vrfs:
                errors.append(f"{path}.{where}: {{{{VRF}}}} needs vrfs of the router {router.name}")


def _programs(routers: Iterable[Router]) -> Iterator[tuple[str, str]]:
    """Yield the programs that this machine has to have, with their paths."""
    for router in routers:
        if router.via:
            yield f"routers[{router.number}].via", router.via[0]
            continue
        for command in router.commands.values():
            for where, template in _each_template(f"commands.{command.name}", command.templates):
                yield f"{where} (router {router.name})", template.argv[0]


# --- JSON


class _Pairs(dict[str, Any]):
    """A JSON object that remembers the keys it was given more than once."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        keys = [key for key, _ in pairs]
        self.repeated = sorted({key for key in keys if keys.count(key) > 1}) if len(self) < len(keys) else []


def _load_json(path: StrPath, errors: Errors) -> Any:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        return json.loads(text, object_pairs_hook=_Pairs, parse_constant=_no_constant)
    except OSError as error:
        errors.append(f"cannot be read: {error.strerror}")
    except json.JSONDecodeError as error:
        errors.append(f"line {error.lineno} column {error.colno}: {error.msg}")
    except (ValueError, RecursionError) as error:
        errors.append(f"expected JSON in UTF-8: {error}")
    return None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def _refuse(errors: Errors, path: str, expected: str, value: Any) -> None:
    """Note what was expected and return None, what a reader returns for what it refuses."""
    kinds = {list: "a list", dict: "an object"}
    kind = next((kinds[each] for each in kinds if isinstance(value, each)), None)
    shown = (kind if value else f"{kind} that is empty") if kind else json.dumps(value, default=repr)
    errors.append(f"{path or 'the configuration'}: {expected}, not {shown[:60]}")


LIMIT_KEYS: dict[str, Read] = {
    "runtime": _number(0.1, 86400, "seconds"),
    "max_runtime": _number(0.1, 86400, "seconds"),
    "concurrent": _number(1, 10000, "processes", whole=True),
    "viewers": _number(1, 10000, "answers", whole=True),
    "per_client": _number(1, 10000, "answers", whole=True),
    "output_kib": _number(1, 1 << 20, "KiB", whole=True),
    "rate": _rate,
    "burst": _number(1, 1_000_000, "runs", whole=True),
    "target_rate": _rate,
}
COMMAND_KEYS: dict[str, Read] = {
    "description": _text,
    **dict.fromkeys(TEMPLATE_KEYS, _template),
    "argument": _one_of(*targets.ARGUMENTS, "none"),
    "parser": _one_of(*PARSERS),
    "runtime": _number(0.1, 86400, "seconds"),
    "probes": _boolean,
    "formats": _formats,
}
NOT_DETAILS = {"name", "commands", "via", "remote", "source4", "source6", "vrfs"}
ROUTER_KEYS: dict[str, Read] = {
    "name": _matching(ROUTER_NAME, "a name of up to 253 printable ASCII characters without space and slash"),
    "via": _via,
    "remote": _one_of("shell", "cli"),
    "source4": _address(4),
    "source6": _address(6),
    "vrfs": _list(_matching(VRF_NAME, "a name of letters, digits, '_', '.', ':' and '-'")),
    "country": _text,
    "city": _text,
    "autonomous_system": _number(1, (1 << 32) - 1, "an AS", whole=True),
}
