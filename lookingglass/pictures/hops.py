"""Facts of traceroute and mtr in, a table with ranges on one axis out."""

from __future__ import annotations

import itertools
import re
import statistics
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lookingglass.facts.common import Facts
from lookingglass.pictures import values
from lookingglass.pictures.axis import Span, ms, percent, range_head, range_mark, round_above, tick
from lookingglass.pictures.markup import UNKNOWN, Cell, escape, host_name, plain, table, unseen

MOST = 64  # rows that are drawn
MOST_HOSTS = 8  # of a hop
OUTLIER = 2  # times the largest average, above which a whisker would flatten all others

# traceroute(8): notes behind a time. IOS has !A, !U, !Q and !T.
NOTES = {
    "!": "its answer had a TTL of 1",
    "!H": "host unreachable",
    "!N": "network unreachable",
    "!P": "protocol unreachable",
    "!S": "source route failed",
    "!F": "fragmentation needed",
    "!X": "prohibited by the administrator",
    "!A": "prohibited by the administrator",
    "!V": "host precedence violated",
    "!C": "precedence cut off",
    "!U": "port unreachable",
    "!Q": "asks to send less",
    "!T": "unreachable for this type of service",
}
FRAGMENT = re.compile(r"!F-([0-9]{1,5})")
CODE = re.compile(r"!<?([0-9]{1,3})>?")


class Host(NamedTuple):
    """Name a router that answered."""

    address: str
    name: str
    asn: int | None


class Hop(NamedTuple):
    """Say what is known of a hop."""

    number: int
    hosts: list[Host]
    notes: list[str]  # as printed
    probes: int | None
    loss: float | None  # percent
    best: float | None  # ms, as the next ones
    avg: float | None
    worst: float | None
    dots: tuple[float, ...]
    is_traced: bool  # each dot is a probe; else the average

    @property
    def is_silent(self) -> bool:
        """Tell whether nobody has answered."""
        return not self.hosts and self.avg is None and not self.notes


def read(facts: Facts) -> list[Hop]:
    """Return the hops, of whichever tool."""
    found = []
    for place, row in enumerate(values.rows(facts.get("hops")), 1):
        number = values.whole(row.get("hop"))
        number = place if number is None else number
        found.append(
            _traced(number, row["probes"]) if isinstance(row.get("probes"), list) else _reported(number, row)
        )
    return found


def _traced(number: int, probes: list[object]) -> Hop:
    answers = [probe for probe in probes if isinstance(probe, dict) and probe]
    rtts = [rtt for answer in answers if (rtt := values.number(answer.get("rtt"))) is not None]
    notes = [note for answer in answers if (note := values.text(answer.get("note")))]
    return Hop(
        number,
        _hosts(answers),
        list(dict.fromkeys(notes)),
        len(probes),
        100 * (len(probes) - len(answers)) / len(probes) if probes else None,
        min(rtts, default=None),
        statistics.fmean(rtts) if rtts else None,
        max(rtts, default=None),
        tuple(rtts),
        True,
    )


def _reported(number: int, row: Facts) -> Hop:
    known = values.rows(row.get("addresses")) or [row]
    loss, avg = values.number(row.get("loss")), values.number(row.get("avg"))
    best, worst = (values.number(row.get(key)) for key in ("best", "worst"))
    dots = () if avg is None else (avg,)
    hosts = _hosts({"asn": row.get("asn") if len(known) == 1 else None, **each} for each in known)
    loss = loss if loss is None else min(loss, 100.0)
    return Hop(number, hosts, [], values.whole(row.get("sent")), loss, best, avg, worst, dots, False)


def _hosts(rows: Iterable[Facts]) -> list[Host]:
    """Return each host once, in the order of their answers."""
    hosts = (
        Host(values.text(row.get("address")), values.text(row.get("name")), values.whole(row.get("asn")))
        for row in rows
    )
    return list(dict.fromkeys(host for host in hosts if host.address or host.name))


def scale_of(facts: Facts) -> float | None:
    """Return the top of the axis (ms): above all but outliers."""
    hops = read(facts)
    worst = max((hop.worst for hop in hops if hop.worst is not None), default=None)
    mean = max((hop.avg for hop in hops if hop.avg is not None), default=worst)
    return None if worst is None or mean is None else round_above(min(worst, OUTLIER * mean))


def steps(hops: list[Hop]) -> list[float | None]:
    """Return by how much (ms) each hop raises the floor: the best of it and of all later ones.

    A router that answers slowly raises nothing, for later ones answer faster.
    """
    floors: list[float | None] = []
    floor = None
    for hop in reversed(hops):
        floor = hop.best if floor is None else floor if hop.best is None else min(floor, hop.best)
        floors.append(None if hop.best is None else floor)
    found: list[float | None] = []
    before = 0.0
    for floor in reversed(floors):
        found.append(None if floor is None else floor - before)
        before = before if floor is None else floor
    return found


def meaning_of_loss(hops: list[Hop], place: int, is_over: bool) -> str:
    """Return "only here", "goes on" or "at the end"; "" where nothing is lost."""
    if not hops[place].loss:
        return ""
    later = [hop.loss for hop in hops[place + 1 :] if hop.loss is not None and not hop.is_silent]
    if not later:
        return "at the end" if is_over else ""
    return "goes on" if min(later) > 0 else "only here"


def in_words(note: str) -> str:
    """Return what a note means; "" if it is not known."""
    if match := FRAGMENT.fullmatch(note):
        return f"fragmentation needed, at most {match[1]} bytes"
    if match := CODE.fullmatch(note):
        return f"unreachable, code {match[1]}"
    return NOTES.get(note, "")


