"""Counts by key: what comes down to 0 is forgotten, for there may be as many keys as visitors."""

from __future__ import annotations


def tally(counts: dict[str, int], key: str, change: int) -> None:
    """Change the count of a key, and forget it at 0."""
    number = counts.get(key, 0) + change
    if number:
        counts[key] = number
    else:
        del counts[key]
