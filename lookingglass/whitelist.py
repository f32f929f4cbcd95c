"""What the configuration says of commands and routers in; Commands and Routers out."""

from __future__ import annotations

import math
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from commands import JSON, PARTS, TEXT, Command, Router, Template
from lookingglass import probing, resources
from lookingglass.documents import load_json, parse_json
from lookingglass.reading import (
    COMMENT,
    Key,
    Place,
    Read,
    complete,
    is_text,
    items,
    list_of,
    matching,
    meant,
    members,
    present,
)
from lookingglass.templates import SHELLS, SLOTS, Slot

RESERVED = ("cmd", "routers")  # RFC 8522 sections 3.3.1 and 3.3.3
ANY_KIND = [name for name, slot in SLOTS.items() if not slot.kind]  # a command has one of these templates
SLOT_ARGUMENTS = {"prefix": "addr", "large": "community"}  # that go with a slot for one kind of target only
RESERVED_DETAILS = {
    **dict.fromkeys(("id", "format", "status"), "RFC 8522 uses this name for something else; choose another"),
    "url": "other looking glasses as routers are not supported yet",
}
NOT_DETAILS = {"name", "commands", "via", "remote", "source4", "source6", "vrfs"}

COMMAND_WORD = r"[a-z0-9][a-z0-9._-]*"
COMMAND_NAME = re.compile(rf"{COMMAND_WORD}(?: {COMMAND_WORD})*", re.ASCII | re.IGNORECASE)
OFFERED_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*")
DETAIL_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

router_name = matching(
    re.compile(r"[!-.0-~]{1,253}"),
    "a name of up to 253 printable ASCII characters without space and slash",
)
vrf_name = matching(
    re.compile(r"[A-Za-z0-9_.:][A-Za-z0-9_.:-]*"), "a name of letters, digits, '_', '.', ':' and '-'"
)
_via_argument = matching(
    re.compile(r"(?:(?!\{\{)[^\0\r\n\ud800-\udfff])+"),
    "an argument without NUL, line break and double braces",
)

Templates = dict[str, dict[str, Template]]  # media type -> name of a slot -> Template


class Written(NamedTuple):
    """Hold a command, and where it is written."""

    command: Command
    place: Place


class Program(NamedTuple):
    """Name a program that this machine has to have, and where it is written."""

    path: str
    name: str


# --- commands


def commands(keys: Sequence[Key]) -> Read:
    """Return a reader of commands with these keys: an object, or the name of a set or a file of them."""
    read_command = members(keys)

    def read_commands(value: Any, place: Place) -> Any:
        if isinstance(value, str):
            mistakes: list[str] = []
            value = _named(value, place, mistakes)
            for mistake in mistakes:
                place.error(mistake)
            if mistakes:
                return None
        if not isinstance(value, dict) or not set(value) - {COMMENT}:
            return place.refuse(
                "expected an object with at least one command, or the name of a command set or a file", value
            )
        before = len(place.errors)
        names: set[str] = set()
        found: dict[str, Written] = {}
        for key, at, inner in items(value, place):
            name = key.lower()
            _check_name(key, name in names, at)
            names.add(name)
            given = read_command(inner, at)
            command = None if given is None else _command(name, given, at)
            if command:
                found[name] = Written(command, at)
        if not found and len(place.errors) == before:
            place.error(f"no command has a template for {_families(place)}; add one, or change capabilities")
        return found

    return read_commands


def formats(keys: Sequence[Key]) -> Read:
    """Return a reader of templates, which ``keys`` describe, by media type."""

    def read_format(media: str, value: Any, place: Place) -> Any:
        if not OFFERED_TYPE.fullmatch(media) or media == TEXT:
            place.error(f"expected a media type other than {TEXT}, such as {JSON}")
        if value == {}:
            place.error(f"expected one of {', '.join(key.name for key in keys)}")
        return members(keys)(value, place)

    return members((), others=read_format)


