"""Readers of JSON: a value and its place in, what it means out, or every mistake with its path."""

from __future__ import annotations

import importlib.util
import ipaddress
import json
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lookingglass import targets
from lookingglass.cures import how_to_import
from lookingglass.documents import StrPath, contents_of
from lookingglass.origins import ANY, read_origin
from lookingglass.store import Rate
from lookingglass.stores import read_store
from lookingglass.themes import File
from lookingglass.visitors import UNIX

COMMENT = "$comment"  # a key that every object may have
REQUIRED = object()  # the default of a key that has none
PERIODS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
PERIOD_TEXT = re.compile(r"([1-9][0-9]{0,5}) (second|minute|hour|day)s?")
RATE = re.compile(r"([1-9][0-9]{0,8})/(second|minute|hour|day)")
URL = re.compile(r"https?://[^\s/?#@\"'<>]+(?:/[^\s?#\"'<>]*)?")
EXAMPLE_ORIGIN = "https://www.example.net"
NETWORK = "expected a network such as 192.0.2.0/24"
FOLDER = "expected a folder that exists, named from where the configuration is"


class Place(NamedTuple):
    """Say where a value stands, and what its reader has to know of the whole."""

    path: str  # such as "routers[0].name"; "" is the whole document
    errors: list[str]  # what is wrong so far, all over the document
    folder: StrPath = ""  # names of files are relative to it
    families: tuple[int, ...] = (4, 6)  # the address families that this looking glass offers

    def at(self, key: str) -> Place:
        """Return the place of an object's member."""
        shown = key if key.isprintable() else ascii(key)
        return self._replace(path=f"{self.path}.{shown}" if self.path else shown)

    def item(self, number: int) -> Place:
        """Return the place of a list's item."""
        return self._replace(path=f"{self.path}[{number}]")

    def error(self, message: str) -> None:
        """Note a mistake at this place."""
        self.errors.append(f"{self.path or 'the configuration'}: {message}")

    def refuse(self, expected: str, value: Any) -> Any:
        """Note what was expected instead of a value; return None, which a reader returns for it."""
        self.error(f"{expected}, not {_shown(value)}")


Read = Callable[[Any, Place], Any]  # returns None for what it refuses
ReadNamed = Callable[[str, Any, Place], Any]  # the same, for a member whose name matters


class Key(NamedTuple):
    """Describe one key of an object."""

    name: str
    read: Read
    default: Any  # the value of an absent key, as in JSON; None: none, or as the meaning says
    meaning: str


# --- objects and lists


def members(keys: Sequence[Key], others: ReadNamed | None = None) -> Read:
    """Return a reader of an object; a key that is no row of ``keys`` is read by ``others``, else refused.

    The object that it returns has None for members that were refused.
    """
    rows = {key.name: key for key in keys}

    def read_members(value: Any, place: Place) -> Any:
        if not isinstance(value, dict):
            return place.refuse("expected an object", value)
        given = {}
        for name, at, inner in items(value, place):
            if name in rows:
                given[name] = rows[name].read(inner, at)
            elif others:
                given[name] = others(name, inner, at)
            else:
                likely = meant(name, rows)
                told = f"did you mean {likely}? There" if likely else "there"
                at.error(f"there is no such key; {told} are {', '.join(rows)}")
        for key in keys:
            if key.default is REQUIRED and key.name not in value:
                place.at(key.name).error(f"this key is missing. {key.meaning}")
        return given

    return read_members


def items(value: Mapping[str, Any], place: Place) -> Iterator[tuple[str, Place, Any]]:
    """Yield key, place and value of an object's members, comments apart; note keys given more than once."""
    repeated = getattr(value, "repeated", ())
    for key, inner in value.items():
        at = place.at(key)
        if key in repeated:
            at.error("this key is given more than once; leave one of them")
        if key == COMMENT:
            text(inner, at)
        else:
            yield key, at, inner


