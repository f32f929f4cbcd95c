"""config.schema.json says of each key what the table in configuration.py says."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import jsonschema
import pytest

from commands import JSON
from lookingglass import configuration, targets
from lookingglass.reading import REQUIRED, Key
from lookingglass.whitelist import SLOT_ARGUMENTS
from tests.support import HERE, SCHEMA, SCHEMA_TEXT, changed, errors_of

NOTHING = targets.DenyTable(())
SOURCES = {"source4": "192.0.2.1", "source6": "2001:db8::1"}


def command_for(key: str) -> dict[str, Any]:
    """Return a command whose argument is what a template for one kind of target needs."""
    argument = SLOT_ARGUMENTS.get(key.rstrip("46"), "host")
    return {"cmd": ["x", "{{TARGET}}"], "argument": argument}


def within(section: str) -> Callable[[str, Any], dict[str, Any]]:
    return lambda key, value: changed(f"{section}/{key}", value)


INNER = {
    "info": configuration.INFO,
    "capabilities": configuration.CAPABILITIES,
    "limits": configuration.LIMITS,
    "results": configuration.RESULTS,
    "theme": configuration.THEME,
    "targets": configuration.TARGETS,
}
# Where the rows of the table stand in the schema, and a document with a value for one of their keys.
PROPERTIES = SCHEMA_TEXT["properties"]
DEFINED = SCHEMA_TEXT["$defs"]
SECTIONS: dict[str, tuple[Sequence[Key], dict[str, Any], Callable[[str, Any], dict[str, Any]]]] = {
    "top": (configuration.TOP, SCHEMA_TEXT, changed),
    **{name: (keys, PROPERTIES[name], within(name)) for name, keys in INNER.items()},
    "command": (
        configuration.COMMAND,
        DEFINED["command"],
        lambda key, value: {"commands": {"x": {**command_for(key), key: value}}},
    ),
    "format": (
        configuration.TEMPLATES,
        DEFINED["command"]["properties"]["formats"]["additionalProperties"],
        lambda key, value: changed("commands/ping/formats", {JSON: {key: value}}),
    ),
    "router": (
        configuration.ROUTER,
        DEFINED["router"],
        lambda key, value: changed("routers", [{"name": "r1", **SOURCES, key: value}]),
    ),
}


def values(document: object) -> configuration.Configuration:
    """Return what a document means, apart from what is passed on as it was given."""
    return configuration.read(document, HERE)._replace(info={}, deny=NOTHING)


@pytest.mark.parametrize("section", SECTIONS)
def test_schema_and_table_have_the_same_keys_meanings_and_defaults(section: str) -> None:
    keys, schema, _ = SECTIONS[section]
    properties = schema["properties"]
    assert properties["$comment"] == {"type": "string"}
    assert list(properties) == ["$comment", *(key.name for key in keys)]
    assert {key.name: key.meaning for key in keys} == {
        name: each["description"] for name, each in properties.items() if name != "$comment"
    }
    required = [key.name for key in keys if key.default is REQUIRED]
    assert required == schema.get("required", [])
    defaults = {key.name: key.default for key in keys if key.default is not None}
    assert {name: default for name, default in defaults.items() if name not in required} == {
        name: each["default"] for name, each in properties.items() if "default" in each
    }
    others = {"description", "type"} if section == "router" else None
    assert set(schema["additionalProperties"] or ()) == (others or set())


@pytest.mark.parametrize("section", SECTIONS)
def test_meaning_is_sentences_and_no_two_rows_are_of_one_key(section: str) -> None:
    keys, _, _ = SECTIONS[section]
    assert len({key.name for key in keys}) == len(keys)
    assert all(key.meaning[0].isupper() and key.meaning.endswith(".") for key in keys)


@pytest.mark.parametrize("section", SECTIONS)
def test_default_in_the_table_is_what_its_reader_takes(section: str) -> None:
    keys, _, document = SECTIONS[section]
    for key in keys:
        if key.default is not None and key.default is not REQUIRED:
            given = document(key.name, key.default)
            if key.name == "rate":
                given["limits"]["burst"] = 10  # which else follows the rate that is given
            assert values(given) == values(document("$comment", "nothing")), key.name


@pytest.mark.parametrize(
    ("section", "name", "example"),
    [
        (section, name, example)
        for section, (_, schema, _) in SECTIONS.items()
        for name, each in schema["properties"].items()
        for example in each.get("examples", ())
    ],
)
def test_example_in_the_schema_is_accepted(section: str, name: str, example: Any) -> None:
    document = SECTIONS[section][2](name, example)
    configuration.read(document, HERE)
    SCHEMA.validate(document)


def test_schema_is_one_and_has_an_id() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA_TEXT)
    assert re.fullmatch(r"[a-z]+:[^#]+", SCHEMA_TEXT["$id"])


@pytest.mark.parametrize("section", SECTIONS)
def test_unknown_key_is_refused_everywhere_with_those_that_there_are(section: str) -> None:
    keys, _, document = SECTIONS[section]
    wrong = document("nosuchkey", ["x"])
    (error,) = errors_of(wrong)
    assert ".nosuchkey: " in f".{error}"
    if section != "router":
        assert all(key.name in error for key in keys)
    assert not SCHEMA.is_valid(wrong)


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("comment", [5, None, ["a"], {"a": "b"}])
def test_comment_is_a_string_everywhere(section: str, comment: Any) -> None:
    document = SECTIONS[section][2]
    configuration.read(document("$comment", "why"), HERE)
    SCHEMA.validate(document("$comment", "why"))
    (error,) = errors_of(document("$comment", comment))
    assert "$comment: expected a string" in error
    assert not SCHEMA.is_valid(document("$comment", comment))
