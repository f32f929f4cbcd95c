"""Two paths of traceroute or mtr, hop by hop."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable
from typing import NamedTuple

from lookingglass.alignment import (
    MATTERS,
    NOTABLE,
    SAME,
    Differences,
    Setting,
    SideCell,
    SideRow,
    align,
    difference,
    is_more,
    listed,
    only_in,
    saying,
    sentence_of,
)
from lookingglass.facts.common import Facts
from lookingglass.pictures.values import address
from lookingglass.problems import counted

# How well two hops go together: an address in common, both silent, or one of them silent in this place.
COMMON, BOTH_SILENT, ONE_SILENT = 10_000, 10, 1


class TracedHop(NamedTuple):
    """Hold one hop, of either tool."""

    number: int
    hosts: dict[str, str]  # address -> name, or the address again
    loss: float | None  # percent; traceroute tells none
    avg: float | None  # ms
    is_refused: bool = False  # "!H" and the like

    @property
    def name(self) -> str:
        """Return what it is called: several names where several routers answer."""
        return listed(self.hosts.values(), ", ")

    def cell(self) -> SideCell:
        """Return what stands in its row."""
        if not self.hosts:
            return SideCell(f"{self.number} no answer", "", {"hop": self.number})
        figures = [f"{self.loss:.0f} %"] if self.loss is not None else []
        figures += [f"{self.avg:.1f} ms"] if self.avg is not None else []
        facts = {"hop": self.number, "addresses": [*self.hosts], "loss": self.loss, "avg": self.avg}
        return SideCell(f"{self.number} {self.name}", " ".join(figures), facts)


class Pair(NamedTuple):
    """Hold two hops that go together, or one of them alone."""

    a: TracedHop | None
    b: TracedHop | None

    @property
    def is_common(self) -> bool:
        """Tell whether both are the same router."""
        return bool(self.a and self.b and self.a.hosts.keys() & self.b.hosts.keys())

    @property
    def differs(self) -> bool:
        """Tell whether one side has a hop that the other one lacks."""
        return self.a is None or self.b is None


class Side(NamedTuple):
    """Hold the path of one answer."""

    hops: list[TracedHop]  # without the silent ones at the end
    is_reached: bool

    @property
    def end(self) -> TracedHop | None:
        """Return the target's hop."""
        return self.hops[-1] if self.is_reached else None


def compare(a: Facts, b: Facts, setting: Setting) -> Differences:
    """Compare the paths of two answers."""
    sides = _side(a), _side(b)
    one, other = sides
    if not one.hops or not other.hops:
        return Differences(_without(a, b, sides), not one.hops and not other.hops, _rows(_pairs(*sides)))
    pairs = _pairs(*sides)
    path = _path(pairs, sides, setting)
    is_same = path.startswith("same path")
    end = _end(pairs, sides, is_same)
    if one.end and other.end and setting.same_target and not end:
        end = "same times" if is_same else "same time at the end"
    has_changed = one.is_reached != other.is_reached or path != "same path" or end not in {"", "same times"}
    if path == "same path" and end == "same times":
        path, end = "same path, same times", ""
    reached = _reached(sides, setting)
    sentence = sentence_of(reached, "" if reached and is_same else path, end)
    figures = "loss, avg" if any(hop.loss is not None for hop in one.hops + other.hops) else "avg"
    return Differences(sentence, not has_changed, _rows(pairs), figures)


def read(data: Facts) -> list[TracedHop]:
    """Return the hops of an answer's facts."""
    hops = []
    for number, hop in enumerate(data.get("hops") or (), 1):
        probes = [each for each in hop.get("probes") or () if each]
        answered = [*probes, hop, *(hop.get("addresses") or ())]
        hosts = {
            each["address"]: each.get("name") or each["address"] for each in answered if each.get("address")
        }
        times = [each["rtt"] for each in probes if each.get("rtt") is not None]
        avg = statistics.fmean(times) if times else hop.get("avg")
        is_refused = any(str(each.get("note") or "").startswith("!") for each in probes)
        hops.append(TracedHop(hop.get("hop") or number, hosts, hop.get("loss"), avg, is_refused))
    return hops


def _side(data: Facts) -> Side:
    hops = read(data)
    while hops and not hops[-1].hosts:
        hops.pop()
    wanted = address(data.get("address") or data.get("target"))
    if not hops or hops[-1].is_refused:
        return Side(hops, False)
    return Side(hops, not wanted or wanted in map(address, hops[-1].hosts))


def _pairs(one: Side, other: Side) -> list[Pair]:
    return [Pair(a, b) for a, b in align(one.hops, other.hops, _weight)]


def _weight(a: TracedHop, b: TracedHop) -> int:
    if a.hosts and b.hosts:
        return COMMON if a.hosts.keys() & b.hosts.keys() else 0
    return ONE_SILENT if a.hosts or b.hosts else BOTH_SILENT


# --- the sentence


def _without(a: Facts, b: Facts, sides: tuple[Side, Side]) -> str:
    """Say what there is to say when a side has no hop that answers."""
    lacking = [(name, data) for name, data, side in zip("AB", (a, b), sides, strict=True) if not side.hops]
    if len(lacking) == 2:
        return "No hop answers, neither in A nor in B"
    name, data = lacking[0]
    return sentence_of(f"no hop answers in {name}", saying(data) if not data.get("hops") else "")


