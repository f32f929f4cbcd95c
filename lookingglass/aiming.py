"""A visitor's target in, the literal address that a command gets out: resolved once and judged."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import NamedTuple

from commands import Command
from lookingglass import targets
from lookingglass.names import LookUp, NoAddress, Resolver
from lookingglass.visitors import Visitor
from rfc8522 import ProtocolError

NOT_RESOLVED = {"asn", "community", "large"}  # kinds of targets without an address


class Aim(NamedTuple):
    """Say what a command is aimed at, after a name was resolved and judged."""

    family: int  # 4 or 6
    text: str = ""  # for {{TARGET}}: the literal address, never a name
    target: targets.Target | None = None  # what the visitor has named
    network: targets.Network | None = None  # where packets would go

    @property
    def kind(self) -> str:
        """Return the kind of target that the visitor has named, "" when none."""
        return self.target.kind if self.target else ""

    @property
    def address(self) -> str | None:
        """Return what a name was resolved to; None: the visitor has named no name."""
        return self.text if self.kind == "name" else None


class Aimer:
    """Turn a visitor's target into an Aim, by what this looking glass is capable of and denies."""

    def __init__(self, families: Sequence[int], deny: targets.DenyTable, resolver: Resolver) -> None:
        self._families = families
        self._deny = deny
        self._resolver = resolver

    def families(self, command: Command, target: targets.Target | None, protocol: int | None) -> list[int]:
        """Return the IP versions that can be used, the preferred one first.

        Raises Problem when the command or this looking glass does not offer the one asked for.
        """
        wanted = protocol
        if target is not None and target.family is not None:
            if protocol not in {None, target.family}:
                raise ProtocolError(f"The target is IPv{target.family}, but protocol means IPv{protocol}.")
            wanted = target.family
        offered = [family for family in command.families() if family in self._families]
        if wanted is None and offered:
            return offered
        if wanted in offered:
            return [wanted]
        raise ProtocolError(f"This command is not offered for IPv{wanted or command.families()[0]}.")

    def look_up(self, target: targets.Target | None, visitor: Visitor) -> LookUp | None:
        """Have a name looked up; None: the target is none. Raises Problem, when nothing is looked up."""
        if target is None or target.kind != "name":
            return None
        return self._resolver.ask(target.text, visitor.key, visitor.network)

    def aim(
        self,
        command: Command,
        target: targets.Target | None,
        families: Sequence[int],
        found: Sequence[targets.Address] = (),
    ) -> Aim:
        """Judge every address, of a name those that were ``found``, and choose one; raises Problem.

        ``families`` are what the method of that name has returned.
        """
        if target is None or target.kind in NOT_RESOLVED:
            return Aim(families[0], target.text if target else "", target)
        if target.family is None:
            addresses = found
            networks = [ipaddress.ip_network(each) for each in addresses]
        else:
            networks = [ipaddress.ip_network(target.text)]
            addresses = [networks[0].network_address]
        usable = [address for family in families for address in addresses if address.version == family]
        is_denied = command.probes and any(map(self._deny.denies_some, networks))
        if target.family is None and (is_denied or not usable):
            raise NoAddress
        if is_denied:
            raise ProtocolError("Targets in this network are not allowed.")
        text = target.text if target.kind == "prefix" else str(usable[0])
        return Aim(usable[0].version, text, target, targets.network_of(usable[0]) if command.probes else None)
