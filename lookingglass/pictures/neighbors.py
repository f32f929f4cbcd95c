"""Facts of BGP neighbors in, a table out, the ones that are down first."""

from __future__ import annotations

from typing import NamedTuple

from lookingglass.facts.common import Facts
from lookingglass.pictures import values
from lookingglass.pictures.markup import UNKNOWN, Cell, escape, name, plain, table

MOST = 200  # rows that are drawn

UP = ("Established", "up")
# RFC 4271 section 8.2.2, and what BIRD and FRR say beside it
STATES = {
    "Established": "up",
    "up": "up",
    "Idle": "down, does not try",
    "Idle (Admin)": "down, switched off",
    "Idle (PfxCt)": "down, it sent too many prefixes",
    "Connect": "down, connecting",
    "Active": "down, tries to connect",
    "OpenSent": "down, opening the session",
    "OpenConfirm": "down, opening the session",
    "Passive": "down, waits for a call",
    "start": "down, starting",
    "stop": "down, stopping",
    "flush": "down, stopping",
    "Close": "down, stopping",
    "Clearing": "down, stopping",
    "Deleted": "down, stopping",
    "Down": "down",
    "down": "down",
}


class Neighbor(NamedTuple):
    """Say what is known of a neighbor; "" and None: nothing."""

    name: str
    address: str
    asn: int | None
    state: str
    since: str
    received: int | None

    @property
    def is_up(self) -> bool:
        """Tell whether there is a session."""
        return self.state in UP

    @property
    def in_words(self) -> str:
        """Return the state as people say it."""
        return STATES.get(self.state, self.state or "not known")


def read(facts: Facts) -> list[Neighbor]:
    """Return the neighbors, those that are down first."""
    rows = values.rows(facts.get("neighbors"))
    known = [
        Neighbor(
            values.text(row.get("name")),
            values.text(row.get("address")),
            values.whole(row.get("asn")),
            values.text(row.get("state")),
            values.text(row.get("since")),
            values.whole(row.get("received")),
        )
        for row in rows
    ]
    return sorted(known, key=lambda neighbor: neighbor.is_up)


def picture(neighbors: list[Neighbor]) -> str:
    """Return the table."""
    if not neighbors:
        return ""
    heads = [
        Cell("Neighbor", "router"),
        Cell("AS", "asn"),
        Cell("State", "standing"),
        Cell("Since", "since"),
        Cell("Received", "count"),
    ]
    rows = [_row(each) for each in neighbors[:MOST]]
    known = [number for number in range(len(heads)) if any(row[number].markup != UNKNOWN for row in rows)]
    shown = ([row[number] for number in known] for row in rows)
    drawn = table("neighbors", "BGP neighbors", [heads[number] for number in known], shown)
    more = len(neighbors) - MOST
    return f'{drawn}<p class="more">{more} more neighbors are in the text.</p>' if more > 0 else drawn


def _row(neighbor: Neighbor) -> list[Cell]:
    mark, kind = ("✓", "") if neighbor.is_up else ("✗", " bad")
    mark = f'<span aria-hidden="true">{mark}</span>'
    original = (
        "" if neighbor.in_words == neighbor.state.lower() else f" <small>{escape(neighbor.state)}</small>"
    )
    return [
        Cell(_who(neighbor), "router"),
        Cell(f"AS{neighbor.asn}" if neighbor.asn else UNKNOWN, "asn"),
        Cell(f"{mark} {escape(neighbor.in_words)}{original}", f"standing{kind}"),
        Cell(escape(neighbor.since) or UNKNOWN, "since", "since"),
        Cell(UNKNOWN if neighbor.received is None else str(neighbor.received), "count", "received"),
    ]


def _who(neighbor: Neighbor) -> str:
    if not neighbor.name:
        return f"<span>{escape(neighbor.address) or UNKNOWN}</span>"
    return f"<span>{name(neighbor.name)}</span> <small>{escape(neighbor.address)}</small>"


def words_of(neighbors: list[Neighbor]) -> str:
    """Return the table as text."""
    lines = []
    for each in neighbors[:MOST]:
        who = " ".join(
            filter(None, (plain(each.name), plain(each.address), f"AS{each.asn}" if each.asn else ""))
        )
        since = f", since {plain(each.since)}" if each.since else ""
        received = "" if each.received is None else f", {each.received} received"
        lines.append(f"{who or '?'}: {plain(each.in_words)}{since}{received}")
    if len(neighbors) > MOST:
        lines.append(f"{len(neighbors) - MOST} more neighbors")
    return "\n".join(lines)
