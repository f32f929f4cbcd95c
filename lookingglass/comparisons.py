"""Two answers of the same kind in, a sentence and rows side by side out."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from lookingglass import hop_changes, route_changes
from lookingglass.alignment import (
    MATTERS,
    MOST_ALIGNED,
    SAME,
    Differences,
    Setting,
    SideCell,
    SideRow,
    align,
    difference,
    is_more,
    of_both,
    only_in,
    saying,
    sentence_of,
)
from lookingglass.facts.common import Facts
from lookingglass.facts.ping import counts
from lookingglass.pictures import ping
from lookingglass.pictures.axis import ms
from lookingglass.pictures.kinds import kind_of
from lookingglass.problems import HTTPProblem, counted

CONTEXT = 3  # same lines that stand around others
# Of ping, with their units; and what a row calls those that have another name there.
FIGURES = {"sent": "", "received": "", "rate": " %", "min": " ms", "avg": " ms", "max": " ms", "mdev": " ms"}
FIGURE_WORDS = {"rate": "answered", "mdev": "deviation"}
TIMES = ("min", "avg", "max")
COMPARABLE = {
    "ping": "answers of ping",
    "hops": "paths of traceroute or mtr",
    "paths": "routes",
    "neighbors": "neighbors",
    "text": "answers without figures",
}


class Comparison(NamedTuple):
    """Hold what was found."""

    kind: str  # one of COMPARABLE
    found: Differences

    def document(self) -> dict[str, Any]:
        """Return it for programs."""
        found = self.found
        return {
            "kind": self.kind,
            "sentence": found.sentence,
            "same": found.is_same,
            "rows": [
                {
                    **({"label": row.label} if row.label else {}),
                    "a": row.a.facts if row.a else None,
                    "b": row.b.facts if row.b else None,
                    "change": row.change,
                    "matters": row.matters,
                }
                for row in found.rows
            ],
        }


def compare(a: Facts, b: Facts) -> Comparison:
    """Compare two answers by their envelopes' ``data``; raises HTTPProblem for different kinds."""
    kind = _common_kind(a, b)
    setting = Setting(
        a.get("router") == b.get("router"),
        a.get("target") == b.get("target"),
        str(b.get("performed_at")) > str(a.get("performed_at")),
    )
    return Comparison(kind, COMPARE[kind](a, b, setting))


def _common_kind(a: Facts, b: Facts) -> str:
    """Return the kind of two answers; of one command, an answer in which nothing was read is the other's."""
    kinds = [kind_of(a) or "text", kind_of(b) or "text"]
    if kinds[0] == kinds[1]:
        return kinds[0]
    if "text" in kinds and a.get("command") == b.get("command"):
        return kinds[0] if kinds[1] == "text" else kinds[1]
    raise HTTPProblem(
        400,
        f"These are {COMPARABLE[kinds[0]]} and {COMPARABLE[kinds[1]]}. Two answers of one kind can be"
        f" compared: {', '.join(COMPARABLE.values())}. Choose another result.",
    )


# --- ping


def _compare_pings(a: Facts, b: Facts, setting: Setting) -> Differences:
    a, b = _with_figures(a), _with_figures(b)
    rows = [
        of_both(FIGURE_WORDS.get(name, name), *(_figure(each.get(name), unit) for each in (a, b)))
        for name, unit in FIGURES.items()
        if a.get(name) is not None or b.get(name) is not None
    ]
    rows = [_timed(row, a, b) for row in rows]
    hops = [_ttl(each) for each in (a, b)]
    if any(hops):
        rows.append(
            of_both("TTL of replies", *(SideCell(str(each), "", each) if each else None for each in hops))
        )
    sentence = _answered(a, b, setting)
    if sentence:
        return Differences(sentence, not a.get("received") and not b.get("received"), rows)
    parts = _ping_changes(a, b, setting)
    if hops[0] and hops[1] and hops[0] != hops[1] and setting.same_router and setting.same_target:
        parts.append(f"TTL of replies {hops[0]} → {hops[1]}")
    if parts:
        return Differences(sentence_of(*parts), False, rows)
    times = " and ".join(ms(each["avg"]) for each in (a, b) if each.get("avg") is not None)
    loss = f"loss {_loss(b):.0f} %" if round(_loss(b)) else "no loss"
    return Differences(f"Same: {f'{times} ms on average, ' if times else ''}{loss}", True, rows)


def _with_figures(data: Facts) -> Facts:
    """Return an answer with the figures of its probes, where ping was stopped before it told them."""
    echoes = ping.read(data, True, None)
    if data.get("sent") is not None or echoes.sent is None:
        return data
    times = {name: round(time, 3) for name, time in zip(TIMES, echoes.times, strict=True) if time is not None}
    return {**data, **counts(echoes.sent, echoes.sent - (echoes.lost or 0)), **times}