def _named(name: str, place: Place, mistakes: list[str]) -> Any:
    """Return the document that a command set or a file beside the configuration holds."""
    if name in resources.SETS:
        return parse_json(resources.command_set(name), mistakes)
    if name and "." not in name and "/" not in name and not os.path.exists(os.path.join(place.folder, name)):
        likely = meant(name.lower(), resources.SETS)
        told = f"did you mean {likely}? There" if likely else "there"
        mistakes.append(
            f"there is no such file, and no command set of this name; {told} are {', '.join(resources.SETS)}"
        )
        return None
    within: list[str] = []
    document = load_json(os.path.join(place.folder, name), within)
    mistakes.extend(f"{name}: {each}" for each in within)
    return document


def _check_name(key: str, is_known: bool, place: Place) -> None:
    if not COMMAND_NAME.fullmatch(key):
        place.error("expected a name of words of a-z, 0-9, '.', '_' and '-', with one space between words")
    if key.lower().split(" ")[0] in RESERVED:
        place.error(f"the words {' and '.join(RESERVED)} are RFC 8522's own; choose another first word")
    if is_known:
        place.error("there is another command of this name; upper and lower case are the same")


def _command(name: str, given: Mapping[str, Any], place: Place) -> Command | None:
    """Build a command; None: it has a mistake, or no template for a family that is offered."""
    if not set(ANY_KIND) & set(given):
        place.error(f"expected a template: {', '.join(ANY_KIND[:-1])} or {ANY_KIND[-1]}")
    by_media = {TEXT: given, **present(given.get("formats"))}
    templates: Templates = {
        media: {slot: inner[slot] for slot in SLOTS if inner.get(slot)} for media, inner in by_media.items()
    }
    if not set(ANY_KIND) & set(templates[TEXT]):
        return None
    templates = {media: inner for media, inner in templates.items() if inner}
    argument = given.get("argument", _likely_argument(templates))
    _check_templates(argument, templates, place)
    parser = given.get("parser")
    probes = given.get("probes", probing.probes(name, argument or "none", parser, templates))
    description = given.get("description", name)
    runtime, weight, reuse = given.get("runtime"), given.get("weight", 1), given.get("reuse", 0)
    return Command(name, description, argument, templates, parser, runtime, probes, weight, reuse)


def _likely_argument(templates: Templates) -> str:
    wants = [inner.wants("TARGET", *PARTS) for each in templates.values() for inner in each.values()]
    return "host" if any(wants) else "none"


def _check_templates(argument: str | None, templates: Templates, place: Place) -> None:
    """Hold a command's templates against its argument, which is None when it was refused."""
    for at, slot, template in _each(templates, place):
        wants = template.wants("TARGET", *PARTS)
        if argument and wants != (argument != "none"):
            wrong = "has a {{TARGET}}" if wants else "has no {{TARGET}}"
            at.error(f"it {wrong}, but the command's argument is {argument}; change one of the two")
        if template.wants(*PARTS) and slot.kind != "prefix":
            at.error(f"{{{{{'}}, {{'.join(PARTS)}}}}} are for prefix4 and prefix6 only; use {{{{TARGET}}}}")
    if len({template.wants("VRF") for _, _, template in _each(templates, place)}) > 1:
        place.error("{{VRF}} has to be in all of its argvs, or in none of them")
    for kind in dict.fromkeys(slot.kind for _, slot, _ in _each(templates, place) if slot.kind):
        wanted = SLOT_ARGUMENTS[kind]
        if argument and argument != wanted:
            place.error(
                f"{kind}4 and {kind}6 need the argument {wanted}, not {argument}; change one of the two"
            )


def _each(
    templates: Mapping[str, Mapping[str, Template]], place: Place
) -> Iterator[tuple[Place, Slot, Template]]:
    """Yield each template of a command with its place and its slot."""
    for media, inner in templates.items():
        at = place if media == TEXT else place.at("formats").at(media)
        for name, template in inner.items():
            yield at.at(name), SLOTS[name], template


def _families(place: Place) -> str:
    return " or ".join(f"IPv{family}" for family in place.families)


# --- routers