def present(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the members that were not refused."""
    return {name: value for name, value in (given or {}).items() if value is not None}


def complete(keys: Iterable[Key], given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a value for each key: the one that was given, else its default."""
    defaults = {
        key.name: key.read(key.default, Place("", []))
        for key in keys
        if key.default is not None and key.default is not REQUIRED
    }
    return dict.fromkeys(key.name for key in keys) | defaults | present(given)


def list_of(read: Read) -> Read:
    """Return a reader of a list with at least one item."""

    def read_list(value: Any, place: Place) -> Any:
        if not isinstance(value, list) or not value:
            return place.refuse("expected a list with at least one item", value)
        return [read(item, place.item(number)) for number, item in enumerate(value)]

    return read_list


def or_false(read: Read) -> Read:
    """Return a reader of what may also be false."""

    def read_or_false(value: Any, place: Place) -> Any:
        return False if value is False else read(value, place)

    return read_or_false


def meant(word: str, known: Iterable[str]) -> str:
    """Return the known word that somebody most likely means; "" when there is none like it."""
    import difflib

    return next(iter(difflib.get_close_matches(word[:100], tuple(known), 1)), "")


# --- texts, numbers, truth


def is_text(value: Any) -> bool:
    """Tell whether a value is a string that UTF-8 can carry."""
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)


def text(value: Any, place: Place) -> Any:
    """Read any string."""
    return value if is_text(value) else place.refuse("expected a string", value)


def boolean(value: Any, place: Place) -> Any:
    """Read true or false."""
    return value if isinstance(value, bool) else place.refuse("expected true or false", value)


def matching(pattern: re.Pattern[str], expected: str) -> Read:
    """Return a reader of a string that a pattern matches as a whole."""

    def read_text(value: Any, place: Place) -> Any:
        fits = isinstance(value, str) and pattern.fullmatch(value)
        return value if fits else place.refuse(f"expected {expected}", value)

    return read_text


def one_of(*choices: str) -> Read:
    """Return a reader of one of some words."""
    return matching(re.compile("|".join(map(re.escape, choices))), f"one of {', '.join(choices)}")


def number(low: float, high: float, unit: str = "", *, whole: bool = False) -> Read:
    """Return a reader of a number with its unit, both ends included."""
    kinds = (int,) if whole else (int, float)
    of_what = f" of {unit}" if unit else ""
    expected = f"expected {'a whole number' if whole else 'a number'}{of_what} from {low} to {high}"

    def read_number(value: Any, place: Place) -> Any:
        fits = isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high
        return value if fits else place.refuse(expected, value)

    return read_number


def rate(value: Any, place: Place) -> Any:
    """Read how often something may happen, such as ``10/minute``."""
    match = RATE.fullmatch(value) if isinstance(value, str) else None
    if not match:
        return place.refuse(f"expected a rate such as 10/minute ({', '.join(PERIODS)})", value)
    return Rate(int(match[1]), PERIODS[match[2]])


def duration(value: Any, place: Place) -> Any:
    """Read for how long something holds, such as ``1 day``; return seconds."""
    match = PERIOD_TEXT.fullmatch(value) if isinstance(value, str) else None
    if not match:
        return place.refuse(f"expected a duration such as 1 day or 12 hours ({', '.join(PERIODS)})", value)
    return int(match[1]) * PERIODS[match[2]]


# --- addresses, URLs, folders

url = matching(URL, "an http or https URL such as https://lg.example.net/")


def base_url(value: Any, place: Place) -> Any:
    """Read a URL below which paths are; a slash at its end is left out."""
    found = url(value, place)
    return found and found.rstrip("/")


def address(family: int) -> Read:
    """Return a reader of an address of one family; it is printed in its canonical form."""

    def read_address(value: Any, place: Place) -> Any:
        try:
            found = ipaddress.ip_address(value if isinstance(value, str) and "%" not in value else "")
        except ValueError:
            found = None
        if found is None or found.version != family:
            return place.refuse(f"expected an IPv{family} address", value)
        return str(found)

    return read_address


