"""Verdicts on answers: from facts, in words, with a mark."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any, NamedTuple

from lookingglass.facts.common import Facts
from lookingglass.pictures import hops, neighbors, paths, ping, values
from lookingglass.pictures.axis import ms, percent
from lookingglass.pictures.kinds import kind_of
from lookingglass.pictures.markup import plain
from rfc8522 import Envelope

VERDICTS = {
    "good": "✓",
    "lossy": "◐",
    "bad": "✗",
    "waiting": "…",
    "running": "●",
    "stopped": "■",
    "late": "⧗",
    "cut": "✂",
    "lost": "⚡",  # the connection, which the page sees
    "refused": "⏳",
}
BESIDE_LOSS = {"good": "done", "lossy": "done", "late": "time is up", "stopped": "stopped"}
LIMIT = re.compile(r"longer than ([0-9]{1,9}) KiB")  # in the message of an answer that was cut
# What BIRD says before it answers.
BANNER = re.compile(r"BIRD [\w.~+-]{1,40} ready\.|Access restricted|Table [\w-]{1,64}:")
LONGEST_COMPLAINT = 120  # characters
ENDINGS = {1: "st", 2: "nd", 3: "rd"}


class Verdict(NamedTuple):
    """Say how an answer is: a mark, a kind of VERDICTS, and words as text that is not escaped yet."""

    mark: str
    kind: str
    words: str
    spoken: str  # for those who listen


class Summary(NamedTuple):
    """Hold what one line says of probes: to the target, or to the last hop."""

    lost: float | None  # percent
    best: float | None  # ms, as the next ones
    avg: float | None
    worst: float | None


def verdict(kind: str, words: str, spoken: str = "") -> Verdict:
    """Return a verdict of a kind."""
    return Verdict(VERDICTS[kind], kind, words, spoken or words)


def waiting(place: int, seconds: float = math.inf) -> Verdict:
    """Return the verdict on a question in the queue; ``place`` counts from 1, ``seconds`` to its turn."""
    ending = "th" if place % 100 in {11, 12, 13} else ENDINGS.get(place % 10, "th")
    about = f", about {math.ceil(seconds)} s" if seconds < math.inf else ""
    return verdict("waiting", f"waits, {place}{ending} in the queue{about}")


def running(facts: Facts, seconds: float, ceiling: float) -> Verdict:
    """Return the verdict on an answer that goes on: it has run for some seconds of those that it may."""
    return going_on(summary(facts, is_over=False).lost, seconds, ceiling)


def going_on(lost: float | None, seconds: float, ceiling: float) -> Verdict:
    """Return what ``running`` does where it is known how many percent are lost."""
    so_far = f", {percent(lost, 100)} lost" if lost else ""
    return verdict("running", f"running, {seconds:.1f} of {ceiling:.0f} s", f"running{_said(so_far)}")


def of_outcome(status: int, envelope: Envelope) -> Verdict:
    """Return the verdict on an answer: by its facts if it ended by itself, whatever its exit status is."""
    data = dict(values.table(envelope.get("data")))
    message = plain(values.text(envelope.get("message"))).rstrip(".")
    if "output" not in data and "format" not in data:
        if status == 503 and data.get("failure_source") == "visitor":
            return verdict("stopped", "stopped")
        return verdict("refused" if status in {429, 503} else "bad", message or "no answer")
    if data.get("truncated") is True:
        limit = LIMIT.search(message)
        return verdict("cut", f"cut after {limit[1]} KiB" if limit else "cut, for it was too long")
    if status == 504:
        return _with_loss(verdict("late", "time is up"), data)
    if status == 503:
        return _with_loss(verdict("stopped", "stopped"), data)
    return _of_facts(envelope, data, message)


def beside_loss(found: Verdict) -> Verdict:
    """Return a verdict without the loss, for where that stands beside it."""
    return found._replace(words=BESIDE_LOSS.get(found.kind, found.words))


def summary(facts: Facts, is_over: bool = True) -> Summary:
    """Return loss and times to the target, or to the last hop that there is."""
    kind = kind_of(facts)
    if kind == "ping":
        echoes = ping.read(facts, is_over, None)
        lost = 100 * echoes.lost / echoes.sent if echoes.sent and echoes.lost is not None else None
        return Summary(lost, *echoes.times)
    found = hops.read(facts) if kind == "hops" else []
    if not found:
        return Summary(None, None, None, None)
    return Summary(found[-1].loss, found[-1].best, found[-1].avg, found[-1].worst)


def _with_loss(found: Verdict, facts: Facts) -> Verdict:
    lost = summary(facts).lost if kind_of(facts) == "ping" else None
    return found._replace(words=f"{found.words}, {percent(lost, 100)} lost") if lost else found


def _of_facts(envelope: Envelope, facts: Facts, message: str) -> Verdict:
    kind = kind_of(facts)
    if kind == "ping":
        return _of_ping(facts)
    if kind == "hops":
        found = hops.read(facts)
        is_mtr = any(row.get("probes") is None for row in values.rows(facts.get("hops")))
        return _of_hops(found, is_mtr, _target(facts))
    if kind == "paths":
        return _of_paths(paths.read(facts))
    if kind == "neighbors":
        return _of_neighbors(neighbors.read(facts))
    return _of_text(envelope, facts, message)


def _of_text(envelope: Envelope, data: Facts, message: str) -> Verdict:
    """Return the verdict on a text without facts: what it complains of, if that is all that it says."""
    output: Any = data.get("output")
    is_text = isinstance(output, list) and all(isinstance(line, str) for line in output)
    lines = (line.strip() for line in (output if is_text else ()))
    said = [*itertools.islice((line for line in lines if line and not BANNER.fullmatch(line)), 2)]
    complaint = plain(said[0], LONGEST_COMPLAINT) if len(said) == 1 else ""
    if envelope.get("status") != "success":
        return verdict("bad", message or complaint.rstrip(".") or "failed")
    if complaint.startswith("% "):  # daemons that know no exit status
        return verdict("bad", complaint[2:].rstrip("."))
    return verdict("good", "done" if said or not is_text else "empty answer")


def _of_ping(facts: Facts) -> Verdict:
    echoes = ping.read(facts, True, None)
    mean = echoes.times[1]
    average = "" if mean is None else f", average {ms(mean)} milliseconds"
    if not echoes.sent or echoes.lost is None:
        return verdict("good", "answered", f"answered{average}")
    if not echoes.lost:
        return verdict("good", "all answered", f"all answered{average}")
    if echoes.lost < echoes.sent:
        lost = f"{percent(echoes.lost, echoes.sent)} lost"
        return verdict("lossy", lost, f"{_said(lost)}{average}")
    for error in values.rows(facts.get("errors")):
        if said := values.text(error.get("message")):
            return verdict("bad", f"no answer: {ping.as_said(_complaint(said), error)}")
    return verdict("bad", "no answer")


def _complaint(message: str) -> str:
    """Return "host unreachable" of "Destination Host Unreachable"."""
    words = plain(message).lower()
    return words.removeprefix("destination unreachable: ").removeprefix("destination ")


def _of_hops(found: list[hops.Hop], is_mtr: bool, target: str) -> Verdict:
    last = found[-1]
    answered = [hop for hop in found if not hop.is_silent]
    if not answered:
        return verdict("bad", "no answer from any hop")
    if last.notes:
        note = last.notes[0]
        return verdict("bad", f"{hops.in_words(note) or plain(note)} ({plain(note)}), says hop {last.number}")
    if last.is_silent or last.loss == 100:
        return verdict("bad", f"no answer after hop {answered[-1].number}")
    addresses = {host.address for host in last.hosts if host.address}
    is_reached = bool(target) and target in map(values.address, addresses)
    if target and addresses and not is_reached and is_mtr:
        return verdict("bad", f"target not reached, last answer from hop {last.number}")
    where = "at the target" if is_reached else "at the last hop"
    average = "" if last.avg is None else f"{ms(last.avg)} ms"
    spoken = "" if last.avg is None else f", average {ms(last.avg)} milliseconds"
    if is_mtr and last.loss:
        lost = f"{percent(last.loss, 100)} lost {where}"
        return verdict("lossy", lost, f"{_said(lost)}{spoken}")
    reached = f"reached in {last.number} hops" if is_reached else f"{last.number} hops"
    return verdict("good", f"{reached}{f', {average}' if average else ''}", f"{reached}{spoken}")


def _target(data: Facts) -> str:
    """Return the address that was probed, "" if it is not known."""
    return values.address(values.text(data.get("address")) or data.get("target"))


def _of_paths(known: list[paths.Path]) -> Verdict:
    prefixes = len({path.prefix for path in known})
    counted = f"{len(known)} path{'' if len(known) == 1 else 's'}"
    if prefixes > 1:
        return verdict("good", f"{counted} to {prefixes} prefixes")
    best = next((path for path in known if path.is_best), None)
    if best is None:
        return verdict("good", f"{counted}, none is marked as the best")
    return verdict("good", f"{counted}, best via {plain(best.next_hop)}" if best.next_hop else counted)


def _of_neighbors(known: list[neighbors.Neighbor]) -> Verdict:
    down = sum(not each.is_up for each in known)
    if not down:
        return verdict("good", f"all {len(known)} up" if len(known) > 1 else "up")
    if down == len(known):
        return verdict("bad", f"all {down} down" if down > 1 else "down")
    return verdict("lossy", f"{down} of {len(known)} down")


def _said(words: str) -> str:
    return words.replace(" %", " percent")
