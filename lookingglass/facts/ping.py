"""Text of ping in, facts out."""

from __future__ import annotations

import re

from lookingglass.facts.common import (
    ADDRESS,
    NUMBER,
    Facts,
)

# "64 bytes from target.example (203.0.113.10): icmp_seq=1 ttl=60 time=18.0 ms"; busybox: seq=; BSD: hlim=
REPLY = re.compile(
    rf"bytes from (?:\S{{1,255}} \()?({ADDRESS}?)\)?[:,] (?:icmp_)?seq=([0-9]{{1,9}})"
    rf"(?: (?:ttl|hlim)=([0-9]{{1,3}}))?(?: time=({NUMBER}) ms)?"
)
# "5 packets transmitted, 5 received, 0% packet loss"; busybox and inetutils: "5 packets received".
COUNTS = re.compile(r"^([0-9]{1,9}) packets transmitted, ([0-9]{1,9}) (?:packets )?received", re.MULTILINE)
# "rtt min/avg/max/mdev = 18.0/18.5/19.3/0.5 ms"; busybox: "round-trip min/avg/max = …", BSD: "…/std-dev".
TIMES = re.compile(
    rf"(?:rtt|round-trip) min/avg/max(?:/[a-z-]{{4,7}})? = ({NUMBER})/({NUMBER})/({NUMBER})(?:/({NUMBER}))?"
)
# "Success rate is 100 percent (5/5), round-trip min/avg/max = 1/2/4 ms"
SUCCESS_RATE = re.compile(r"^Success rate is [0-9]{1,3} percent \(([0-9]{1,9})/([0-9]{1,9})\)", re.MULTILINE)


def read(text: str, complete: bool) -> Facts:
    """Return min, avg, max, mdev (ms), rate (percent answered), sent, received, replies."""
    found: Facts = {}
    if match := TIMES.search(text):
        names = ("min", "avg", "max", "mdev")
        found = {name: float(value) for name, value in zip(names, match.groups(), strict=True) if value}
    if match := COUNTS.search(text):
        found.update(_rate(int(match[1]), int(match[2])))
    elif match := SUCCESS_RATE.search(text):
        found.update(_rate(int(match[2]), int(match[1])))
    replies = [
        {
            "seq": int(seq),
            "rtt": float(rtt) if rtt else None,
            "ttl": int(ttl) if ttl else None,
            "address": address,
        }
        for address, seq, ttl, rtt in REPLY.findall(text)
    ]
    if replies or found.get("received") == 0:
        found["replies"] = replies
    return found


def _rate(sent: int, received: int) -> Facts:
    counts: Facts = {"sent": sent, "received": received}
    return {"rate": round(100 * received / sent, 2), **counts} if sent else counts
