"""The page's form and what stands below it as HTML: what can be asked, and what there is to know."""

from __future__ import annotations

import html
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

from commands import Command, Router
from lookingglass import about
from lookingglass.configuration import Configuration
from lookingglass.frames import TAKES
from lookingglass.panels import Heading
from lookingglass.pictures.markup import escape

FAMILIES = {"": "any", "1": "IPv4", "2": "IPv6"}  # by the AFI of the parameter "protocol"
SMALLEST = 1_000_000  # bytes; a smaller file is there for something else than to be downloaded as a test
MOST_FILES = 20
LONGEST = 2000  # characters of a description


class Wish(NamedTuple):
    """Say what a command wants of a visitor, and an example."""

    words: str
    example: str


WANTED = {
    "host": Wish("address or host name", "192.0.2.1 or www.example.net"),
    "addr": Wish("address or prefix", "192.0.2.1 or 2001:db8::/32"),
    "address": Wish("address", "192.0.2.1 or 2001:db8::1"),
    "asn": Wish("AS number", "AS64500"),
    "community": Wish("community", "64500:100 or no-export"),
}


def router_field(routers: Sequence[Router], chosen: Router) -> str:
    """Offer routers; where there is one only, nobody is asked."""
    if len(routers) == 1:
        name = html.escape(chosen.name)
        return f'<input type="hidden" id="router" name="router" value="{name}" data-place="{_named(chosen)}">'
    options = "".join(_option(each.name, _named(each), each is chosen) for each in routers)
    return _field("router", "From", f'<select id="router" name="router">{options}</select>')


def others_field(routers: Sequence[Router], chosen: Collection[str]) -> str:
    """Offer to ask other routers as well."""
    if len(routers) == 1:
        return ""
    boxes = "".join(
        f'<label><input type="checkbox" name="routers" value="{html.escape(each.name)}"'
        f"{' checked' if each.name.lower() in chosen else ''}> {_named(each)}</label> "
        for each in routers
    )
    return (
        f'<details id="others"{" open" if chosen else ""}><summary>and from others</summary>'
        f' <fieldset><legend class="unseen">And from</legend> {boxes}</fieldset></details>'
    )


def command_field(routers: Sequence[Router], chosen: Command) -> str:
    """Offer the commands that all routers have, then in groups those that only some of them have."""
    groups: dict[tuple[str, ...], list[str]] = {tuple(each.name for each in routers): []}
    for command, names in _offered(routers):
        groups.setdefault(names, []).append(_command_option(command, names, command.name == chosen.name))
    common, *others = groups.items()
    listed = [*common[1]]
    for names, options in others:
        label = escape(f"only on {', '.join(names)}")
        listed.append(f'<optgroup label="{label}">{"".join(options)}</optgroup>')
    return f'<select id="cmd" name="cmd">{"".join(listed)}</select>'


def family_field(capabilities: Mapping[str, bool], chosen: str) -> str:
    """Offer both address families; where there is one only, nobody is asked."""
    if not all(capabilities.values()):
        return ""
    afi = chosen.partition(",")[0]
    radios = "".join(
        f'<label><input type="radio" name="protocol" value="{value}"{" checked" if value == afi else ""}>'
        f" {text}</label> "
        for value, text in FAMILIES.items()
    )
    return f'<fieldset id="family"><legend class="unseen">Address family</legend>{radios}</fieldset>'


def vrf_field(routers: Sequence[Router], chosen: str) -> str:
    """Offer the union of all routers' vrfs; each says on which routers. Nothing where no command has any."""
    if not any(command.wants("VRF") for command, _ in _offered(routers)):
        return ""
    on: dict[str, list[str]] = {}
    for router in routers:
        for vrf in router.vrfs:
            on.setdefault(vrf, []).append(router.name)
    options = [_option("", "", not chosen)]
    options += (_option(vrf, vrf, vrf.lower() == chosen.lower(), _on(names)) for vrf, names in on.items())
    return _field("vrf", "VRF", f'<select id="vrf" name="vrf">{"".join(options)}</select>')


def own_address(client: str, configuration: Configuration, base: str) -> str:
    """Offer the visitor's address as a target; the script finds the one of the other family."""
    if not configuration.showip:
        return ""
    urls = own_urls(configuration)
    data = "".join(f' data-{family}="{html.escape(url)}"' for family, url in urls.items())
    link = f'<a href="{html.escape(base)}">{html.escape(client)}</a>' if client else ""
    return f'<span id="yours"{data}{"" if link else " hidden"}>Yours: {link}</span>'


