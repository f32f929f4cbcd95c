"""An older program's configuration in, ours out, and what became of each command in words."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from commands import Template
from lookingglass import configuration as conf
from lookingglass import starting
from lookingglass.documents import load_json
from lookingglass.probing import reads_a_table
from lookingglass.templates import translate

OLD_SLOTS = ("cmd4", "cmd6")
OWN_KEYS = {*OLD_SLOTS, "name", "description", "highlight"}  # of a command, which are read here
# Parsers of what the commands of these programs print.
PARSED = {"ping": "ping", "ping4": "ping", "ping6": "ping", "traceroute": "traceroute", "mtr": "mtr"}
RENAMED = {"birdc6": "birdc", "birdcl6": "birdcl"}  # BIRD 2 has one daemon for both families
# A filter behind a pipe without which nothing is shown that was hidden before, but this machine's name.
COSMETIC = re.compile(r"perl -pe 's/\^\(HOST: [^']*'")
# What stands between pipes, in which a shell sees no pipe between quotes.
BETWEEN_PIPES = re.compile(r"""(?:[^|'"\\]|\\.|'[^']*+'|"(?:[^"\\]|\\.)*+")++""", re.DOTALL)
SKIPPING = re.compile(r"tail\s++-n\s*+\+[0-9]{1,6}")
ROOT_ONLY = re.compile(r"-i\s*+0?\.[0-9]++")  # an interval that mtr allows root only

Document = dict[str, Any]


class Found(NamedTuple):
    """Hold what became of an old command."""

    command: Document | None  # None: it is left out
    notes: tuple[str, ...]


def migrate(old: str, file: str) -> int:
    """Turn an old file into a new configuration; return 0, 1 when something is left out, 2 when all is."""
    mistakes: list[str] = []
    document = load_json(old, mistakes, or_pipe=True)
    read = _reader_of(document)
    if mistakes or read is None:
        told = mistakes or [
            "expected the original's config.json, with commands or tasks, or a caps.json of intrace"
        ]
        print("\n".join(f"{old}: {each}" for each in told), file=sys.stderr)
        return 2
    notes: list[str] = []
    new, left_out = read(document, notes)
    if not starting.write(file, new, os.path.dirname(old), notes):
        return 2
    return 1 if left_out else 0


def _reader_of(document: Any) -> Callable[[Document, list[str]], tuple[Document, bool]] | None:
    if conf.is_caps(document):
        return _read_caps
    if isinstance(document, dict) and isinstance(document.get("commands", document.get("tasks")), dict):
        return _read_original
    return None


def _read_caps(document: Document, notes: list[str]) -> tuple[Document, bool]:
    commands, left_out = _read_commands(document, notes)
    return {"info": {"title": "Looking Glass"}, "commands": commands}, left_out


def _read_original(document: Document, notes: list[str]) -> tuple[Document, bool]:
    """Read the Flask program's config.json; its first versions called commands tasks."""
    old: Document = document["commands" if "commands" in document else "tasks"]
    commands, left_out = _read_commands(_by_family(old), notes)
    new: Document = {}
    for key, value in document.items():
        if key in {"commands", "tasks"}:
            continue
        mistakes = _mistakes({key: value, "commands": {"x": {"cmd": ["true"]}}})
        if mistakes:
            notes.append(f"left out: {'; '.join(mistakes)}")
            left_out = True
        else:
            new[key] = value
    if "trustproxy" not in new:
        new["trustproxy"] = True
        notes.append(
            "trustproxy is true: the original stands behind nginx on the same machine. Replace app:app by "
            "tinytracer:application in its service, and name the new file there in TINYTRACER_CONFIG."
        )
    return {**new, "commands": commands}, left_out


def _by_family(tasks: Document) -> Document:
    """Return commands, where the first versions had a string for each and the family in its name."""
    found: Document = {}
    for name, value in tasks.items():
        if isinstance(value, str):
            bare, family = (name[:-1], name[-1]) if name[-1:] in {"4", "6"} else (name, "4")
            found.setdefault(bare, {})[f"cmd{family}"] = value
        else:
            found[name] = value
    return found


