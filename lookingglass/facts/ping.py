"""Text of ping in, facts out."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lookingglass.facts.common import ADDRESS, NUMBER, Facts, is_address

# "64 bytes from target.example (203.0.113.10): icmp_seq=1 ttl=60 time=18.0 ms"; KAME: "2001:db8::1, icmp_…";
# where the address is not known also "64 bytes from icmp_seq=1 …" and "64 bytes: icmp_seq=1 …"
REPLY = re.compile(
    r"(?<![\w.])[0-9]{1,5} bytes(?: from(?=[:,]? (?:icmp_)?[rs]eq=)| from (.{0,300}?))?"
    r"[:,]? (?=[a-z_]{1,20}=)(.{0,300})"
)
# Junos adds " via ge-0/0/1.0"
IN_BRACKETS = re.compile(rf".{{0,255}}\(({ADDRESS})\)(?: via \S{{1,40}})?")
# "icmp_seq=1 ident=4711 ttl=63"; old iputils: icmp_req=, busybox: seq=, BSD: hlim=, Solaris: "icmp_seq=0."
FIELD = re.compile(r"(?<!\S)(?P<key>[A-Za-z_]{1,20})=(?P<value>[0-9]{1,9})\.?(?=\s|$)")
TIME = re.compile(rf"(?<!\S)time=({NUMBER}) ?ms(?:ec)?\.?(?=[\s(]|$)")  # Nokia: "time=1.07ms."
NOTE = re.compile(r"\(([^()]{1,40})\)")  # "(DUP!)", "(truncated)", "(BAD CHECKSUM!)"
# "5 packets transmitted, 5 received, 0% packet loss"; busybox, BSD and inetutils: "5 packets received"
COUNTS = re.compile(r"^([0-9]{1,9}) packets? transmitted, ([0-9]{1,9}) (?:packets? )?received", re.MULTILINE)
# "rtt min/avg/max/mdev = 18.0/18.5/19.3/0.5 ms"; busybox: "round-trip min/avg/max = …", BSD: "…/std-dev",
# Solaris: "round-trip (ms)  min/avg/max/stddev = …"
TIMES = re.compile(
    r"(?:rtt|round-trip)(?P<unit> \(ms\))? {1,2}min/avg/max(?:/[a-z-]{4,7})? = "
    rf"(?P<min>{NUMBER})/(?P<avg>{NUMBER})/(?P<max>{NUMBER})(?:/(?:(?P<mdev>{NUMBER})|-?nan))?"
    r"(?(unit)| ?ms)(?=\s|,|$)"
)
# Nokia: "round-trip min = 1.07ms, avg = 1.62ms, max = 2.43ms, stddev = 0.497ms"
TIMES_APART = re.compile(
    rf"round-trip min = (?P<min>{NUMBER})ms, avg = (?P<avg>{NUMBER})ms, max = (?P<max>{NUMBER})ms"
    rf"(?:, stddev = (?P<mdev>{NUMBER})ms)?(?=\s|$)"
)
# "Success rate is 100 percent (5/5), round-trip min/avg/max = 1/2/4 ms"
SUCCESS_RATE = re.compile(r"^Success rate is [0-9]{1,3} percent \(([0-9]{1,9})/([0-9]{1,9})\)", re.MULTILINE)

# "no answer yet for icmp_seq=3", which -O prints when the next probe is sent
OVERDUE = re.compile(r"^(?:\[[0-9.]{1,20}\] )?no answer yet for icmp_seq=([0-9]{1,9})$", re.MULTILINE)
# "From r4.example (198.51.100.14) icmp_seq=1 Destination Host Unreachable"
ERROR = re.compile(
    rf"^From (?:\S{{1,255}} \()?({ADDRESS})\)?:? icmp_seq=([0-9]{{1,9}}) (\S.{{0,79}})$", re.MULTILINE
)
# iputils counts from 1: "PING 203.0.113.10 (203.0.113.10) 56(84) bytes of data.", "PING target(2001:db8::1)
# 56 data bytes"; others count from 0: "PING 203.0.113.77 (203.0.113.77): 56 data bytes".
FROM_1 = re.compile(r"^PING .{1,600}?(?:[0-9)] bytes of data\.|\) [0-9]{1,5} data bytes)$", re.MULTILINE)
FROM_0 = re.compile(r"^PING .{1,600}?\): [0-9]{1,5} data bytes(?:,.{0,80})?$", re.MULTILINE)
MOST_LOST = 1000  # probes that are listed as lost; there may be a million of a flood
# How the number of probes stands in an argv: "-c 5", "-c5", and of routers "count 5", "count=5", "repeat 5"
COUNT = re.compile(r"(?<!\S)(?:-c ?|(?:count|repeat)[ =])([1-9][0-9]{0,5})(?!\S)")


def planned(argv: Iterable[str]) -> int | None:
    """Return how many probes an argv sends; None: it does not say so."""
    found = COUNT.findall(" ".join(argv))
    return int(found[-1]) if found else None


def read(text: str, complete: bool) -> Facts:
    """Return min, avg, max, mdev (ms), rate (percent answered), sent, received, replies, and what failed.

    A reply that carries a remark in brackets, as duplicates do, has it as its note. What failed are errors
    and sequence numbers: overdue, for the next probe was sent before their answer, and lost at the end.
    """
    found: Facts = {}
    if match := TIMES.search(text) or TIMES_APART.search(text):
        found = {name: float(match[name]) for name in ("min", "avg", "max", "mdev") if match[name]}
    if match := COUNTS.search(text):
        found.update(counts(int(match[1]), int(match[2])))
    elif match := SUCCESS_RATE.search(text):
        found.update(counts(int(match[2]), int(match[1])))
    replies = [reply for source, rest in REPLY.findall(text) if (reply := _reply(source, rest))]
    if replies or found.get("received") == 0:
        found["replies"] = replies
    if errors := [
        {"seq": int(seq), "address": _address(who), "message": what} for who, seq, what in ERROR.findall(text)
    ]:
        found["errors"] = errors
    if overdue := [int(seq) for seq in OVERDUE.findall(text)]:
        found["overdue"] = overdue
    if complete and (lost := _lost(text, found)):
        found["lost"] = lost
    return found


def counts(sent: int, received: int) -> Facts:
    """Return both counts, and the rate unless somebody answered more than was asked."""
    found: Facts = {"sent": sent, "received": received}
    return {"rate": round(100 * received / sent, 2), **found} if 0 < sent >= received else found


def _lost(text: str, found: Facts) -> list[int]:
    """Return the probes without an answer: none where it is not known which ones there were."""
    answered = {reply["seq"] for reply in found.get("replies", ())}
    sent = found.get("sent", 0)
    counts_from_1, counts_from_0 = bool(FROM_1.search(text)), bool(FROM_0.search(text))
    if len(answered) != found.get("received") or counts_from_1 == counts_from_0:
        return []
    probes = range(1, sent + 1) if counts_from_1 else range(sent)
    lost = sent - len(answered)
    return (
        [seq for seq in probes if seq not in answered]
        if 0 < lost <= MOST_LOST and answered <= set(probes)
        else []
    )


def _reply(source: str, rest: str) -> Facts | None:
    """Return a reply, or None for an error that some router sent: it has no sequence number."""
    fields: dict[str, int] = {}
    for match in FIELD.finditer(rest):
        fields.setdefault(match["key"].lower(), int(match["value"]))  # more may be of another line
    numbers = [fields[key] for key in ("icmp_seq", "seq", "icmp_req") if key in fields]
    if not numbers:
        return None
    bracket = IN_BRACKETS.fullmatch(source)
    who = bracket[1] if bracket else source.split(" ", 1)[0]
    time = TIME.search(rest)
    reply: Facts = {
        "seq": numbers[0],
        "rtt": float(time[1]) if time else None,  # a clock that jumped gives "time=-0.5 ms"
        "ttl": fields.get("ttl", fields.get("hlim")),
        "address": _address(who),
    }
    notes = ", ".join(NOTE.findall(rest))
    return {**reply, "note": notes} if notes else reply


def _address(text: str) -> str | None:
    """Return the address that a text is, perhaps with a colon behind it; None: a name may look like one."""
    return next((each for each in (text, text.removesuffix(":")) if is_address(each)), None)
