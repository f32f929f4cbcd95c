"""Write a starting configuration for this machine, and say what it leaves out and why."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from lookingglass import configuration as conf
from lookingglass import cures, machine, resources
from lookingglass.reading import Place
from lookingglass.whitelist import router_name

SCHEMA = "config.schema.json"
STRINGS = re.compile(r'\[\n\s++((?:"(?:[^"\\]|\\.)*+",?+\s++)++)\]')  # of strings, in indented JSON
LINE_BREAK = re.compile(r"\n\s++")
THERE = "is there already, and nothing was written; name another file with --config"
NO_NAME = "lg"  # of a router whose host name is none that visitors could ask for

Document = dict[str, Any]


class NotWritten(Exception):
    """A file is there already, or cannot be written."""


def init(file: str) -> int:
    """Write a starting configuration; return an exit status."""
    if os.path.exists(file):
        print(f"{file} {THERE}", file=sys.stderr)
        return 1
    notes: list[str] = []
    document = starting(notes)
    return 0 if write(file, document, os.path.dirname(file), notes) else 1


def write(file: str, document: Document, folder: str, notes: list[str]) -> bool:
    """Write a new configuration, print the notes on it and what to do next, and tell whether it is written.

    It has to be valid; files that it names are relative to ``folder``. Nothing that is there is overwritten.
    """
    try:
        conf.read(document, folder)
        written = _write(file, document)
    except (conf.ConfigurationError, NotWritten) as error:
        print("\n".join((*notes, str(error))), file=sys.stderr)
        return False
    print("\n".join((f"Written: {', '.join(written)}", *notes, *_after(file))))
    return True


def _after(file: str) -> Iterator[str]:
    """Yield what to do with a new configuration."""
    option = f"--config {shlex.quote(file)}"
    yield f"Edit it: title, blurb and contact in info. Then: {cures.program()} check {option}"
    yield f"And start it: {cures.program()} serve {option}"


def _write(file: str, document: Document) -> list[str]:
    """Write a configuration with its schema beside it, and return the names; raises NotWritten."""
    schema = os.path.join(os.path.dirname(file), SCHEMA)
    written = []
    text = json.dumps({"$schema": f"./{SCHEMA}", **document}, indent=4, ensure_ascii=False)
    for name, data in (
        (file, f"{_in_short(text)}\n".encode()),
        (schema, resources.resource(SCHEMA, resources.ROOT)),
    ):
        try:
            with open(name, "xb") as new:
                new.write(data)
            written.append(name)
        except FileExistsError:
            if name == file:
                raise NotWritten(f"{file} {THERE}") from None
        except OSError as error:
            folder = os.path.dirname(name) or "."
            cure = "" if os.path.exists(folder) else f"\n    mkdir -p {shlex.quote(folder)}"
            raise NotWritten(f"{name} cannot be written: {error.strerror}{cure}") from error
    return written


def starting(notes: list[str]) -> Document:
    """Return a configuration for this machine; ``notes`` get what it leaves out and why."""
    sources = {family: machine.source(family) for family in (4, 6)}
    document: Document = {"info": {"title": f"Looking glass of {_host()}", "blurb": "", "contact": ""}}
    families = [family for family in (4, 6) if sources[family]] or [4, 6]
    if len(families) == 1:
        missing = 10 - families[0]
        document["capabilities"] = {f"ipv{missing}": False}
        notes.append(f"IPv{missing} is switched off: this machine has no route for it.")
    elif not any(sources.values()):
        notes.append("This machine has no route to anywhere else: give it one.")
    daemon = _daemon(notes)
    name = daemon.command_set if daemon and any(sources.values()) else ""
    offered = _commands(name)
    commands = _with_programs(offered, notes)
    router: Document = {"name": _host(), "commands": commands}
    if name:
        own = {f"source{family}": sources[family] for family in families}
        is_whole = list(commands) == list(offered)
        router = {"name": _host(), **own, "commands": name if is_whole else commands}
    return {**document, "routers": [router]}


def _host() -> str:
    name = socket.gethostname()
    mistakes: list[str] = []
    return name if router_name(name, Place("", mistakes)) else NO_NAME


def _daemon(notes: list[str]) -> machine.Daemon | None:
    """Return the first routing daemon that runs here and can be asked."""
    running = [
        each for each in machine.DAEMONS if any(machine.is_well(where) is None for where in each.where)
    ]
    for each in machine.DAEMONS:
        if each not in running and any(map(machine.found, each.programs)):
            notes.append(
                f"{each.name} is left out: its program is here, and nothing answers at {each.where[0]}."
            )
    usable = [each for each in running if machine.found(each.programs[0])]
    for each in running:
        if each not in usable:
            cure = cures.how_to_get(each.programs[0])
            notes.append(f"{each.name} is left out: it runs, and there is no {each.programs[0]}: {cure}")
    for each in usable[1:]:
        notes.append(
            f"{each.name} is left out: {usable[0].name} is here as well; for both, add a router with "
            f'"commands": "{each.command_set}".'
        )
    return usable[0] if usable else None


def _commands(command_set: str) -> Document:
    """Return the commands of a set, or of the template."""
    if command_set:
        document: Document = json.loads(resources.command_set(command_set))
        return {name: command for name, command in document.items() if name != "$comment"}
    template: Document = json.loads(resources.resource("config.json.template", resources.ROOT))
    commands: Document = template["commands"]
    return commands


def _with_programs(offered: Document, notes: list[str]) -> Document:
    """Return the commands whose programs this machine has."""
    kept = {}
    for name, command in offered.items():
        missing = sorted({each for each in _programs(command) if not machine.found(each)})
        if missing:
            mending = " && ".join(filter(None, map(cures.how_to_get, missing)))
            notes.append(f"{name} is left out: there is no {', '.join(missing)} here: {mending}")
        else:
            kept[name] = command
    return kept


def _programs(command: Mapping[str, Any]) -> Iterator[str]:
    """Yield the program of each argv of a command."""
    for value in command.values():
        if isinstance(value, list):
            yield value[0]
        elif isinstance(value, dict):
            yield from _programs(value)


def in_json(value: object) -> str:
    """Return a value as a configuration has it."""
    return json.dumps(value, ensure_ascii=False)


def _in_short(text: str) -> str:
    """Write each list of strings in an indented JSON document on one line."""
    return STRINGS.sub(lambda match: f"[{LINE_BREAK.sub(' ', match[1].rstrip())}]", text)