def proxies(value: Any, place: Place) -> Any:
    """Read whose forwarding headers are believed: false, true, or a list of networks and ``unix:``."""
    if isinstance(value, bool):
        return value
    if not isinstance(value, list):
        return place.refuse(f'expected false, true, or a list of networks and "{UNIX}"', value)
    return tuple(
        UNIX if item == UNIX else _network(item, place.item(number), f'{NETWORK}, or "{UNIX}"')
        for number, item in enumerate(value)
    )


def origins(value: Any, place: Place) -> Any:
    """Read whose pages may run commands: false, a list of origins, or ``*`` for all."""
    if value is False or value == ANY:
        return frozenset((ANY,) if value else ())
    if not isinstance(value, list):
        return place.refuse(f'expected false, "{ANY}", or a list of origins such as {EXAMPLE_ORIGIN}', value)
    return frozenset(_origin(item, place.item(number)) for number, item in enumerate(value))


def networks(value: Any, place: Place) -> Any:
    """Read a list of networks, which may be empty."""
    if not isinstance(value, list):
        return place.refuse('expected a list of networks such as ["192.0.2.0/24"]', value)
    found = [_network(item, place.item(number), NETWORK) for number, item in enumerate(value)]
    return None if None in found else tuple(found)


def deny(value: Any, place: Place) -> Any:
    """Read the networks to which no packets are sent; none in an empty list."""
    found = networks(value, place)
    return None if found is None else targets.DenyTable(found)


def with_metrics(value: Any, place: Place) -> Any:
    """Read the networks that may read figures, for which an optional package is needed."""
    found = networks(value, place)
    if found and not importlib.util.find_spec("prometheus_client"):
        place.error(f"this needs a package that is not here; {how_to_import('prometheus_client')}")
        return None
    return found


def store(value: Any, place: Place) -> Any:
    """Read where limits live; nothing of the value is told, for it may have a password."""
    try:
        return read_store(value if is_text(value) else "", place.folder)
    except ValueError as error:
        place.error(str(error))
        return None


def existing_folder(value: Any, place: Place) -> Any:
    """Read the name of a folder that exists; return its absolute path."""
    where = _path(value, place)
    return os.path.realpath(where) if os.path.isdir(where) else place.refuse(FOLDER, value)


def content(media: Mapping[str, str], most: int) -> Read:
    """Return a reader of a file's name, which has one of some endings; it returns the File.

    ``most`` is in KiB. Text has to be UTF-8.
    """
    expected = f"expected the name of a file that exists and ends in {', '.join(media)}"

    def read_file(value: Any, place: Place) -> Any:
        where = _path(value, place)
        kind = media.get(os.path.splitext(where)[1].lower())
        if kind is None or not os.path.exists(where):
            return place.refuse(expected, value)
        try:
            body = contents_of(where, (most << 10) + 1)
            if len(body) > most << 10:
                return place.error(f"{where} has more than {most} KiB; make it smaller")
            if kind.startswith("text/"):
                body.decode()
        except OSError as error:
            cure = f"; chmod o+r {shlex.quote(where)}" if isinstance(error, PermissionError) else ""
            return place.error(f"{where} cannot be read: {error.strerror}{cure}")
        except UnicodeDecodeError as error:
            line = body.count(b"\n", 0, error.start) + 1
            return place.error(f"line {line} of {where} is not UTF-8; save the file as UTF-8")
        return File(body, kind)

    return read_file


def _path(value: Any, place: Place) -> str:
    """Return the path that a file's or a folder's name means; "": it is no name."""
    return os.path.join(place.folder, value) if is_text(value) and "\0" not in value else ""


def _origin(value: Any, place: Place) -> Any:
    found = read_origin(value) if isinstance(value, str) else None
    return found or place.refuse(f"expected an origin such as {EXAMPLE_ORIGIN}, without a path", value)


def _network(value: Any, place: Place, expected: str) -> Any:
    if not isinstance(value, str) or "%" in value:
        return place.refuse(expected, value)
    try:
        return ipaddress.ip_network(value)
    except ValueError as error:
        place.error(f"{expected}: {error}")
        return None


def _shown(value: Any) -> str:
    """Return what an error says of a value: never all of a long one."""
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, dict):
        return "an object" if value else "an empty object"
    return json.dumps(value, default=repr)[:60]