def _read_commands(old: Document, notes: list[str]) -> tuple[Document, bool]:
    """Return the commands that can be translated, and whether any is left out; ``notes`` say what and why."""
    new: Document = {}
    left_out = False
    for name, value in old.items():
        found = _read_command(value) if isinstance(value, dict) else Found(None, ("expected an object",))
        mistakes = _mistakes({"commands": {name: found.command}}) if found.command else []
        if found.command and not mistakes:
            new[name] = found.command
        left_out = left_out or name not in new
        verdict = "translated" if name in new else "left out"
        notes.append("; ".join((f"{name}: {verdict}", *found.notes, *mistakes)))
    return new, left_out


def _read_command(old: Mapping[str, Any]) -> Found:
    """Translate one command; it is left out as a whole when one of its argvs is."""
    notes: dict[str, None] = {}
    new: Document = {}
    description = old.get("description", old.get("name"))
    if description:
        new["description"] = description
    if "highlight" in old:
        notes["highlight is left out: the page marks nothing in the output"] = None
    templates = {slot: _template(slot, old[slot], notes) for slot in OLD_SLOTS if slot in old}
    for slot, template in templates.items():
        if template:
            new[slot] = _written(template)
            new.update(_meaning(template, notes))
    if None in templates.values():
        return Found(None, tuple(notes))
    others = {key: value for key, value in old.items() if key not in OWN_KEYS}
    return Found({**new, **others}, tuple(notes))


def _template(slot: str, value: Any, notes: dict[str, None]) -> Template | None:
    """Translate an argv; None: it needs a shell for what visitors may not be shown without."""
    if not isinstance(value, str):
        return Template(tuple(value)) if isinstance(value, list) else None
    first, *filters = map(str.strip, BETWEEN_PIPES.findall(value) or [""])
    unknown = []
    for each in filters:
        if COSMETIC.fullmatch(each):
            notes["a perl filter is left out: visitors see this machine's name above what mtr prints"] = None
        elif SKIPPING.fullmatch(each):
            first += f" | {each}"
        else:
            unknown.append(each)
    try:
        template = translate(first)
    except ValueError as error:
        several = ", a command for each of the commands in it" if ";" in str(error) else ""
        notes[f"{slot}: {error}{several}"] = None
        return None
    if unknown:
        programs = ", ".join(each.split(" ")[0] for each in unknown)
        notes[
            f"{slot}: {programs} behind a pipe needs a shell, and hides something from visitors; if they may "
            f'see all of it, add "{slot}": {starting.in_json(_written(template))}'
        ] = None
        return None
    argv = (RENAMED.get(template.argv[0], template.argv[0]), *template.argv[1:])
    if argv[0] != template.argv[0]:
        notes[f"{template.argv[0]} is {argv[0]} now: BIRD 2 has one daemon for both families"] = None
    return template._replace(argv=argv)


def _written(template: Template) -> list[str] | str:
    """Return how a configuration writes a template."""
    if template.stderr and not template.skip:
        return list(template.argv)
    redirection = "2>&1" if template.stderr else "2>/dev/null"
    tail = f" | tail -n+{template.skip + 1}" if template.skip else ""
    return f"{shlex.join(template.argv)} {redirection}{tail}"


def _meaning(template: Template, notes: dict[str, None]) -> Document:
    """Return what the old program had no words for: what a command prints, and what its target is."""
    program = template.argv[0]
    if program == "mtr" and ROOT_ONLY.search(" ".join(template.argv)):
        notes[
            "mtr allows only root an interval below 1 second: write -i 1 where TinyTracer runs as another"
        ] = None
    meaning: Document = {"parser": PARSED[program]} if program in PARSED else {}
    return {**meaning, "argument": "addr"} if reads_a_table(template.argv) else meaning


def _mistakes(document: Document) -> list[str]:
    try:
        conf.read(document, "")
    except conf.ConfigurationError as error:
        return list(error.errors)
    return []