def _ping_changes(a: Facts, b: Facts, setting: Setting) -> list[str]:
    parts = []
    if setting.same_target and a.get("address") != b.get("address"):
        parts.append(f"another address: {a.get('address')} → {b.get('address')}")
    measured = []
    if is_more(MATTERS, a.get("avg"), b.get("avg")):
        measured.append(f"{difference(a['avg'], b['avg'])} ms on average")
    if round(_loss(a)) != round(_loss(b)):
        measured.append(f"loss {_loss(a):.0f} → {_loss(b):.0f} %")
    return [*parts, *([" and ".join(measured)] if measured else [])]


def _answered(a: Facts, b: Facts, setting: Setting) -> str:
    """Say which side gets no answer at all; "" when both get some."""
    has_a, has_b = bool(a.get("received")), bool(b.get("received"))
    if has_a and has_b:
        return ""
    if not has_a and not has_b:
        return "No answer, neither in A nor in B"
    said = [saying(data) for data, has in ((a, has_a), (b, has_b)) if not has and "sent" not in data]
    if setting.is_now:
        return sentence_of("the target answers again" if has_b else "the target no longer answers", *said)
    winner, loser = ("A", "B") if has_a else ("B", "A")
    if setting.same_target:
        return sentence_of(f"the target answers {winner} only", *said)
    return sentence_of(f"the target of {loser} does not answer", *said)


def _loss(data: Facts) -> float:
    sent, received = data.get("sent") or 0, data.get("received") or 0
    return max(0.0, 100.0 * (sent - received) / sent) if sent else 0.0


def _ttl(data: Facts) -> int | None:
    """Return the TTL of the last reply that tells one."""
    replies = reversed(data.get("replies") or ())
    return next((reply["ttl"] for reply in replies if reply.get("ttl")), None)


def _figure(value: Any, unit: str) -> SideCell | None:
    return None if value is None else SideCell(f"{value:g}{unit}", "", value)


def _timed(row: SideRow, a: Facts, b: Facts) -> SideRow:
    """Say in a row of times how much they differ; what is noise does not matter."""
    if row.label not in TIMES or row.a is None or row.b is None:
        return row._replace(matters=row.label in {"received", "answered"} and row.change != SAME)
    x, y = a[row.label], b[row.label]
    change = f"{difference(x, y)} ms" if x != y else SAME
    return row._replace(change=change, matters=is_more(MATTERS, x, y))


# --- text


def _compare_texts(a: Facts, b: Facts, setting: Setting) -> Differences:
    one, other = _lines(a), _lines(b)
    before = _common(zip(one, other, strict=False))
    after = _common(zip(reversed(one[before:]), reversed(other[before:]), strict=False))
    middle = [each[before : len(each) - after] for each in (one, other)]
    if not any(middle):
        return Differences("Same text", True, [_same(len(one))])
    pairs = [*align(middle[0], middle[1], lambda x, y: int(x == y))]
    only = [sum(pair[side] is None for pair in pairs) for side in (1, 0)]
    words = [
        f"{counted(count, 'line')} only in {name}" for count, name in zip(only, "AB", strict=True) if count
    ]
    is_cut = max(map(len, middle)) > MOST_ALIGNED
    cut = f"what follows the first {MOST_ALIGNED} lines from there is not compared" if is_cut else ""
    near = max(0, before - CONTEXT)
    rows = [_line(line, line) for line in one[near:before]]
    rows += [_line(*pair) for pair in pairs]
    if not is_cut:
        rows += [_line(line, line) for line in one[len(one) - after :][:CONTEXT]]
    rows = [*([_same(near)] if near else []), *_folded(rows)]
    if after > CONTEXT and not is_cut:
        rows.append(_same(after - CONTEXT))
    return Differences(sentence_of(", ".join(words), cut), False, rows)


def _common(pairs: Iterable[tuple[str, str]]) -> int:
    """Return how many pairs at the beginning are of the same lines."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _same(number: int) -> SideRow:
    return SideRow("", None, None, f"{counted(number, 'line')} the same")


def _lines(data: Facts) -> list[str]:
    output = data.get("output")
    return [*map(str, output)] if isinstance(output, list) else json.dumps(output, indent=1).splitlines()


def _line(a: str | None, b: str | None) -> SideRow:
    cells = [None if each is None else SideCell(each, "", each) for each in (a, b)]
    return SideRow("", cells[0], cells[1], only_in(a, b))


def _folded(rows: list[SideRow]) -> list[SideRow]:
    """Leave out same lines that are not near others."""
    changed = {number for number, row in enumerate(rows) if row.change != SAME}
    near = {each + step for each in changed for step in range(-CONTEXT, CONTEXT + 1)}
    found = []
    for is_near, group in itertools.groupby(enumerate(rows), key=lambda each: each[0] in near):
        kept = [row for _, row in group]
        if is_near:
            found += kept
        else:
            found.append(_same(len(kept)))
    return found


COMPARE = {
    "ping": _compare_pings,
    "hops": hop_changes.compare,
    "paths": route_changes.compare_paths,
    "neighbors": route_changes.compare_neighbors,
    "text": _compare_texts,
}
