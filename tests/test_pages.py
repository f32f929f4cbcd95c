"""What docs/ says of messages, log lines and figures is what the program has."""

from __future__ import annotations

import ast
import inspect
import os
import re
import shlex
from collections.abc import Iterator

import pytest

from lookingglass import command_line, journal, metrics
from tests.support import HERE
from tinytracer import ACTIONS, __version__

OPERATING = (HERE / "docs" / "operating.md").read_text()
MESSAGES = re.findall(r"^## `(.+)`$", (HERE / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
SOURCES = [
    HERE / "tinytracer.py",
    HERE / "rfc8522.py",
    HERE / "commands.py",
    *HERE.glob("lookingglass/**/*.py"),
]
# What is filled in when a text is made: by an f-string (here as such), by format() or by %.
FIELD = re.compile(r"…+|\{[^{}\s]*\}|%[sdr]")


def texts() -> Iterator[str]:
    """Yield each string of the program, with … for what is filled in, and the system's names of errors."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (each.value if isinstance(each, ast.Constant) else "…" for each in node.values)
                yield FIELD.sub("…", "".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield FIELD.sub("…", node.value.replace("{s}", "s"))  # the ending of a plural
    yield from map(os.strerror, range(1, 134))


TEXTS = [*texts()]


def test_ten_messages_have_cause_and_cure() -> None:
    assert len(MESSAGES) == 10
    assert (HERE / "docs" / "troubleshooting.md").read_text().count("\nCure: ") == 10


@pytest.mark.parametrize("message", MESSAGES)
def test_message_is_one_of_the_program(message: str) -> None:
    assert any(message in text for text in TEXTS)


@pytest.mark.parametrize(
    "line",
    [
        line
        for page in (HERE / "README.md", *sorted(HERE.glob("docs/*.md")))
        for line in re.findall(
            r"(?:^    |`|/bin/| )tinytracer ((?:serve|init|check|migrate)\b[^\n`]*)", page.read_text(), re.M
        )
        if "[" not in line
    ],
)
def test_command_line_is_one_that_is_understood(line: str) -> None:
    assert command_line.parse(shlex.split(line), __version__, ACTIONS).act


def words(heading: str) -> set[str]:
    """Return the words in the first cells of the table that begins with ``heading``."""
    table = OPERATING.partition(f"\n| {heading} |")[2].partition("\n\n")[0]
    return {name for line in table.splitlines() for name in re.findall(r"`(\w+)`", line.split("|")[1])}


def test_every_field_of_the_log_line_is_explained() -> None:
    fields = re.findall(r'^            "(\w+)": ', inspect.getsource(journal.Lines), re.MULTILINE)
    assert words("field") == {*fields}


def test_every_outcome_is_explained() -> None:
    told = re.search(r"word: str  # (.+) or (\w+)$", inspect.getsource(journal.Outcome), re.MULTILINE)
    assert told
    assert words("outcome") == {*told[1].split(", "), told[2]}


def test_every_figure_is_explained() -> None:
    source = inspect.getsource(metrics)
    figures = {*re.findall(r'MetricFamily\(\s*"(\w+)"', source)}
    figures |= {f"tinytracer_{name}" for name in re.findall(r'_(?:counter|histogram)\("(\w+)"', source)}
    assert {re.sub("_total$", "", name) for name in words("figure")} == {
        "tinytracer_info" if name == "tinytracer" else name for name in figures
    }
