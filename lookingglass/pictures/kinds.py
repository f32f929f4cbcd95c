"""What facts are of, by their keys."""

from __future__ import annotations

from lookingglass.facts.common import Facts
from lookingglass.pictures import values

# A tool's facts have one of its keys; lists that are empty say nothing.
KINDS = {
    "ping": ("replies", "sent", "overdue", "errors"),
    "hops": ("hops",),
    "paths": ("paths",),
    "neighbors": ("neighbors",),
}


def kind_of(facts: Facts) -> str:
    """Return a name of KINDS, "" for none."""
    for kind, keys in KINDS.items():
        if any(_says(facts.get(key)) for key in keys):
            return kind
    return ""


def _says(value: object) -> bool:
    return bool(value) if isinstance(value, list) else values.whole(value) is not None