def _reached(sides: tuple[Side, Side], setting: Setting) -> str:
    """Say which side reaches the target, if not both do."""
    one, other = sides
    if one.is_reached and other.is_reached:
        return ""
    if not one.is_reached and not other.is_reached:
        return "the target answers neither in A nor in B"
    name, lost = ("B", other) if one.is_reached else ("A", one)
    last = f"hop {lost.hops[-1].number}, {lost.hops[-1].name}, is the last that answers"
    if setting.is_now and name == "B":
        return f"the target no longer answers; {last}"
    if setting.is_now:
        return "the target answers again"
    if setting.same_target:
        return f"only {'A' if name == 'B' else 'B'} reaches the target; in {name}, {last}"
    return f"the target of {name} does not answer; {last}"


def _path(pairs: list[Pair], sides: tuple[Side, Side], setting: Setting) -> str:
    """Say how the paths differ; of another router or target, what they have in common."""
    if setting.same_router and setting.same_target:
        return _changes(_up_to_silence(pairs, sides))
    hops = f"{len(sides[0].hops)} and {len(sides[1].hops)} hops"
    common = [pair for pair in pairs if pair.is_common]
    if len(common) == len(pairs):
        return "same path"
    if common and setting.same_target:
        joint = [*itertools.takewhile(lambda pair: pair.is_common, reversed(pairs))]
        if len(joint) == 1 == len(common):
            return f"only the last hop is in common; {hops}"
        if joint and (a := joint[-1].a) and (b := joint[-1].b):
            return f"the paths meet at hop {a.number} of A and {b.number} of B, {b.name}"
    elif common and setting.same_router:
        joint = [*itertools.takewhile(lambda pair: not pair.differs, pairs)]
        if joint:
            first = "first hop" if len(joint) == 1 else f"first {len(joint)} hops"
            return f"same {first}, then the paths part; {hops}"
    return f"{counted(len(common), 'hop') if common else 'no hop'} in common; {hops}"


def _up_to_silence(pairs: list[Pair], sides: tuple[Side, Side]) -> list[Pair]:
    """Leave out what follows the last hop that answers of a side that does not reach the target."""
    one, other = sides
    if one.is_reached == other.is_reached:
        return pairs
    lost, won = (0, 1) if other.is_reached else (1, 0)
    last = sides[lost].hops[-1].number
    return [pair for pair in pairs if pair[lost] or ((hop := pair[won]) and hop.number <= last)]


def _changes(pairs: list[Pair]) -> str:
    """Say how many hops differ, and from where on."""
    gaps = [[*group] for differs, group in itertools.groupby(pairs, key=lambda pair: pair.differs) if differs]
    if not gaps:
        silent = [pair for pair in pairs if pair.a and pair.b and bool(pair.a.hosts) != bool(pair.b.hosts)]
        return f"same path{_silent(silent)}"
    sizes = [(sum(pair.b is None for pair in gap), sum(pair.a is None for pair in gap)) for gap in gaps]
    less, more = (sum(each) for each in zip(*sizes, strict=True))
    first = gaps[0][0]
    number = (first.a or first.b or TracedHop(0, {}, None, None)).number
    where = f"{'at' if less + more == 1 else 'from'} hop {number}"
    if not less or not more:
        return f"{counted(less or more, 'hop')} {'more' if more else 'fewer'}, {where}"
    count = sum(max(size) for size in sizes)
    whole = max(sum(pair.a is not None for pair in pairs), sum(pair.b is not None for pair in pairs))
    differ = "differs" if count == 1 else "differ"
    balance = f", {counted(abs(more - less), 'hop')} {'more' if more > less else 'fewer'}"
    return f"{count} of {counted(whole, 'hop')} {differ}, from hop {number}{balance if more != less else ''}"


def _silent(pairs: list[Pair]) -> str:
    """Say which hops of a common path answer on one side only."""
    if not pairs:
        return ""
    if len(pairs) > 1:
        return f", but {len(pairs)} hops answer on one side only"
    pair = pairs[0]
    hop, name = (pair.b, "A") if pair.b and pair.b.hosts else (pair.a, "B")
    return f", but hop {hop.number if hop else 0} does not answer in {name}"


def _end(pairs: list[Pair], sides: tuple[Side, Side], is_same: bool) -> str:
    """Say what has changed at the target, if it matters."""
    a, b = sides[0].end, sides[1].end
    if a is None or b is None:
        return ""
    parts = []
    if a.avg is not None and b.avg is not None and is_more(MATTERS, a.avg, b.avg):
        parts.append(f"{difference(a.avg, b.avg)} ms")
    if a.loss is not None and b.loss is not None and round(a.loss) != round(b.loss):
        parts.append(f"loss {a.loss:.0f} → {b.loss:.0f} %")
    if not parts:
        return ""
    slower = [*itertools.takewhile(_is_changed, (each for each in reversed(pairs) if not _is_silent(each)))]
    start = slower[-1].b if is_same and len(slower) > 1 else None
    return f"{' and '.join(parts)} at the end{f', from hop {start.number} on' if start else ''}"


def _is_silent(pair: Pair) -> bool:
    return not pair.differs and not pair.is_common


def _is_changed(pair: Pair) -> bool:
    return bool(pair.a and pair.b and is_more(MATTERS, pair.a.avg, pair.b.avg))


# --- the rows


def _rows(pairs: Iterable[Pair]) -> list[SideRow]:
    return [
        SideRow("", pair.a.cell() if pair.a else None, pair.b.cell() if pair.b else None, *_change(pair))
        for pair in pairs
    ]


def _change(pair: Pair) -> tuple[str, bool]:
    """Return what the middle column says of two hops, and whether it matters."""
    a, b = pair
    if a is None or b is None:
        return only_in(a, b), False
    if bool(a.hosts) != bool(b.hosts):
        return f"silent in {'B' if a.hosts else 'A'}", False
    if a.avg is not None and b.avg is not None and is_more(NOTABLE, a.avg, b.avg):
        return f"{difference(a.avg, b.avg)} ms", is_more(MATTERS, a.avg, b.avg)
    return SAME, False
