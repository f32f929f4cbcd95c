"""Text of ping in, facts out."""

from __future__ import annotations

import re

from lookingglass.facts.common import ADDRESS, NUMBER, Facts, is_address

# "64 bytes from target.example (203.0.113.10): icmp_seq=1 ttl=60 time=18.0 ms"; KAME: "2001:db8::1, icmp_…"
REPLY = re.compile(r"(?<![\w.])[0-9]{1,5} bytes from (.{0,300}?)[:,]? (?=[a-z_]{1,20}=)(.{0,300})")
# Junos adds " via ge-0/0/1.0"
IN_BRACKETS = re.compile(rf".{{0,255}}\(({ADDRESS})\)(?: via \S{{1,40}})?")
# "icmp_seq=1 ident=4711 ttl=63"; old iputils: icmp_req=, busybox: seq=, BSD: hlim=, Solaris: "icmp_seq=0."
FIELD = re.compile(r"(?<!\S)(?P<key>[A-Za-z_]{1,20})=(?P<value>[0-9]{1,9})\.?(?=\s|$)")
TIME = re.compile(rf"(?<!\S)time=({NUMBER}) ?ms(?:ec)?(?=[\s(]|$)")
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
# "Success rate is 100 percent (5/5), round-trip min/avg/max = 1/2/4 ms"
SUCCESS_RATE = re.compile(r"^Success rate is [0-9]{1,3} percent \(([0-9]{1,9})/([0-9]{1,9})\)", re.MULTILINE)


def read(text: str, complete: bool) -> Facts:
    """Return min, avg, max, mdev (ms), rate (percent answered), sent, received, replies.

    A reply that carries a remark in brackets, as duplicates do, has it as its note.
    """
    found: Facts = {}
    if match := TIMES.search(text):
        found = {name: float(match[name]) for name in ("min", "avg", "max", "mdev") if match[name]}
    if match := COUNTS.search(text):
        found.update(_rate(int(match[1]), int(match[2])))
    elif match := SUCCESS_RATE.search(text):
        found.update(_rate(int(match[2]), int(match[1])))
    replies = [reply for source, rest in REPLY.findall(text) if (reply := _reply(source, rest))]
    if replies or found.get("received") == 0:
        found["replies"] = replies
    return found


def _reply(source: str, rest: str) -> Facts | None:
    """Return a reply, or None for an error that some router sent: it has no sequence number."""
    fields = {match["key"].lower(): int(match["value"]) for match in FIELD.finditer(rest)}
    numbers = [fields[key] for key in ("icmp_seq", "seq", "icmp_req") if key in fields]
    if not numbers:
        return None
    bracket = IN_BRACKETS.fullmatch(source)
    address = bracket[1] if bracket else source.split(" ", 1)[0]
    time = TIME.search(rest)
    reply: Facts = {
        "seq": numbers[0],
        "rtt": float(time[1]) if time else None,  # a clock that jumped gives "time=-0.5 ms"
        "ttl": fields.get("ttl", fields.get("hlim")),
        "address": address if is_address(address) else None,
    }
    notes = ", ".join(NOTE.findall(rest))
    return {**reply, "note": notes} if notes else reply


def _rate(sent: int, received: int) -> Facts:
    """Return both counts, and the rate unless somebody answered more than was asked."""
    counts: Facts = {"sent": sent, "received": received}
    return {"rate": round(100 * received / sent, 2), **counts} if 0 < sent >= received else counts
