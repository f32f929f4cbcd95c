"""What tests of pictures share: answers as real tools print them, and pictures read back as a tree."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Collection, Mapping
from typing import Any

from lookingglass.facts import facts
from lookingglass.facts.common import Facts
from lookingglass.pictures import Drawing

LOST = (1, 2, 4, 5, 13, 16, 18, 20, 22, 24, 28)  # of thirty probes
TWO_PATHS: Facts = {
    "paths": [
        {
            "prefix": "203.0.113.0/24",
            "as_path": [64510, 64510, 64510, 64511],
            "best": False,
            "next_hop": "198.51.100.10",
            "local_pref": 80,
            "med": 100,
            "origin": "IGP",
            "communities": ["64510:1000", "65535:65281"],
        },
        {
            "prefix": "203.0.113.0/24",
            "as_path": [64501, 64510, 64511],
            "best": True,
            "reason": "Local Pref",
            "next_hop": "198.51.100.6",
            "local_pref": 90,
            "origin": "IGP",
            "communities": ["64501:2000"],
            "large_communities": ["64501:7:42"],
        },
    ]
}


def ping_lines(count: int, lost: Collection[int] = (), slow: Mapping[int, float] = {}) -> str:
    """Return what ping -O prints of probes, until it ends."""
    lines = ["PING 203.0.113.20 (203.0.113.20) 56(84) bytes of data."]
    for seq in range(1, count + 1):
        rtt = slow.get(seq, 17.7 + 0.1 * (seq % 8))
        reply = f"64 bytes from 203.0.113.20: icmp_seq={seq} ttl=60 time={rtt:.1f} ms"
        lines.append(f"no answer yet for icmp_seq={seq}" if seq in lost else reply)
    return "\n".join(lines) + "\n"


def ping(count: int, lost: Collection[int] = (), slow: Mapping[int, float] = {}) -> Facts:
    """Return the facts of a ping that has ended."""
    text = ping_lines(count, lost, slow)
    counts = f"{count} packets transmitted, {count - len(lost)} received, 1% packet loss, time 5 ms"
    return facts("ping", f"{text}\n--- 203.0.113.20 ping statistics ---\n{counts}\n")


def mtr(*hops: tuple[float, float | None]) -> Facts:
    """Return facts of hops with their loss in percent, and their delay in ms (None: nobody answers)."""
    return {
        "hops": [
            {"hop": number, "address": None, "name": None, "loss": 100.0, "sent": 10}
            if delay is None
            else {
                "hop": number,
                "address": f"198.51.100.{number}",
                "loss": loss,
                "sent": 10,
                "best": delay,
                "avg": delay + 0.1,
                "worst": delay + 0.5,
            }
            for number, (loss, delay) in enumerate(hops, 1)
        ]
    }


def tree(markup: str) -> ET.Element:
    """Read markup, which has to be well-formed XML."""
    return ET.fromstring(f"<all>{markup}</all>")


def of_class(root: ET.Element, kind: str) -> list[ET.Element]:
    """Return the elements of a class."""
    return [each for each in root.iter() if kind in each.get("class", "").split()]


def text_of(element: ET.Element) -> str:
    """Return the text in an element, its blanks made single."""
    return " ".join("".join(element.itertext()).split())


def rows(drawing: Drawing) -> list[list[str]]:
    """Return the texts of a table's cells."""
    found = []
    for row in tree(drawing.picture).iter("tr"):
        found.append([text_of(cell) for cell in row if cell.tag in {"th", "td"}])
    return found


def column(drawing: Drawing, title: str) -> list[str]:
    """Return a column of the table, by its title; rows that span the table are left out."""
    head, *body = rows(drawing)
    place = head.index(title)
    return [row[place] for row in body if len(row) == len(head)]


def percent(element: ET.Element, name: str) -> float:
    value: Any = element.get(name)
    assert value.endswith("%")
    return float(value[:-1])
