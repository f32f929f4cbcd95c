"""Facts of BGP paths in, a graph and the table of the paths out."""

from __future__ import annotations

from typing import NamedTuple

from lookingglass.facts.common import Facts
from lookingglass.pictures import communities, graph, values
from lookingglass.pictures.markup import UNKNOWN, Cell, escape, name, plain, table, unseen

MOST = 100  # rows that are drawn
MOST_GRAPHS = 6  # each of a prefix
MOST_ASES = 60  # of a path, in the table and in words
LONGEST_PATH = 4096  # characters of that

TITLES = {
    "prefix": "Prefix",
    "path": "AS path",
    "via": "Protocol",
    "next": "Next hop",
    "pref": "Pref",
    "med": "MED",
    "origin": "Origin",
    "communities": "Communities",
}
# What a phone writes before a value; the others speak for themselves.
LABELS = {
    "path": "AS path",
    "via": "protocol",
    "next": "next hop",
    "pref": "pref",
    "med": "MED",
    "origin": "origin",
}
# FRR's reasons
REASONS = {
    "First path received": "",  # there was nothing to choose
    "Weight": "highest weight",
    "Local Pref": "highest local preference",
    "Local Route": "made here",
    "AS Path": "shortest AS path",
    "Origin": "lowest origin",
    "MED": "lowest MED",
    "Peer Type": "external before internal",
    "IGP Metric": "nearest next hop",
    "Older Path": "oldest path",
    "Router ID": "lowest router ID",
    "Cluster length": "shortest cluster list",
    "Neighbor IP": "lowest neighbor address",
}


class Path(NamedTuple):
    """Say what is known of a path; "" and None: nothing."""

    prefix: str
    ases: graph.Ases | None
    is_best: bool
    reason: str
    next_hop: str
    protocol: str
    origin: str
    local_pref: int | None
    med: int | None
    communities: list[str]


def read(facts: Facts) -> list[Path]:
    """Return the paths: prefix by prefix, of each the best one first, then the shorter ones.

    The order does not depend on the daemon's, which changes from one answer to the next.
    """
    found = [_path(row) for row in values.rows(facts.get("paths"))]
    prefixes = {prefix: place for place, prefix in enumerate(dict.fromkeys(path.prefix for path in found))}
    return sorted(found, key=lambda path: (prefixes[path.prefix], not path.is_best, *_rank(path)))


def _rank(path: Path) -> tuple[int, str, str, str]:
    return len(path.ases or ()), repr(path.ases), path.next_hop, path.protocol


def _path(row: Facts) -> Path:
    return Path(
        values.text(row.get("prefix")),
        _ases(row),
        row.get("best") is True,
        values.text(row.get("reason")),
        values.text(row.get("next_hop")),
        values.text(row.get("protocol")),
        values.text(row.get("origin")),
        values.whole(row.get("local_pref")),
        values.whole(row.get("med")),
        values.texts(row.get("communities")) + values.texts(row.get("large_communities")),
    )


def _ases(row: Facts) -> graph.Ases | None:
    """Return the AS path; a set in it is a tuple."""
    given = row.get("segments") if isinstance(row.get("segments"), list) else row.get("as_path")
    if not isinstance(given, list):
        return None
    found: list[int | tuple[int, ...]] = []
    for each in given:
        if isinstance(each, list):
            found.append(tuple(values.wholes(each)))
        elif (asn := values.whole(each)) is not None:
            found.append(asn)
        else:
            return None
    return tuple(found)


def picture(paths: list[Path], own: str) -> str:
    """Return the graphs, and below them the table."""
    if not paths:
        return ""
    drawn = []
    several = len({path.prefix for path in paths}) > 1
    grouped = routes_of(paths)
    for prefix, routes in grouped[:MOST_GRAPHS]:
        shapes = graph.draw(routes, own)
        if shapes is None:
            continue
        title = f'<p class="route">{escape(prefix)}</p>' if several else ""
        size = f'width="{shapes.width}" height="{shapes.height}" viewBox="0 0 {shapes.width} {shapes.height}"'
        left = f'<p class="more">{shapes.more} more paths are in the table.</p>' if shapes.more else ""
        drawn.append(
            f'{title}<div class="graph" tabindex="0" role="group" aria-label="AS paths">'
            f'<svg {size} role="img" '
            f'aria-label="{escape(shapes.words)}">{shapes.markup}</svg></div>{left}'
        )
    if more := len(grouped[MOST_GRAPHS:]):
        drawn.append(f'<p class="more">Paths to {more} more prefixes are in the table.</p>')
    return "".join(drawn) + _table(paths, several)


