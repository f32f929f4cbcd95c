"""Two looks into routing tables: paths and their attributes, neighbors and their states."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from lookingglass.alignment import (
    MOST_ALIGNED,
    ONLY_A,
    ONLY_B,
    SAME,
    Differences,
    Setting,
    SideCell,
    SideRow,
    align,
    listed,
    of_both,
    only_in,
    saying,
    sentence_of,
)
from lookingglass.facts.common import Facts
from lookingglass.problems import counted

# What a path has beside its AS path, in words.
ATTRIBUTES = {
    "origin": "origin",
    "next_hop": "next hop",
    "local_pref": "local preference",
    "med": "MED",
    "communities": "communities",
    "large_communities": "large communities",
}
LISTS = {"communities", "large_communities"}

Path = Facts
Paths = dict[str, list[Path]]  # by prefix


def compare_paths(a: Facts, b: Facts, setting: Setting) -> Differences:
    """Compare the paths of two answers."""
    one, other = _by_prefix(a), _by_prefix(b)
    if not one or not other:
        return _compare_with_none((a, b), (one, other), setting)
    if len(one) == len(other) == 1:
        return _compare_one(one, other)
    return _compare_many(one, other)


def _by_prefix(data: Facts) -> Paths:
    found: Paths = {}
    for path in data.get("paths") or ():
        found.setdefault(path.get("prefix") or "", []).append(path)
    return found


def _best(paths: Sequence[Path]) -> Path:
    return next((path for path in paths if path.get("best")), paths[0])


def _compare_with_none(
    answers: tuple[Facts, Facts], both: tuple[Paths, Paths], setting: Setting
) -> Differences:
    one, other = (sum(map(len, paths.values())) for paths in both)
    rows = [
        of_both("path", *((None, _cell(path)) if one == 0 else (_cell(path), None)))
        for path in itertools.islice(_all(both[0] or both[1]), MOST_ALIGNED)
    ]
    if not one and not other:
        return Differences("No path, neither in A nor in B", True, rows)
    lacking, count = ("A", other) if not one else ("B", one)
    said = saying(answers[0 if not one else 1])
    if setting.is_now:
        words = "the prefix is gone" if lacking == "B" else "the prefix is back"
        return Differences(sentence_of(words, f"{one} → {counted(other, 'path')}", said), False, rows)
    return Differences(
        sentence_of(f"no path in {lacking}, {count} in {'B' if one == 0 else 'A'}", said), False, rows
    )


def _all(paths: Paths) -> Iterable[Path]:
    return itertools.chain.from_iterable(paths.values())


# --- one prefix


def _compare_one(one: Paths, other: Paths) -> Differences:
    (prefix_a, paths_a), (prefix_b, paths_b) = (next(iter(each.items())) for each in (one, other))
    best_a, best_b = _best(paths_a), _best(paths_b)
    others = _others(paths_a, paths_b, best_a, best_b)
    rows = [
        of_both("prefix", SideCell(prefix_a, "", prefix_a), SideCell(prefix_b, "", prefix_b)),
        *_path_rows(best_a, best_b),
        *_attribute_rows(best_a, best_b),
        *(SideRow("other path", _cell(a), _cell(b), *_other_change(a, b, best_a, best_b)) for a, b in others),
    ]
    prefix = f"another prefix: {prefix_a} → {prefix_b}" if prefix_a != prefix_b else ""
    path = _path_words(best_a, best_b, paths_a, paths_b)
    attributes = _attribute_words(best_a, best_b) if path.startswith("same") or not path else []
    count = f"{len(paths_a)} → {counted(len(paths_b), 'path')}" if len(paths_a) != len(paths_b) else ""
    if len(paths_a) == len(paths_b) and {*map(_key, paths_a)} != {*map(_key, paths_b)} and len(paths_a) > 1:
        count = "the other paths differ"
    if path == "same AS path" and not attributes and not prefix:
        path = (
            "same best path" if count else "same path" if len(paths_a) == 1 else f"same {len(paths_a)} paths"
        )
        path += " and attributes"
        return Differences(sentence_of(path, count), not count, rows)
    return Differences(sentence_of(prefix, path, ", ".join(attributes), count), False, rows)


def _path_words(a: Path, b: Path, paths_a: Sequence[Path], paths_b: Sequence[Path]) -> str:
    """Say how the AS paths of two best paths differ."""
    one, other = a.get("as_path") or [], b.get("as_path") or []
    if one == other:
        return "same AS path"
    if one and other and one[-1] != other[-1]:
        return f"origin AS changed: {one[-1]} → {other[-1]}; AS path {as_text(one)} → {as_text(other)}"
    if _without_prepends(one) == _without_prepends(other):
        return f"prepends differ: {as_text(one)} → {as_text(other)}"
    if _key(a) in {*map(_key, paths_b)} and _key(b) in {*map(_key, paths_a)}:
        return f"another path is best: {as_text(one)} → {as_text(other)}"
    balance = len(other) - len(one)
    longer = f", {counted(abs(balance), 'AS', 'ASes')} {'more' if balance > 0 else 'fewer'}"
    return f"AS path differs: {as_text(one)} → {as_text(other)}{longer if balance else ''}"


def as_text(path: Sequence[Any]) -> str:
    """Return an AS path with its prepends as factors."""
    return listed(_run_text(*each) for each in _runs(path)) or "(none)"


def _runs(path: Iterable[Any]) -> list[tuple[Any, int]]:
    """Return each AS with how often it stands in a row."""
    return [(number, len([*group])) for number, group in itertools.groupby(path)]


def _run_text(number: Any, count: int) -> str:
    return f"{number} ×{count}" if count > 1 else str(number)


def _without_prepends(path: Sequence[Any]) -> list[Any]:
    return [number for number, _ in _runs(path)]


def _key(path: Path) -> tuple[Any, ...]:
    return tuple(path.get("as_path") or ()), path.get("next_hop")


def _attribute_words(a: Path, b: Path) -> list[str]:
    """Say which attributes differ."""
    words = []
    for name, shown in ATTRIBUTES.items():
        one, other = a.get(name), b.get(name)
        if name in LISTS:
            if change := _list_change(one, other):
                words.append(f"{shown} changed: {change}")
        elif one != other:
            words.append(f"{shown} {_value(one)} → {_value(other)}")
    return words


def _list_change(one: Sequence[str] | None, other: Sequence[str] | None) -> str:
    """Return what is new and what is gone, each with its sign."""
    gone, new = (dict.fromkeys(each or ()) for each in (one, other))
    signed = [f"+{each}" for each in new if each not in gone]
    return listed([*signed, *(f"−{each}" for each in gone if each not in new)])


def _value(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _path_rows(a: Path, b: Path) -> list[SideRow]:
    one, other = (_runs(each.get("as_path") or ()) for each in (a, b))
    rows = []
    for left, right in align(one, other, lambda x, y: int(x[0] == y[0])):
        cells = [None if each is None else SideCell(_run_text(*each), "", each[0]) for each in (left, right)]
        change = only_in(left, right)
        if left is not None and right is not None and left[1] != right[1]:
            change = f"×{left[1]} → ×{right[1]}"
        rows.append(SideRow("AS path", cells[0], cells[1], change, matters=change != SAME))
    return rows


def _attribute_rows(a: Path, b: Path) -> list[SideRow]:
    rows = []
    for name, shown in ATTRIBUTES.items():
        if a.get(name) in (None, []) and b.get(name) in (None, []):
            continue
        row = of_both(shown, *(SideCell(_value(each.get(name)), "", each.get(name)) for each in (a, b)))
        if name in LISTS:  # in which the order says nothing
            change = _list_change(a.get(name), b.get(name))
            row = row._replace(change=change or SAME, matters=bool(change))
        rows.append(row)
    return rows


def _others(
    paths_a: Sequence[Path], paths_b: Sequence[Path], best_a: Path, best_b: Path
) -> list[tuple[Path | None, Path | None]]:
    """Pair what is not best on either side, by AS path and next hop."""
    left = [path for path in paths_a if path is not best_a][:MOST_ALIGNED]
    right = {_key(path): path for path in paths_b if path is not best_b}
    pairs: list[tuple[Path | None, Path | None]] = [(path, right.pop(_key(path), None)) for path in left]
    return [*pairs, *((None, path) for path in itertools.islice(right.values(), MOST_ALIGNED))]


def _cell(path: Path | None) -> SideCell | None:
    if path is None:
        return None
    via = f" via {path['next_hop']}" if path.get("next_hop") else ""
    return SideCell(f"{as_text(path.get('as_path') or ())}{via}", path.get("prefix") or "", dict(path))


def _other_change(a: Path | None, b: Path | None, best_a: Path, best_b: Path) -> tuple[str, bool]:
    if a is not None and b is not None:
        words = _attribute_words(a, b)
        return ", ".join(words) or SAME, bool(words)
    if a is not None:
        return ("best in B" if _key(a) == _key(best_b) else ONLY_A), True
    return ("best in A" if b is not None and _key(b) == _key(best_a) else ONLY_B), True


# --- many prefixes


def _compare_many(one: Paths, other: Paths) -> Differences:
    prefixes = [*dict.fromkeys((*one, *other))]
    gone = [each for each in prefixes if each not in other]
    new = [each for each in prefixes if each not in one]
    both = [each for each in prefixes if each in one and each in other]
    changed = {each: True for each in both if _is_changed(_best(one[each]), _best(other[each]))}
    rows = []
    for prefix in [*gone, *new, *changed, *(each for each in both if each not in changed)][:MOST_ALIGNED]:
        cells = [_cell(_best(each[prefix])) if prefix in each else None for each in (one, other)]
        change = "another best path" if prefix in changed else only_in(*cells)
        rows.append(SideRow(prefix, cells[0], cells[1], change, matters=change != SAME))
    parts = [f"{counted(len(gone), 'prefix', 'prefixes')} only in A" if gone else ""]
    parts += [f"{counted(len(new), 'prefix', 'prefixes')} only in B" if new else ""]
    parts += [f"{len(changed)} of {len(both)} in common with another best path" if changed else ""]
    if not any(parts):
        return Differences(f"Same best paths of {len(both)} prefixes", True, rows)
    return Differences(sentence_of(", ".join(filter(None, parts))), False, rows)


def _is_changed(a: Path, b: Path) -> bool:
    return _key(a) != _key(b) or bool(_attribute_words(a, b))


# --- neighbors


def compare_neighbors(a: Facts, b: Facts, setting: Setting) -> Differences:
    """Compare the states of neighbors, by name, else by address."""
    one, other = _neighbors(a), _neighbors(b)
    names = [*dict.fromkeys((*one, *other))]
    rows, told = [], []
    for name in names:
        x, y = one.get(name), other.get(name)
        states = [None if each is None else str(each.get("state")) for each in (x, y)]
        change = only_in(x, y)
        if x is not None and y is not None and states[0] != states[1]:
            change = f"{states[0]} → {states[1]}"
        if change != SAME:
            told.append(f"{name} {change.lstrip('−+ ')}")  # without the signs of ONLY_A and ONLY_B
        rows.append(SideRow(name, _neighbor(x), _neighbor(y), change, matters=change != SAME))
    rows.sort(key=lambda row: not row.matters)
    if not told:
        return Differences(f"Same states of {counted(len(names), 'neighbor')}", True, rows[:MOST_ALIGNED])
    words = f"{len(told)} of {counted(len(names), 'neighbor')} changed: {listed(told, ', ')}"
    return Differences(words, False, rows[:MOST_ALIGNED])


def _neighbors(data: Facts) -> dict[str, Facts]:
    found = data.get("neighbors") or ()
    return {str(each.get("name") or each.get("address") or ""): each for each in found}


def _neighbor(neighbor: Facts | None) -> SideCell | None:
    if neighbor is None:
        return None
    received = neighbor.get("received")
    return SideCell(
        str(neighbor.get("state") or "unknown"),
        f"{received} received" if received is not None else "",
        dict(neighbor),
    )
