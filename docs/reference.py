"""Write the lists of keys into configuration.md, from the table of keys and the schema: `make docs`."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lookingglass import configuration as conf
from lookingglass.reading import REQUIRED, Key, Place

HERE = Path(__file__).parent
PAGE = HERE / "configuration.md"
SCHEMA = json.loads((HERE.parent / "config.schema.json").read_text())
# Where a list goes, and the name of its section.
LIST = re.compile(r"(<!-- keys: ([a-z]+) -->\n).*?(<!-- end of keys -->)", re.DOTALL)


class Section(NamedTuple):
    """Hold the keys of one kind of object, and what the schema says of them."""

    keys: Sequence[Key]
    properties: Mapping[str, Any]


def _inner(name: str, keys: Sequence[Key]) -> Section:
    return Section(keys, SCHEMA["properties"][name]["properties"])


def _defined(name: str, keys: Sequence[Key]) -> Section:
    return Section(keys, SCHEMA["$defs"][name]["properties"])


SECTIONS: Mapping[str, Section] = {
    "top": Section(conf.TOP, SCHEMA["properties"]),
    "info": _inner("info", conf.INFO),
    "capabilities": _inner("capabilities", conf.CAPABILITIES),
    "theme": _inner("theme", conf.THEME),
    "command": _defined("command", conf.COMMAND),
    "router": _defined("router", conf.ROUTER),
    "limits": _inner("limits", conf.LIMITS),
    "results": _inner("results", conf.RESULTS),
    "targets": _inner("targets", conf.TARGETS),
}


def filled(page: str) -> str:
    """Return a page whose lists of keys are those of now."""
    return LIST.sub(lambda match: f"{match[1]}\n{listed(SECTIONS[match[2]])}\n{match[3]}", page)


def listed(section: Section) -> str:
    """Return a list of keys in Markdown."""
    return "".join(map("".join, (_entry(key, section.properties[key.name]) for key in section.keys)))


def _entry(key: Key, schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of one key: meaning; what it takes, with the unit; default; example."""
    yield f"- **`{key.name}`**: {key.meaning}\n"
    told = [f"Takes {takes(key)}."]
    if key.default is REQUIRED:
        told.append("Required.")
    elif key.default is not None:
        told.append(f"Default: `{_in_json(key.default)}`.")
    told.append(f"Example: `{_in_json({key.name: schema['examples'][0]})[1:-1]}`")
    yield f"  {' '.join(told)}\n"


def takes(key: Key) -> str:
    """Return what a key takes, in the words with which its reader refuses everything else."""
    mistakes: list[str] = []
    key.read(None, Place("", mistakes))
    words = mistakes[0].partition("expected ")[2]
    return words.removesuffix(", not null")


def _in_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m docs.reference", description=__doc__).parse_args()
    PAGE.write_text(filled(PAGE.read_text()))
