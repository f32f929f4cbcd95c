"""Every WSGI host, alone and behind every proxy: what works, measured and printed as a table."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.roads import HOSTS, LG, VISITOR, Instance, Site, Way, made_site, opened
from tests.support import PATIENT, V1, Server, soon, soon_gone

LIVE = {"text/plain": "text live", "text/event-stream": "events live"}
FORGED = {"X-Forwarded-For": "198.51.100.9", "Forwarded": "for=198.51.100.9"}
COLUMNS = (
    *(
        "page",
        "JSON",
        "text live",
        "events live",
        "prefix",
        "left, JSON",
        "left, silent",
        "left, printing",
        "stop",
    ),
    *("client", "hrefs", "test files"),
)
# TinyTracer alone knows no prefix: a proxy takes it away.
INSTANCES = [
    *(Instance(host) for host in HOSTS),
    *(Instance(host, LG) for host in HOSTS if host != "tinytracer"),
    *(Instance(host, "", True) for host in HOSTS),
    *(Instance(host, LG, True) for host in ("tinytracer", "gunicorn")),
]
# They learn that a visitor has left when they write, so a silent command goes on to its own end.
BLIND = {"mod_wsgi", "Apache"}
SENDERS = {"nginx": "nginx", "Caddy": "Caddy", "Apache": "Apache", "mod_wsgi": "Apache"}  # of test files
# Seconds in which nothing is left of a host that is told to stop; Apache ends its answers first.
STOP = dict.fromkeys(HOSTS, 6.0) | {"mod_wsgi": 20.0}


class Table:
    """Gather cells by road, and print them at the end."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, str]] = {}

    def set(self, way: Way, column: str, cell: str) -> None:
        assert column in COLUMNS
        road = way.road
        name = " < ".join(filter(None, (road.host, road.proxy))) + road.prefix.replace(LG, f" {LG}/")
        self._rows.setdefault(name, {})[column] = cell

    def __str__(self) -> str:
        width = max(map(len, self._rows), default=0)
        lines = [["".ljust(width), *COLUMNS]]
        for name, cells in self._rows.items():
            lines.append([name.ljust(width), *(cells.get(each, "-").ljust(len(each)) for each in COLUMNS)])
        return "\n".join("  ".join(line).rstrip() for line in lines)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with made_site() as site:
        yield site


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[Table]:
    table = Table()
    yield table
    terminal = request.config.pluginmanager.get_plugin("terminalreporter")
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    if terminal and capture:
        with capture.global_and_fixture_disabled():
            terminal.write_line(f"\n{table}")


@pytest.mark.slow
@pytest.mark.parametrize("instance", INSTANCES, ids=str)
def test_road_leads_to_visitors(site: Site, table: Table, instance: Instance) -> None:
    with opened(instance, site) as (host, ways):
        for way in ways:
            check_answers(way, table)
            check_places(way, table)
            check_departures(way, table)
            check_departure_from_json(host, way, table)
        if not instance.is_behind:
            check_stop(host, ways[0], table)


def check_answers(way: Way, table: Table) -> None:
    prefix = way.road.prefix
    status, _, page = way.get(f"{prefix}/", FORGED)
    assert status == 200
    assert b"<form" in page
    assert way.get(f"{prefix}/style.css")[0] == 200
    table.set(way, "page", "yes")
    assert f'value="{VISITOR}"' in page.decode()
    assert b"198.51.100.9" not in page
    table.set(way, "client", "yes")
    assert json.loads(way.get(f"{prefix}{V1}/true")[2])["status"] == "success"
    answer = json.loads(way.get(f"{prefix}{V1}/echo/127.0.0.0%2F8")[2])
    assert answer["data"]["output"] == ["127.0.0.0/8"]
    table.set(way, "JSON", "yes")


def check_places(way: Way, table: Table) -> None:
    prefix, proxy = way.road.prefix, way.road.proxy
    hrefs = [each["href"] for each in json.loads(way.get(f"{prefix}{V1}/cmd")[2])["data"]["commands"]]
    assert hrefs
    assert all(href.startswith(f"{way.base}{V1}/") for href in hrefs)
    href = next(href for href in hrefs if href.endswith("/true"))
    assert json.loads(way.get(urlsplit(href).path)[2])["status"] == "success"
    table.set(way, "hrefs", "yes")
    if prefix:
        status, headers, _ = way.get(prefix)
        assert status == 308
        assert headers["Location"] in {f"{way.base}/", f"{prefix}/"} or proxy == "nginx"
        at_root = way.get(f"{V1}/true")[0] == 200
        assert at_root or not proxy
        table.set(way, "prefix", "yes")
    status, headers, body = way.get(f"{prefix}/testfiles/1MB.test")
    assert way.get(f"{prefix}/testfiles/.hidden")[0] in {403, 404}
    assert way.get(f"{prefix}/testfiles/")[0] in {403, 404}
    sender = SENDERS.get(proxy) or SENDERS.get(way.road.host, "TinyTracer")
    is_ours = "Content-Security-Policy" in headers
    assert (status, len(body), is_ours) == (200, 1_000_000, sender == "TinyTracer")
    table.set(way, "test files", sender)


def check_departures(way: Way, table: Table) -> None:
    is_blind = bool(BLIND & {way.road.host, way.road.proxy})
    names = {"hush": "left, silent", "talk": "left, printing"}
    for command, column in names.items():
        most = 0.5 if is_blind and command == "hush" else PATIENT
        found = []
        for media, live in LIVE.items():
            found.append(way.seconds_after_leaving(command, media, most))
            table.set(way, live, "yes")  # for its first line has come while it went on
        seconds = [each for each in found if each is not None]
        assert len(seconds) == len(LIVE) or most < 1
        table.set(way, column, f"{max(seconds):.2f} s" if seconds else "no")


def check_departure_from_json(host: Server, way: Way, table: Table) -> None:
    """Leave before there is anything to write: who learns nothing goes on to the command's own end."""
    if BLIND & {way.road.host, way.road.proxy}:
        table.set(way, "left, JSON", "no")
        return
    connection = way.ask("hush", "application/json")
    assert soon(lambda: waiting(host))
    children = waiting(host)
    began = time.monotonic()
    connection.close()
    assert soon_gone(*children)
    table.set(way, "left, JSON", f"{time.monotonic() - began:.2f} s")


def waiting(host: Server) -> set[int]:
    """Return the processes below a host that wait, which no worker and no watcher does in this way."""
    found = set()
    for pid in host.children():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep\0"):
                found.add(pid)
    return found


def check_stop(host: Server, way: Way, table: Table) -> None:
    """Stop a host while a command runs that does not want to end."""
    pid, connection = way.begin("stay", "text/plain")
    with connection:
        children = host.children()
        assert pid in children
        began = time.monotonic()
        host.process.terminate()
        host.process.communicate(timeout=STOP[way.road.host])
        assert soon_gone(*children)
        table.set(way, "stop", f"{time.monotonic() - began:.1f} s")