def own_urls(configuration: Configuration) -> dict[str, str]:
    """Return where a visitor's address is told, by family: URLs of this looking glass."""
    info = configuration.info if configuration.showip else {}
    bases = {family: info[family].rstrip("/") for family in ("ipv4", "ipv6") if info.get(family)}
    return {family: quote(f"{base}/api/ip", safe="/:[]%") for family, base in bases.items()}


def descriptions(routers: Sequence[Router]) -> str:
    """Say what all commands do, for those who see no description beside the chosen one."""
    rows = "".join(
        f"<dt>{escape(command.name)}{_wanted(command)}</dt><dd>{escape(command.description, LONGEST)}</dd>"
        for command, _ in _offered(routers)
    )
    return f"<dl>{rows}</dl>"


def network(configuration: Configuration) -> str:
    """Say where the routers are, what addresses they have, what can be downloaded and whom to ask."""
    parts = (
        _sites(configuration.routers),
        _files(configuration.testfiles),
        _contact(configuration.info),
        about.link(configuration),
    )
    return "".join(parts)


def _sites(routers: Sequence[Router]) -> str:
    columns = {
        "Router": [each.name for each in routers],
        "Place": [Heading.of(each, "", None).place for each in routers],
        "AS": [str(each.details.get("autonomous_system", "")) for each in routers],
        "IPv4 for tests": [each.sources.get(4, "") for each in routers],
        "IPv6 for tests": [each.sources.get(6, "") for each in routers],
    }
    shown = {name: cells for name, cells in columns.items() if any(cells)}
    if set(shown) == {"Router"}:
        return ""
    head = "".join(f'<th scope="col">{name}</th>' for name in shown)
    rows = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in zip(*shown.values(), strict=True))
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="sites" tabindex="0" role="region" aria-label="Routers">{table}</div>'


def _files(folder: str | None) -> str:
    """Link what is large enough for a test."""
    if folder is None:
        return ""
    with os.scandir(folder) as entries:
        sizes = {
            each.name: each.stat().st_size
            for each in entries
            if not each.name.startswith(".") and each.is_file(follow_symlinks=False)
        }
    large = sorted((size, name) for name, size in sizes.items() if size >= SMALLEST)[:MOST_FILES]
    links = ", ".join(
        f'<a href="testfiles/{quote(name)}" download>{escape(name)}</a> ({size / (1 << 20):.4g} MiB)'
        for size, name in large
    )
    return f"<p>Test files: {links}</p>" if links else ""


def _contact(info: Mapping[str, str]) -> str:
    contact = info.get("contact", "")
    text = html.escape(contact)
    if contact.startswith(("https://", "http://")):
        text = f'<a href="{text}">{text}</a>'
    elif "@" in contact and " " not in contact:
        text = f'<a href="mailto:{text}">{text}</a>'
    return f"<p>Contact: {text}</p>" if text else ""


def _wanted(command: Command) -> str:
    return f" ({WANTED[command.argument].words})" if command.argument in WANTED else ""


def _named(router: Router) -> str:
    return escape(Heading.of(router, "", None).where)


def _field(name: str, label: str, control: str) -> str:
    return f'<p class="field" id="{name}-field"><label for="{name}">{label}</label> {control}</p>'


def _option(value: str, text: str, selected: bool, extra: str = "") -> str:
    mark = " selected" if selected else ""
    return f'<option value="{html.escape(value)}"{extra}{mark}>{text}</option>'


def _on(routers: Iterable[str]) -> str:
    """Return the attribute that tells the script on which routers there is an option."""
    return f' data-routers="{html.escape(" ".join(routers))}"'


def _offered(routers: Iterable[Router]) -> Iterator[tuple[Command, tuple[str, ...]]]:
    """Yield the commands of all routers, each with the names of those that have it."""
    found: dict[str, tuple[Command, list[str]]] = {}
    for router in routers:
        for command in router.commands.values():
            found.setdefault(command.name, (command, []))[1].append(router.name)
    return ((command, tuple(names)) for command, names in found.values())


def _command_option(command: Command, names: Iterable[str], selected: bool) -> str:
    takes = " ".join(kind for kind, arguments in TAKES.items() if command.argument in arguments)
    data = {"argument": command.argument, "takes": takes, "description": command.description}
    if wanted := WANTED.get(command.argument):
        data |= {"wanted": wanted.words, "example": wanted.example}
    if command.wants("VRF"):
        data["vrf"] = "1"
    extra = "".join(f' data-{key}="{escape(value, LONGEST)}"' for key, value in data.items())
    return _option(command.name, command.name, selected, extra + _on(names))
