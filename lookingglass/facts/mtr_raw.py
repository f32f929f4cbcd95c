"""Raw lines of mtr in, as they come; facts out at any time, and the report that mtr would have printed.

Raw lines are for programs: what people are shown is the report. Reading goes on where it has ended, so that
facts cost the same in the first round and in the last.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping

from lookingglass.facts.common import Facts, is_address, named_host

# "x hop sequence" sent, "p hop µs sequence" answered, "h hop address", "d hop name", "m hop label tc s ttl";
# newer versions may have more.
LINE = re.compile(r"([a-z]) ([0-9]{1,3}) (\S{1,255})(?: (\S{1,255}))?((?: \S{1,20}){0,4})\s?", re.ASCII)
TIME = re.compile(r"[0-9]{1,12}")  # µs
MOST = 128  # addresses that mtr keeps of a hop
LABELS = 8  # that mtr keeps of an address
COLUMNS = ("last", "avg", "best", "worst", "stdev")
TITLES = " Loss%   Snt   Last   Avg  Best  Wrst StDev"


class Rounds:
    """What raw lines have told so far."""

    def __init__(self, text: str = "") -> None:
        self._hops: dict[int, Probes] = {}
        self.feed(text)

    @property
    def is_empty(self) -> bool:
        """Tell whether there was no raw line."""
        return not self._hops

    def feed(self, text: str) -> None:
        """Read whole lines that have come; what is no raw line is passed over."""
        for line in text.split("\n"):
            match = LINE.fullmatch(line)
            if match and match[1] in "xphdm":
                kind, hop, value, more, rest = match.groups()
                self._hops.setdefault(int(hop), Probes()).take(kind, value, more, rest)

    def facts(self, complete: bool) -> Facts:
        """Return the facts of ``mtr.read``; without ``complete`` nothing that more lines could contradict."""
        sent = {number: probes.told(complete) for number, probes in self._hops.items()}
        hops = [
            _facts(number, self._hops[number], sent[number], complete)
            for number in _path(self._hops, sent, complete)
        ]
        return {"hops": hops} if hops else {}

    def report(self, host: str, began: float, complete: bool) -> str:
        """Return what ``mtr --report-wide --show-ips`` prints.

        ``host`` is where it ran, ``began`` when, in seconds since the epoch.
        """
        hops = self.facts(complete).get("hops", [])
        names = [_name(hop) for hop in hops]
        width = max(map(len, [host, *names]))
        start = time.strftime("%Y-%m-%dT%H:%M:%S+0000", time.gmtime(began))
        lines = [f"Start: {start}", f"HOST: {host:{width}}{TITLES}"]
        for hop, name in zip(hops, names, strict=True):
            lines.append(f" {hop['hop']:2}.|-- {name:{width}}{_numbers(hop)}")
            lines += self._below(hop)
        return "\n".join([*lines, ""])

    def _below(self, hop: Facts) -> Iterator[str]:
        """Yield the lines below a hop: its labels, and what else has answered there."""
        labels = self._hops[hop["hop"] - 1].labels
        first, *others = hop.get("addresses") or [hop]
        yield from (f"    |   +-- {label}" for label in labels.get(first.get("address"), ()))
        for number, each in enumerate(others):
            yield f"    |  {' ' if number else '`'}|-- {each['address']}"
            yield from (f"    |   +-- {label}" for label in labels.get(each["address"], ()))


class Probes:
    """What raw lines told of one hop."""

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0
        self.names: dict[str, str | None] = {}  # of each address, in the order in which they answered
        self.labels: dict[str | None, list[str]] = {}  # of each address
        self._is_under_way = False  # the last probe is not answered yet
        self._last = self._best = self._worst = self._sum = self._squares = 0  # µs
        self._sequence: str | None = None  # of the last probe
        self._address = ""  # of the last "h" line
        self._is_fresh = False  # that line was the last one of the hop
        self._is_doubled = False  # mtr 0.95 tells a new address twice, and any change of address once

    def take(self, kind: str, value: str, more: str | None, rest: str) -> None:
        """Take a line of this hop."""
        if kind == "x":
            self.sent += 1
            self._is_under_way, self._sequence = True, value
        elif kind == "p" and TIME.fullmatch(value):
            self._answered(int(value))
            if more in (self._sequence, None):  # not of a probe before, which came late
                self._is_under_way = False
        elif kind == "h" and is_address(value):
            self._is_doubled = self._is_doubled or value == self._address
            if len(self.names) < MOST:
                self.names.setdefault(value, None)
            self._address = value
            self.labels.pop(value, None)
        elif kind == "d" and more is None and (owner := self._owner()) and not self.names[owner]:
            self.names[owner] = named_host(value, owner).get("name")
        elif kind == "m":
            self._label([value, more, *rest.split()])
        self._is_fresh = kind == "h" or (kind in "dm" and self._is_fresh)

    def told(self, complete: bool) -> int:
        """Return how many probes were sent whose answers are known, or known to be missing."""
        return self.sent - (self._is_under_way and not complete)

    def addresses(self) -> list[str]:
        """Return those that answered, in the order in which they did."""
        return list(self.names)

    def times(self) -> Facts:
        """Return last, avg, best, worst and stdev in ms; nothing where nobody has answered."""
        count = self.received
        if not count:
            return {}
        spread = math.sqrt((count * self._squares - self._sum**2) / (count * max(1, count - 1)))
        values = (self._last, self._sum / count, self._best, self._worst, spread)
        return {name: round(value / 1000, 3) for name, value in zip(COLUMNS, values, strict=True)}

    def _answered(self, microseconds: int) -> None:
        self._best = min(self._best, microseconds) if self.received else microseconds
        self._worst = max(self._worst, microseconds)
        self._last = microseconds
        self._sum += microseconds
        self._squares += microseconds**2
        self.received += 1

    def _label(self, numbers: list[str | None]) -> None:
        """Take an MPLS label of the address that was told last."""
        labels = self.labels.setdefault(self._address, [])
        if len(numbers) == 4 and self._address in self.names and len(labels) < LABELS:
            label, traffic_class, bottom, ttl = numbers
            labels.append(f"[MPLS: Lbl {label} TC {traffic_class} S {bottom} TTL {ttl}]")

    def _owner(self) -> str | None:
        """Return the address for which a name was looked up, as far as it is known.

        mtr 0.95 looks up who answered last, older ones who answered first.
        """
        first = next(iter(self.names), None)
        if len(self.names) < 2 or self._is_doubled:
            return self._address if self._address in self.names else first
        if self._is_fresh:
            return self._address if first and self.names[first] else None
        return first


def _path(hops: Mapping[int, Probes], sent: Mapping[int, int], complete: bool) -> Iterator[int]:
    """Yield the hops up to the target, which answers for all beyond it, or to the first silent one."""
    last = max((number for number, probes in hops.items() if probes.names), default=None)
    end = min(hops, default=0) if last is None else _target(hops, sent, last)
    if end == last and last + 1 in hops and sent[last + 1] >= sent[last] > 0:
        end = last + 1  # probed as often, and nobody answers there
    for number in sorted(hops):
        is_told = bool(sent[number] or hops[number].received)
        if number > end or not (is_told or complete):  # an answer to come may end the path before it
            return
        if is_told:
            yield number


def _target(hops: Mapping[int, Probes], sent: Mapping[int, int], last: int) -> int:
    """Return where the unbroken run of the last hop's address begins."""
    begin, silent = last, 0
    target = hops[last].addresses()
    for number in range(last - 1, -1, -1):
        probes = hops.get(number)
        if probes and not probes.names:  # beyond the target, which is probed more often, or on the way to it
            silent = max(silent, sent[number])
        elif (
            probes
            and probes.addresses() == target
            and len(target) == 1
            and (not silent or sent[number] > silent)
        ):
            begin = number
        else:
            break
    return begin


def _facts(number: int, probes: Probes, sent: int, complete: bool) -> Facts:
    known = [
        {"address": address, "name": name} if complete or name else {"address": address}
        for address, name in probes.names.items()
    ]
    nothing: Facts = {"address": None, "name": None} if complete else {}
    found: Facts = {"hop": number + 1, **(known[0] if known else nothing)}
    if len(known) > 1:
        found["addresses"] = known
    if sent:  # mtr 0.85 does not tell
        received = min(probes.received, sent)
        found.update(loss=round(100 * (sent - received) / sent, 2), sent=sent)
    return found | probes.times()


def _name(hop: Facts) -> str:
    address, name = hop.get("address"), hop.get("name")
    return f"{name} ({address})" if name else address or "???"


def _numbers(hop: Facts) -> str:
    """Return the columns of TITLES; what is not known is a dash, but zero where nothing was answered."""
    loss, sent = hop.get("loss"), hop.get("sent")
    share = "     -" if loss is None else " 100.0" if loss == 100 else f" {loss:4.1f}%"
    times = "".join(f" {hop.get(name, 0):5.1f}" for name in COLUMNS)
    return f"{share} {'-' if sent is None else sent:>5} {times}"