def routers(keys: Sequence[Key]) -> Read:
    """Return a reader of a list of routers with these keys, and with details of the operator's own."""
    known = [key.name for key in keys]

    def read_detail(name: str, value: Any, place: Place) -> Any:
        alike = next((key for key in (*known, "sources") if _bare(key) == _bare(name)), None)
        if not DETAIL_NAME.fullmatch(name):
            place.error("expected a name of letters, digits and '_' that begins with a letter")
        elif alike or name in RESERVED_DETAILS:
            place.error(f"did you mean {alike}?" if alike else RESERVED_DETAILS[name])
        elif not _is_detail(value):
            place.refuse("expected a string, a number, true or false", value)
        else:
            return value
        return None

    return list_of(members(keys, others=read_detail))


def via(value: Any, place: Place) -> Any:
    """Read the argv that leads to a router; the command is added to it as one string, for the far side."""
    argv = list_of(_via_argument)(value, place)
    if argv and argv[0] and os.path.basename(argv[0]) in SHELLS:
        place.error("a shell of this machine cannot lead to a router; give ssh or the like itself")
    return argv


def build(
    keys: Sequence[Key], given: Mapping[str, Any], place: Place
) -> tuple[tuple[Router, ...], tuple[Program, ...]]:
    """Return the routers of a whole document, and the programs that this machine has to have for them.

    ``keys`` describe a router. Without ``routers`` this machine is the only one.
    """
    is_listed = "routers" in given
    if not is_listed and "commands" not in given:
        place.at("commands").error("this key is missing; expected commands, or routers")
    found: list[Router] = []
    programs: dict[Program, None] = {}
    for number, each in enumerate((given if is_listed else _this_machine())["routers"] or ()):
        if each is None:
            continue
        at = place.at("routers").item(number)
        if is_listed and "commands" not in {**each, **given}:
            at.at("commands").error("this key is missing; expected commands, here or at the top")
        written = each.get("commands", given.get("commands")) or {}
        router = _router(number, complete(keys, each), present(each), written)
        if router.name.lower() in {other.name.lower() for other in found if other.name}:
            at.at("name").error("there is another router of this name; upper and lower case are the same")
        found.append(router)
        for one in written.values():
            _check_needs(one, set(each), at if is_listed else None)
        programs.update(dict.fromkeys(_programs(router, written, at)))
    return tuple(found), tuple(programs)


def _this_machine() -> dict[str, Any]:
    return {"routers": [{"name": socket.gethostname()}]}


def _router(
    number: int, values: Mapping[str, Any], given: Mapping[str, Any], written: Mapping[str, Written]
) -> Router:
    return Router(
        name=values["name"] or "",
        number=number,
        commands={name: one.command for name, one in written.items()},
        via=tuple(values["via"] or ()),
        remote=values["remote"],
        sources={family: given[f"source{family}"] for family in (4, 6) if f"source{family}" in given},
        vrfs=tuple(values["vrfs"] or ()),
        details={key: value for key, value in given.items() if key not in NOT_DETAILS},
    )


def _check_needs(written: Written, given: set[str], router: Place | None) -> None:
    """Note which placeholders of a command have no value: a router's keys are ``given``.

    None is this machine where it is not listed as a router.
    """
    for at, slot, template in _each(written.command.templates, written.place):
        offered = [family for family in slot.families if family in at.families]
        needs = [("SOURCE", f"source{family}") for family in offered]
        for placeholder, key in (*needs, ("VRF", "vrfs")):
            if template.wants(placeholder) and key not in given:
                cure = f"add {router.at(key).path}" if router else f"list this machine in routers, with {key}"
                at.error(f"{{{{{placeholder}}}}} has no value; {cure}, or leave it out")


def _programs(router: Router, written: Mapping[str, Written], place: Place) -> Iterator[Program]:
    if router.via:
        yield Program(place.at("via").path, router.via[0])
        return
    for one in written.values():
        for at, _, template in _each(one.command.templates, one.place):
            yield Program(at.path, template.argv[0])


def _is_detail(value: Any) -> bool:
    """Tell whether it is a string, a number, true or false (which are numbers here)."""
    return is_text(value) or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def _bare(key: str) -> str:
    return re.sub(r"[^a-z]", "", key.lower()).removesuffix("s")