def routes_of(paths: list[Path]) -> list[tuple[str, list[graph.Route]]]:
    """Return the prefixes with their paths through other ASes, each with whether it is the best."""
    found: dict[str, list[graph.Route]] = {}
    for path in paths:
        if path.ases:
            found.setdefault(path.prefix, []).append(graph.Route(path.ases, path.is_best))
    return list(found.items())


def _table(paths: list[Path], several: bool) -> str:
    shown = paths[:MOST]
    has_path = any(path.ases is not None for path in shown)
    columns = {
        "prefix": several,
        "path": has_path,
        "via": not all(path.ases is not None for path in shown),
        "next": any(path.next_hop for path in shown),
        "pref": any(path.local_pref is not None for path in shown),
        "med": any(path.med is not None for path in shown),
        "origin": any(path.origin for path in shown),
        "communities": any(path.communities for path in shown),
    }
    kept = [key for key, is_kept in columns.items() if is_kept]
    heads = [Cell(unseen("Choice"), "choice"), *(Cell(TITLES[key], key) for key in kept)]
    rows = []
    for path in shown:
        cells = _cells(path)
        rows.append([Cell(_choice(path), "choice"), *(_cell(cells[key], key) for key in kept)])
    drawn = table("paths", "Paths", heads, rows)
    more = len(paths) - len(shown)
    return f'{drawn}<p class="more">{more} more paths are in the text.</p>' if more else drawn


def _cells(path: Path) -> dict[str, str]:
    return {
        "prefix": escape(path.prefix) or UNKNOWN,
        "path": escape(as_text(path.ases), LONGEST_PATH),
        "via": name(path.protocol) if path.protocol else UNKNOWN,
        "next": escape(path.next_hop) or UNKNOWN,
        "pref": UNKNOWN if path.local_pref is None else str(path.local_pref),
        "med": UNKNOWN if path.med is None else str(path.med),
        "origin": escape(path.origin) or UNKNOWN,
        "communities": communities.chips(path.communities),
    }


def _cell(markup: str, key: str) -> Cell:
    return Cell(markup, f"{key} none" if markup == UNKNOWN else key, LABELS.get(key, ""))


def _choice(path: Path) -> str:
    if not path.is_best:
        return "also"
    reason = f" <small>{escape(why(path))}</small>" if why(path) else ""
    return f'<b><span aria-hidden="true">★</span> best</b>{reason}'


def why(path: Path) -> str:
    """Return why a path is the best one; "": it is not known."""
    return REASONS.get(path.reason, path.reason)


def as_text(ases: graph.Ases | None) -> str:
    """Return an AS path as routers print it."""
    if ases is None:
        return UNKNOWN
    shown = [graph.label(each) for each in ases[:MOST_ASES]]
    more = len(ases) - len(shown)
    return " ".join([*shown, f"… {more} more"] if more else shown) or "local"


def words_of(paths: list[Path]) -> str:
    """Return the paths as text."""
    lines = []
    several = len({path.prefix for path in paths}) > 1
    for path in paths[:MOST]:
        reason = f" ({plain(why(path))})" if path.is_best and why(path) else ""
        parts = [
            f"★ best{reason}" if path.is_best else "also",
            plain(path.prefix) if several else "",
            as_text(path.ases) if path.ases is not None else plain(path.protocol),
            f"via {plain(path.next_hop)}" if path.next_hop else "",
            "" if path.local_pref is None else f"pref {path.local_pref}",
            "" if path.med is None else f"MED {path.med}",
            plain(path.origin),
            " ".join(map(plain, path.communities[: communities.MOST])),
        ]
        lines.append("  ".join(filter(None, parts)))
    if len(paths) > MOST:
        lines.append(f"{len(paths) - MOST} more paths")
    return "\n".join(lines)
