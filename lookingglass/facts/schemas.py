"""JSON Schemas of facts; what a parser does not know is left out or null."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Table = dict[str, Any]

STRING: Table = {"type": "string"}
NUMBER: Table = {"type": ["number", "null"]}
WHOLE: Table = {"type": ["integer", "null"]}
WORD: Table = {"type": ["string", "null"]}


def object_of(fields: Mapping[str, Table], required: str = "") -> Table:
    """Return the schema of an object; a key of ``fields`` is one name, or several with spaces between."""
    properties = {name: schema for names, schema in fields.items() for name in names.split()}
    found: Table = {"type": "object", "properties": properties}
    return {**found, "required": required.split()} if required else found


def list_of(row: Table) -> Table:
    """Return the schema of a list of rows, which may be null."""
    return {"type": ["array", "null"], "items": row}


# Times of packets are in ms, rate and loss in percent.
REPLY = object_of({"seq ttl": WHOLE, "rtt": NUMBER, "address note": WORD})
PROBE = {**object_of({"address name note": WORD, "rtt": NUMBER}), "type": ["object", "null"]}  # null: a star
HOP = {
    "hop asn sent": WHOLE,
    "address name": WORD,
    "loss last avg best worst stdev": NUMBER,
    "addresses": list_of(object_of({"address name": WORD})),  # where more than one answered
}
PATH: dict[str, Table] = {
    "prefix origin next_hop protocol reason": WORD,  # why it is the best one
    "as_path": {"type": ["array", "null"]},
    "segments": {"type": ["array", "null"]},  # of an AS path that has sets, which are lists in it
    "local_pref med": WHOLE,
    "communities large_communities": list_of(STRING),
    "best": {"type": ["boolean", "null"]},
}
NEIGHBOR = {"name address state since": WORD, "asn received": WHOLE}
ROUTES = object_of({"paths": list_of(object_of(PATH)), "neighbors": list_of(object_of(NEIGHBOR))})
PING = object_of(
    {
        "min avg max mdev rate": NUMBER,
        "sent received": WHOLE,
        "replies": list_of(REPLY),
        "errors": list_of(object_of({"seq": WHOLE, "address message": WORD})),
        "overdue lost": list_of({"type": "integer"}),  # sequence numbers: so far, and at the end
    }
)
TRACEROUTE = object_of({"hops": list_of(object_of({"hop": WHOLE, "probes": list_of(PROBE)}))})
MTR = object_of({"hops": list_of(object_of(HOP))})
