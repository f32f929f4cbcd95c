"""Argv templates: a list, or a command string of the original program, in; a Template out."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

from commands import PLACEHOLDER, PLACEHOLDERS, Template
from lookingglass.reading import Place, Read, is_text, meant


class Slot(NamedTuple):
    """Say what a template is for."""

    families: tuple[int, ...]
    kind: str = ""  # the only kind of target (targets.Target) that it is for; "": any


SLOTS: Mapping[str, Slot] = {
    "cmd": Slot((4, 6)),
    "cmd4": Slot((4,)),
    "cmd6": Slot((6,)),
    "prefix4": Slot((4,), "prefix"),
    "prefix6": Slot((6,), "prefix"),
    "large4": Slot((4,), "large"),
    "large6": Slot((6,), "large"),
}

ALL_PLACEHOLDERS = ", ".join(f"{{{{{name}}}}}" for name in PLACEHOLDERS)
# What stands in double or more braces, closed or not, and our names where a brace is missing.
ANY_PLACEHOLDER = "|".join(PLACEHOLDERS)
BRACED = re.compile(
    r"\{{3,}+[^{}]*+\}++|\{{2,}+(?:[^{}]*+\}{1,2}+|[ \t]*+\w++)?"
    rf"|\{{(?:{ANY_PLACEHOLDER})\}}{{1,2}}+|\b(?:{ANY_PLACEHOLDER})\}}\}}"
)
# What other programs call the same.
SYNONYMS = {
    **dict.fromkeys(("HOST", "HOSTNAME", "IP", "ADDR", "ADDRESS", "DESTINATION", "DST", "PREFIX"), "TARGET"),
    **dict.fromkeys(("SRC", "FROM"), "SOURCE"),
    **dict.fromkeys(("LEN", "PREFIXLEN"), "LENGTH"),
    "NETMASK": "MASK",
}

SHELLS = {"sh", "ash", "bash", "csh", "dash", "fish", "ksh", "mksh", "rbash", "script", "su", "tcsh", "zsh"}
SCRIPT = re.compile(r"-[A-Za-z]*c|--command")  # what makes a shell read its next argument as a script
ENV_SPLIT = re.compile(r"-[A-Za-z]*S|--split-string")  # what makes env split a string
# What the original program's command strings end with, and what a Template does instead of a shell.
REDIRECTION = re.compile(r"\s+2>\s*(&1|/dev/null)\s*")
TAIL = re.compile(r"\s*\|\s*tail\s+-n\s*\+([0-9]{1,6})\s*")
SHELL_SYNTAX = re.compile(r"[0-9]*>|<<|&&|\|\||\$\(|[;&|<$`()*?\[~#{}\n]|\\\n")
QUOTED_SYNTAX = re.compile(r"[$`]|\\[$`\n]")  # what a shell still acts upon between double quotes
ASSIGNMENT = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*=)")


def template(name: str) -> Read:
    """Return a reader of the template in one of the SLOTS.

    It returns None as well, and looks at nothing, when this looking glass offers no family of the slot.
    """
    slot = SLOTS[name]

    def read_template(value: Any, place: Place) -> Template | None:
        if not set(slot.families) & set(place.families):
            return None
        found, mistakes = None, []
        try:
            found = translate(value) if isinstance(value, str) else Template(_argv(value))
            _check_program(found.argv)
        except ValueError as error:
            mistakes.append(str(error))
        texts = value if isinstance(value, list) else [value]
        braced = [each[0] for text in texts if isinstance(text, str) for each in BRACED.finditer(text)]
        for each in dict.fromkeys(braced):
            if not (PLACEHOLDER.fullmatch(each) or (mistakes and _is_bare(each))):
                mistakes.append(_unknown(each))
        for mistake in mistakes:
            place.error(mistake)
        return None if mistakes else found

    return read_template


def _unknown(braced: str) -> str:
    """Return what to say of something in braces that is no placeholder."""
    word = re.sub("[^A-Z]", "", braced.upper())
    likely = SYNONYMS.get(word) or meant(word, PLACEHOLDERS)
    cure = "A program that needs double braces itself can be called by a script of your own."
    if likely:
        cure = f"Did you mean {{{{{likely}}}}}?"
    shown = braced if braced.isprintable() else ascii(braced)
    return f"{shown[:40]} is no placeholder; there are {ALL_PLACEHOLDERS}. {cure}"


def _argv(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(map(is_text, value)):
        raise ValueError('expected a list of strings such as ["ping", "-4", "{{TARGET}}"]')
    if not value[0] or any("\0" in each for each in value):
        raise ValueError("expected a program as the first string, and no NUL in any of them")
    return tuple(value)


def _check_program(argv: tuple[str, ...]) -> None:
    """Refuse a program that visitors could choose, and a shell that would read what they say."""
    if PLACEHOLDER.search(argv[0]):
        raise ValueError("the program itself cannot be a placeholder; name the program first")
    end = len(argv)
    shell = next((number for number, each in enumerate(argv) if os.path.basename(each) in SHELLS), end)
    script = next((number for number in range(shell, end) if SCRIPT.match(argv[number])), end)
    env = next((number for number, each in enumerate(argv) if os.path.basename(each) == "env"), end)
    split = env if any(map(ENV_SPLIT.match, argv[env:])) else end
    if any(PLACEHOLDER.search(each) for each in argv[min(script, split) :]):
        raise ValueError("a shell would read what visitors say; give the argv itself, without the shell")


# --- command strings of the original program


def translate(text: str) -> Template:
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
        argv = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"this string cannot be split into arguments: {error}") from error
    return Template(_argv(argv), stderr, skip)


def _at_end(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return next((match for match in pattern.finditer(text) if match.end() == len(text)), None)


def _shell_syntax(text: str) -> str:
    """Return the first thing in a command string that a shell would act upon, else ""."""
    if assignment := ASSIGNMENT.match(text):
        return assignment[1]
    quote, position = "", 0
    text = BRACED.sub(_masked, text)
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


def _masked(braced: re.Match[str]) -> str:
    """Hide a placeholder, ours or not, from the search for shell syntax."""
    return braced[0] if _is_bare(braced[0]) else "_" * len(braced[0])


def _is_bare(braced: str) -> bool:
    return not braced.strip("{")