def picture(hops: list[Hop], is_over: bool, top: float | None) -> str:
    """Return the table."""
    if not hops:
        return ""
    single = (is_over or len(hops) > 1) and all(hop.is_traced and (hop.probes or 0) <= 1 for hop in hops)
    scale = top or 1.0
    titles = [
        Cell("Hop", "hop"),
        Cell("Router", "router"),
        *((Cell("RTT", "avg"),) if single else _titles()),
        Cell("Step", "step"),
        Cell(f"{unseen(f'Range on an axis from 0 to {tick(scale)} ms')} {range_head(scale)}", "axis"),
    ]
    drawn = table("hops", "Hops on the way to the target", titles, _rows(hops, is_over, scale, single))
    more = len(hops) - MOST
    return f'{drawn}<p class="more">{more} more hops are in the text.</p>' if more > 0 else drawn


def _titles() -> tuple[Cell, ...]:
    return Cell("Loss", "loss"), Cell("Best", "best"), Cell("Avg", "avg"), Cell("Worst", "worst")


def _rows(hops: list[Hop], is_over: bool, top: float, single: bool) -> Iterator[list[Cell] | str]:
    grown = steps(hops)
    raised = [step for step in grown if step is not None]
    largest = grown.index(max(raised)) if len(raised) > 1 else -1
    for place, hop in _folded(hops[:MOST]):
        if isinstance(hop, str):
            yield hop
            continue
        loss = meaning_of_loss(hops, place, is_over)
        yield [
            Cell(str(hop.number), "hop"),
            Cell(_router(hop), "router"),
            *((Cell(_ms(hop.avg), "avg"),) if single else _numbers(hop, loss)),
            Cell(_step(grown[place], place == largest), "step"),
            Cell(range_mark(_span(hop), top), "axis"),
        ]


def _folded(hops: list[Hop]) -> Iterator[tuple[int, Hop | str]]:
    """Yield each hop with its place, and for a run of those that did not answer the words for it."""
    for is_silent, group in itertools.groupby(enumerate(hops), lambda pair: pair[1].is_silent):
        run = [*group]
        if not is_silent:
            yield from run
            continue
        (place, first), (_, last) = run[0], run[-1]
        several = f" to {last.number}: no answer from {len(run)} hops"
        yield place, f"{first.number}{several if len(run) > 1 else ': no answer'}"


def _router(hop: Hop) -> str:
    lines = []
    for host in hop.hosts[:MOST_HOSTS]:
        asn = f" AS{host.asn}" if host.asn else ""
        if host.name:
            lines.append(f"<span>{host_name(host.name)}</span> <small>{escape(host.address)}{asn}</small>")
        else:
            lines.append(
                f"<span>{escape(host.address)}</span>{f' <small>{asn.strip()}</small>' if asn else ''}"
            )
    if more := hop.hosts[MOST_HOSTS:]:
        lines.append(f"<small>and {len(more)} more</small>")
    lines += [
        f'<strong class="bad">{escape(note)} {in_words(note)}</strong>' for note in hop.notes[:MOST_HOSTS]
    ]
    return "".join(f"<div>{line}</div>" for line in lines) or UNKNOWN


def _numbers(hop: Hop, meaning: str) -> tuple[Cell, ...]:
    loss = UNKNOWN if hop.loss is None else percent(hop.loss, 100)
    if meaning:
        loss = f"{loss} <small>{meaning}</small>"
    kind = {"": " none", "only here": ""}.get(meaning, " bad")
    times = ((hop.best, "best"), (hop.avg, "avg"), (hop.worst, "worst"))
    return Cell(loss, f"loss{kind}"), *(Cell(_ms(value), key) for value, key in times)


def _ms(value: float | None) -> str:
    return UNKNOWN if value is None else ms(value)


def _step(step: float | None, is_largest: bool) -> str:
    if step is None:
        return UNKNOWN
    return f"<b>+{ms(step)} <small>largest</small></b>" if is_largest else f"+{ms(step)}"


def _span(hop: Hop) -> Span | None:
    if not hop.dots:
        return None
    low, high = hop.best, hop.worst
    if hop.is_traced or low is None or high is None:
        return Span(0.0, 0.0, hop.dots)
    return Span(low, high, hop.dots)


def words_of(hops: list[Hop], is_over: bool) -> str:
    """Return the table as text."""
    lines = []
    grown = steps(hops)
    for place, hop in _folded(hops[:MOST]):
        if isinstance(hop, str):
            lines.append(hop)
            continue
        meaning = meaning_of_loss(hops, place, is_over)
        hosts = ", ".join(_host(host) for host in hop.hosts[:MOST_HOSTS]) or "?"
        is_counted = hop.loss is not None and not (hop.is_traced and hop.probes == 1)
        loss = f", {percent(hop.loss or 0, 100)} lost{f' {meaning}' if meaning else ''}" if is_counted else ""
        known = [ms(value) for value in (hop.best, hop.avg, hop.worst) if value is not None]
        times = f", {'/'.join(dict.fromkeys(known))} ms" if known else ""
        step = grown[place]
        rise = "" if step is None else f", +{ms(step)}"
        notes = "".join(f", {plain(note)} {in_words(note)}" for note in hop.notes[:MOST_HOSTS])
        lines.append(f"{hop.number}: {hosts}{loss}{times}{rise}{notes}")
    if len(hops) > MOST:
        lines.append(f"{len(hops) - MOST} more hops")
    return "\n".join(lines)


def _host(host: Host) -> str:
    shown = (
        f"{plain(host.name)} ({plain(host.address)})"
        if host.name and host.address
        else plain(host.name or host.address)
    )
    return f"{shown} AS{host.asn}" if host.asn else shown
