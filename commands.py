"""The whitelist as data: routers, commands, argv templates."""

from __future__ import annotations

import functools
import ipaddress
import re
import shlex
import subprocess
from collections.abc import Mapping
from typing import Any, NamedTuple

TEXT = "text/plain"
JSON = "application/json"
EVENTS = "text/event-stream"
SVG = "image/svg+xml"

PARTS = ("NETWORK", "LENGTH", "MASK")  # of a prefix, which some routers want in two words
PLACEHOLDERS = ("TARGET", "SOURCE", "VRF", *PARTS)
PLACEHOLDER = re.compile(rf"\{{\{{({'|'.join(PLACEHOLDERS)})\}}\}}")

# Exit statuses of what leads to a router, which are not the command's: of ssh (255), and of a shell there.
# ssh also says 255 where a network operating system has answered and told no status (RFC 4254 section 6.10).
NO_STATUS = 255
REMOTE_FAILURES = {
    NO_STATUS: "The router could not be reached.",
    127: "The router has no program for this command.",
    126: "The router has no program for this command.",
}


@functools.lru_cache(4096)
def placeholders_of(argv: tuple[str, ...]) -> frozenset[str]:
    """Return the names of the placeholders in an argv."""
    return frozenset(name for element in argv for name in PLACEHOLDER.findall(element))


class Template(NamedTuple):
    """Hold one argv with its PLACEHOLDERS, such as ``{{TARGET}}``."""

    argv: tuple[str, ...]
    stderr: bool = True  # the output includes standard error
    skip: int = 0  # lines left out at the beginning of the output

    def wants(self, *names: str) -> bool:
        """Tell whether it has one of some placeholders."""
        return not placeholders_of(self.argv).isdisjoint(names)

    def expand(self, values: Mapping[str, str]) -> tuple[str, ...]:
        """Return the argv with every placeholder replaced, within its own element."""
        if not placeholders_of(self.argv):
            return self.argv
        return tuple(PLACEHOLDER.sub(lambda match: values[match[1]], element) for element in self.argv)


class Command(NamedTuple):
    """Describe one whitelisted command of one router.

    ``templates`` maps a media type (always ``text/plain``, others by the command's ``formats``) to
    templates by configuration key: ``cmd4``, ``cmd6``, ``cmd``; ``prefix4``, ``prefix6`` for a target that
    is a prefix, and ``large4``, ``large6`` for one that is a large community.
    """

    name: str
    description: str
    argument: str  # host, addr, address, asn, community or none
    templates: Mapping[str, Mapping[str, Template]]
    parser: str | None = None
    runtime: float | None = None  # seconds, this command's own ceiling
    probes: bool = True  # it sends packets to its target, rather than looking it up in a table
    weight: int = 1  # tokens of the limit "rate" that it costs
    reuse: float = 0.0  # seconds for which its finished success may answer the same question again

    @property
    def formats(self) -> tuple[str, ...]:
        """Return the media types of RFC 8522's ``format`` that it offers, ``text/plain`` first."""
        parsed = (JSON,) if self.parser else ()
        return tuple(dict.fromkeys((*self.templates, *parsed)))

    def wants(self, name: str) -> bool:
        """Tell whether any of its templates has a placeholder."""
        return any(each.wants(name) for inner in self.templates.values() for each in inner.values())

    def families(self) -> tuple[int, ...]:
        """Return the address families it has a template for."""
        plain = self.templates[TEXT]
        return tuple(family for family in (4, 6) if f"cmd{family}" in plain or "cmd" in plain)

    def template(self, family: int, *, kind: str = "") -> Template:
        """Return the plain template for a family in ``families()`` and a kind of target.

        Raises LookupError when there is none for this kind.
        """
        template = self.template_of(TEXT, family, kind=kind)
        if template is None:
            raise LookupError(f"{self.name} has no argv for IPv{family} and {kind or 'no target'}")
        return template

    def template_of(self, media: str, family: int, *, kind: str = "") -> Template | None:
        """Return what a media type has for an address family and a kind of target; None: nothing."""
        plain, offered = self.templates[TEXT], self.templates.get(media, {})
        own = f"{kind}{family}"
        keys = (own,) if own in plain or own in offered else (f"cmd{family}", "cmd")
        return next((offered[key] for key in keys if key in offered), None)


class Invocation(NamedTuple):
    """Say what to execute on this machine, and what reads it; visitors with equal ones share one Run."""

    argv: tuple[str, ...]
    stderr: int | None = subprocess.STDOUT  # as Popen has it; None: to the log
    skip: int = 0  # lines left out at the beginning of the output
    router: str = ""  # its name, which goes with standard error to the log, and into reports
    parser: str | None = None  # what reads facts from the output
    autonomous_system: int | None = None  # the router's own, for the picture


class Router(NamedTuple):
    """Describe one router: how to reach it, what it offers, and what visitors may know of it."""

    name: str
    number: int  # the RFC's router index, counted from 0
    commands: Mapping[str, Command]
    via: tuple[str, ...] = ()
    remote: str = "shell"  # shell: quote for a POSIX shell; cli: join with spaces
    sources: Mapping[int, str] = {}  # address family (4, 6) -> {{SOURCE}}
    vrfs: tuple[str, ...] = ()
    details: Mapping[str, Any] = {}

    @property
    def autonomous_system(self) -> int | None:
        """Return its AS number, if its details have one."""
        number = self.details.get("autonomous_system")
        return number if isinstance(number, int) else None

    def argv(self, template: Template, family: int, target: str, vrf: str) -> tuple[str, ...]:
        """Return what to execute on this machine to run a template on this router.

        What leads there complains to the operator only (see ``invocation``), so a shell there has to be told
        what to do with the command's standard error.
        """
        values = {"TARGET": target, "SOURCE": self.sources.get(family, ""), "VRF": vrf}
        argv = template.expand({**values, **_parts(target)})
        if not self.via:
            return argv
        if self.remote == "cli":
            return (*self.via, " ".join(argv))
        return (*self.via, f"{shlex.join(argv)} 2>{'&1' if template.stderr else '/dev/null'}")

    def invocation(
        self, template: Template, family: int, target: str, vrf: str, parser: str | None
    ) -> Invocation:
        """Return what to execute; what leads to a router complains in the log only."""
        stderr = None if self.via else subprocess.STDOUT if template.stderr else subprocess.DEVNULL
        argv = self.argv(template, family, target, vrf)
        return Invocation(argv, stderr, template.skip, self.name, parser, self.autonomous_system)

    def succeeded(self, status: int | None, text: str) -> bool:
        """Tell whether a command ran and succeeded, by its exit status (None: not known) and its output."""
        return status == 0 or (self.remote == "cli" and status == NO_STATUS and bool(text.strip()))

    def failure(self, status: int | None) -> str:
        """Return why a command did not reach this router, by the exit status; "": it ran there."""
        return REMOTE_FAILURES.get(status, "") if self.via and status is not None else ""


def _parts(target: str) -> dict[str, str]:
    if "/" not in target:
        return {}
    prefix = ipaddress.ip_network(target)
    values = (prefix.network_address, prefix.prefixlen, prefix.netmask)
    return dict(zip(PARTS, map(str, values), strict=True))
