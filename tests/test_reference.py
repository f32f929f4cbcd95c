"""docs/configuration.md has every key of the program, and its examples are accepted."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from docs.reference import LIST, PAGE, SECTIONS, filled
from lookingglass import configuration as conf
from tests.support import HERE, changed

TEXT = PAGE.read_text()
BLOCKS = re.findall(r"(?:^    .*\n)+", TEXT, re.MULTILINE)


def test_reference_is_what_make_docs_writes() -> None:
    assert filled(TEXT) == TEXT


def test_reference_has_a_list_for_each_kind_of_object() -> None:
    assert [name for _, name, _ in LIST.findall(TEXT)] == list(SECTIONS)


@pytest.mark.parametrize("name", SECTIONS)
def test_key_has_its_meaning_what_it_takes_and_an_example(name: str) -> None:
    entries = re.findall(rf"<!-- keys: {name} -->\n(.*?)<!--", filled(TEXT), re.DOTALL)[0]
    for key in SECTIONS[name].keys:
        assert re.search(
            rf"^- \*\*`{re.escape(key.name)}`\*\*: [A-Z].+\.\n  Takes \S.*\. Example: `.+`$",
            entries,
            re.MULTILINE,
        )


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.startswith('    "')])
def test_example_of_the_reference_is_accepted(block: str) -> None:
    given: dict[str, Any] = json.loads(f"{{{block}}}")
    if "formats" in given:
        given = changed("commands/ping", {"cmd4": ["ping", "{{TARGET}}"], **given})
    conf.read({"commands": {"x": {"cmd": ["x"]}}, **given}, HERE)
