"""Frozen answers: kept in one of three places by one rule, bounded, fair, never in the way of an answer."""

from __future__ import annotations

import json
import logging
import os
import re
import sqlite3
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import TEXT, Command, Router
from lookingglass import in_sqlite, results
from lookingglass.cabinet import ENTRY_OVERHEAD, Cabinet, Keeping
from lookingglass.in_sqlite import SQLiteCabinet
from lookingglass.output import Output
from lookingglass.problems import Busy
from lookingglass.results import RESULT_NAME, Results
from lookingglass.stores import open_cabinet
from lookingglass.visitors import Visitor
from rfc8522 import End, Envelope, Subject, outcome
from tests.redis_server import RedisServer
from tests.support import HERE, V1, asker, build, errors_of, small_disk

BASE = "https://lg.example.net"
DAY = 86400.0
SMALL, LARGE = Keeping(DAY, 10, 1 << 20), Keeping(DAY, 10, 1 << 30)
ROUTER = Router("lg.example", 0, {}, details={"city": "Berlin", "country": "de"})
PING = Command("ping", "Ping", "host", {TEXT: {}})
SUBJECT = Subject(ROUTER, PING, "lossy.example", "192.0.2.1", "", TEXT, 256)
EXIT = End("exit", 0, 1.0, 1e9)

Open = Callable[[Keeping], Cabinet]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.kill()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the configuration of a store."""
    names = {"memory": "memory", "sqlite": f"sqlite:{tmp_path}/limits.db"}
    return names.get(request.param) or str(request.getfixturevalue("server").url)


@pytest.fixture
def opened(where: str) -> Iterator[Open]:
    """Yield what opens a cabinet, which is closed afterwards."""
    cabinets: list[Cabinet] = []

    def open_one(keeping: Keeping) -> Cabinet:
        cabinets.append(open_cabinet(where, keeping))
        return cabinets[-1]

    yield open_one
    for each in cabinets:
        each.close()


class Now:
    """A clock that is set."""

    def __init__(self) -> None:
        self.seconds = 1.8e9

    def __call__(self) -> float:
        return self.seconds


def of(network: str) -> Visitor:
    """Return a visitor from a network."""
    address = network.partition("/")[0]
    return Visitor(address, address, BASE)


def envelope(text: str = "hello\n", end: End = EXIT) -> tuple[int, Envelope]:
    return outcome(SUBJECT, text, end, {}, None)


def keep(kept: Results, network: str = "198.51.100.0/24", text: str = "hello\n") -> str:
    """Keep an answer and return its name, "" when it is not kept."""
    told = kept.keep(of(network), SUBJECT, *envelope(text))["data"].get("result", "")
    return str(told).rpartition("/")[2]


def names(number: int, first: int = 0) -> list[str]:
    return [f"{each:032x}" for each in range(first, first + number)]


def fill(cabinet: Cabinet, owner: str, wanted: list[str], body: bytes = b"x", expires: float = 2e9) -> None:
    for name in wanted:
        cabinet.put(name, owner, body, 1.8e9, expires)


def left(cabinet: Cabinet, wanted: list[str]) -> list[str]:
    return [name for name in wanted if cabinet.get(name, 1.8e9)]


# --- one rule in three places


def test_answer_is_kept_as_it_was_with_nothing_of_the_asker(opened: Open) -> None:
    cabinet = opened(SMALL)
    kept = Results(SMALL, cabinet, Now())
    status, answer = envelope()
    told = kept.keep(of("198.51.100.0/24"), SUBJECT, status, answer)
    name = told["data"]["result"].removeprefix(f"{BASE}/results/")
    assert re.fullmatch(RESULT_NAME, name)
    frozen = kept.find(name)
    assert frozen
    assert frozen == ("ping lossy.example", "lg.example", "Berlin DE", 200, answer, "2027-01-16T08:00:00Z")
    assert "result" not in answer["data"]
    assert "198.51.100" not in json.dumps(frozen)


def test_names_are_random_and_never_the_same(opened: Open) -> None:
    kept = Results(SMALL, opened(SMALL))
    found = {keep(kept) for _ in range(20)}
    assert len(found) == 20


def test_oldest_of_the_network_that_has_most_goes(opened: Open) -> None:
    cabinet = opened(SMALL)
    few, many = names(3), names(30, 100)
    fill(cabinet, "few", few)
    fill(cabinet, "many", many)
    assert left(cabinet, few) == few
    assert left(cabinet, many) == many[-7:]


def test_network_that_has_most_bytes_pushes_out_its_own(opened: Open) -> None:
    cabinet = opened(Keeping(DAY, 1000, 100_000))
    few, many = names(20), names(50, 100)
    fill(cabinet, "few", few, b"s" * 1000)
    fill(cabinet, "many", many, b"l" * 9000)
    assert left(cabinet, few) == few
    assert left(cabinet, many) == many[-7:]
    assert 20 * (1000 + ENTRY_OVERHEAD) + 7 * (9000 + ENTRY_OVERHEAD) < 100_000


def test_one_client_does_not_push_out_anothers_however_often_it_asks(opened: Open) -> None:
    kept = Results(SMALL, opened(SMALL))
    mine = [keep(kept, "192.0.2.0/24") for _ in range(4)]
    for _ in range(100):
        assert keep(kept, "2001:db8::/48", os.urandom(2000).hex())
    assert all(kept.find(name) for name in mine)


def test_many_networks_with_one_answer_each_leave_the_youngest(opened: Open) -> None:
    cabinet = opened(SMALL)
    wanted = names(25)
    for name in wanted:
        fill(cabinet, f"owner {name}", [name])
    assert left(cabinet, wanted) == wanted[-10:]


def test_answer_that_is_larger_than_all_there_is_is_not_kept(opened: Open) -> None:
    cabinet = opened(Keeping(DAY, 10, 10_000))
    fill(cabinet, "small", names(2))
    assert not cabinet.put(names(1, 9)[0], "large", b"x" * 20_000, 1.8e9, 2e9)
    assert left(cabinet, names(1, 9)) == []
    assert left(cabinet, names(2)) == names(2)


def test_answer_expires_after_its_time(where: str, opened: Open) -> None:
    now = Now()
    keeping = Keeping(1.0, 10, 1 << 20)
    kept = Results(keeping, opened(keeping), now)
    name = keep(kept)
    assert kept.find(name)
    now.seconds += 1.001
    if where.startswith("unix"):  # it has a clock of its own
        time.sleep(1.05)
    assert kept.find(name) is None
    assert keep(kept)


def test_expired_answers_count_for_nothing(opened: Open, where: str) -> None:
    if where.startswith("unix"):
        return  # Redis has a clock of its own
    cabinet = opened(SMALL)
    old, new = names(10), names(10, 100)
    fill(cabinet, "old", old, expires=1.8e9 + 5)
    for name in new:
        cabinet.put(name, "new", b"x", 1.8e9 + 6, 2e9)
    assert left(cabinet, new) == new
    assert not [name for name in old if cabinet.get(name, 1.8e9 + 6)]


def test_same_cabinet_is_everybodys(where: str, opened: Open) -> None:
    if where == "memory":
        return
    one, other = Results(SMALL, opened(SMALL)), Results(SMALL, opened(SMALL))
    name = keep(one)
    assert other.find(name)
    assert one._cabinet.secret() == other._cabinet.secret()


def test_network_is_not_found_in_the_store(tmp_path: Path) -> None:
    kept = Results(SMALL, SQLiteCabinet(f"{tmp_path}/limits.db", SMALL))
    keep(kept, "198.51.100.0/24")
    kept.close()
    data = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"198.51.100" not in data
    assert os.stat(tmp_path / "limits.db").st_mode & 0o777 == 0o600


def test_nothing_of_results_in_redis_is_without_our_prefix_or_for_ever(server: RedisServer) -> None:
    cabinet = open_cabinet(server.url, SMALL)
    kept = Results(SMALL, cabinet)
    for number in range(30):
        assert keep(kept, f"192.0.{number}.0/24")
    keys: Any = server.client.keys("*")
    assert all(key.startswith("{tinytracer}:result") for key in keys)
    assert not [key for key in keys if server.client.ttl(key) < 0]
    assert server.client.hlen("{tinytracer}:results:sums") == 10
    cabinet.close()


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"{", b'{"title": ""}', zlib.compress(b"[]"), zlib.compress(b'{"title": ""}')]
)
def test_body_of_another_version_is_no_result(opened: Open, body: bytes) -> None:
    cabinet = opened(SMALL)
    cabinet.put(names(1)[0], "owner", body, 1.8e9, 2e9)
    assert Results(SMALL, cabinet, Now()).find(names(1)[0]) is None


@pytest.mark.parametrize("pack", [zlib.compress, lambda body: body], ids=["packed", "plain"])
def test_body_longer_than_any_answer_is_no_result(opened: Open, pack: Callable[[bytes], bytes]) -> None:
    kept = Results(LARGE, opened(LARGE), Now())
    one, other = names(2)
    fields = {"title": "", "router": "", "place": "", "status": 200, "kept_until": ""}
    for name, length in ((one, kept._most), (other, kept._most + 1)):
        body = json.dumps({**fields, "envelope": {"data": {}}}).encode()
        kept._cabinet.put(name, "owner", pack(body.ljust(length)), 1.8e9, 2e9)
    assert kept.find(one)
    assert kept.find(other) is None


def test_bomb_costs_no_memory(opened: Open) -> None:
    kept = Results(SMALL, opened(SMALL), Now())
    packer = zlib.compressobj()
    bomb = b"".join(packer.compress(b" " * (1 << 20)) for _ in range(512)) + packer.flush()
    assert len(bomb) < 1 << 20
    kept._cabinet.put(names(1)[0], "owner", bomb, 1.8e9, 2e9)
    tracemalloc.start()
    try:
        assert kept.find(names(1)[0]) is None
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("line", [b"\xff", b"\n", b"\xff\n", b"\x01", "𐀀".encode(), b'"'])
def test_answer_whose_output_takes_most_in_json_can_be_read_again(line: bytes) -> None:
    output = Output(262144, 0)
    output.add(line * (262144 // len(line)))
    kept = Results(LARGE, open_cabinet("memory", LARGE))
    text = "".join(output.pieces)
    assert kept.find(keep(kept, text=text)) is not None


def test_answer_that_could_not_be_read_again_has_no_link() -> None:
    kept = Results(SMALL, open_cabinet("memory", SMALL))
    kept.output_limit = 1024
    status, answer = envelope("x" * kept._most)
    assert "result" not in kept.keep(of("192.0.2.0/24"), SUBJECT, status, answer)["data"]


# --- what is kept


@pytest.mark.parametrize(
    ("text", "end", "is_kept"),
    [
        ("", EXIT, True),
        ("no\n", End("exit", 3, 1.0, 1e9), True),  # fail
        ("half", End("time", None, 1.0, 1e9), True),
        ("", End("time", None, 1.0, 1e9), False),
        ("half", End("closing", None, 1.0, 1e9), True),
        ("much", End("full", None, 1.0, 1e9), True),
    ],
)
def test_finished_answers_are_kept_and_stopped_ones_with_output(text: str, end: End, is_kept: bool) -> None:
    kept = Results(SMALL, open_cabinet("memory", SMALL))
    status, answer = envelope(text, end)
    told = kept.keep(of("192.0.2.0/24"), SUBJECT, status, answer)
    assert ("result" in told["data"]) == is_kept


def test_router_that_is_not_reached_leaves_no_result() -> None:
    kept = Results(SMALL, open_cabinet("memory", SMALL))
    router = ROUTER._replace(via=("ssh", "r1"))
    status, answer = outcome(SUBJECT._replace(router=router), "", End("exit", 255, 1.0, 1e9), {}, None)
    assert status == 502
    assert kept.keep(of("192.0.2.0/24"), SUBJECT, status, answer) == answer


@pytest.mark.parametrize("size", [0, 1, 300, 511, 512, 5000, 40_000, 300_000])
def test_what_is_packed_is_read_again_whatever_its_size(size: int) -> None:
    body = json.dumps({"": "".join(chr(number % 251) for number in range(size))}).encode()
    assert results._unpack(results._pack(body), len(body)) == body


def test_viewers_of_one_run_have_a_result_each_packed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    packed: list[bytes] = []
    pack = results._pack

    def count(data: bytes) -> bytes:
        packed.append(data)
        return pack(data)

    monkeypatch.setattr(results, "_pack", count)
    kept = Results(SMALL, open_cabinet("memory", SMALL), Now())
    found = {keep(kept, f"192.0.{number}.0/24") for number in range(8)}
    assert len(found) == 8
    assert len(packed) == 1


# --- bounds


def test_memory_is_bounded_under_ten_thousand_answers_of_256_kib() -> None:
    keeping = Keeping(DAY, 1000, 64 << 20)
    kept = Results(keeping, open_cabinet("memory", keeping))
    line = os.urandom(30).hex()
    status, answer = envelope("\n".join([line] * 4300)[: 256 << 10])
    kept._packed = lambda frozen: b"".join(  # type: ignore[method-assign]
        (os.urandom(32), bytes(131_072 + frozen.status))
    )  # as if it shrank to half only: what this test is about is how much stays
    tracemalloc.start()
    try:
        for number in range(10_000):
            kept.keep(of(f"192.0.{number % 50}.0/24"), SUBJECT, status, answer)
        size, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 66 << 20
    assert peak < 68 << 20


def test_file_is_bounded_and_limits_have_room_in_it(tmp_path: Path) -> None:
    keeping = Keeping(DAY, 100, 1 << 20)
    cabinet = SQLiteCabinet(f"{tmp_path}/limits.db", keeping)
    for number in range(500):
        assert cabinet.put(names(1, number)[0], f"{number % 7}", os.urandom(50_000), 1.8e9, 2e9)
    cabinet.close()
    assert os.path.getsize(tmp_path / "limits.db") < 2 << 20


# --- stores that are gone, slow or full


@pytest.mark.lab  # it needs root: for a file system of its own
@pytest.mark.parametrize("left", [0, 100_000])  # by the database's word, and by our own
def test_full_disk_costs_results_only_and_the_log_says_it_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    monkeypatch.setattr(results, "RETRY", 0.0)
    monkeypatch.setattr(in_sqlite, "LEFT_FREE", left)
    with small_disk(tmp_path / "small", "size=256k") as folder:
        kept = Results(SMALL, SQLiteCabinet(f"{folder}/limits.db", SMALL))
        text = os.urandom(40_000).hex()
        told = [keep(kept, text=text) for _ in range(12)]
        assert told[0]
        assert "" in told
        assert kept.find(told[0])
        errors = [each for each in caplog.records if each.levelno == logging.ERROR]
        kept.close()
    assert len(errors) == 1
    assert "full" in errors[0].getMessage()


def test_store_that_fails_is_left_alone_for_a_while_and_used_when_it_is_back(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING)
    cabinet = open_cabinet("memory", SMALL)
    kept = Results(SMALL, cabinet)
    asked: list[str] = []

    def fail(name: str, *rest: Any) -> bool:
        asked.append(name)
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(cabinet, "put", fail)
        assert [keep(kept) for _ in range(5)] == [""] * 5
        assert len(asked) == 1
    monkeypatch.setattr(results, "RETRY", 0.0)
    kept._resting_until = 0.0
    assert keep(kept)
    assert [each.levelname for each in caplog.records] == ["ERROR", "WARNING"]


def test_nothing_is_kept_under_a_digest_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is short of memory may drop the key of owners as soon as it has it."""
    monkeypatch.setattr(results, "RETRY", 0.0)
    cabinet = open_cabinet("memory", SMALL)
    kept = Results(SMALL, cabinet)
    with monkeypatch.context() as patch:
        patch.setattr(cabinet, "secret", lambda: b"")
        assert keep(kept) == ""
    assert keep(kept)


def test_killed_redis_costs_results_only(server: RedisServer) -> None:
    kept = Results(SMALL, open_cabinet(server.url, SMALL))
    name = keep(kept)
    assert kept.find(name)
    server.kill()
    assert keep(kept) == ""
    with pytest.raises(Busy, match="Try again in 5 s"):
        kept.find(name)
    server.start()
    kept._resting_until = 0.0
    assert keep(kept)
    kept.close()


def test_file_that_was_removed_is_made_anew(tmp_path: Path) -> None:
    kept = Results(SMALL, SQLiteCabinet(f"{tmp_path}/limits.db", SMALL))
    name = keep(kept)
    for path in tmp_path.iterdir():
        path.unlink()
    assert kept.find(name) is None
    assert kept.find(keep(kept))
    kept.close()


@pytest.mark.parametrize("damage", [b"", b"no database" * 1000])
def test_file_that_is_none_costs_results_only(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "limits.db").write_bytes(damage)
    kept = Results(SMALL, SQLiteCabinet(f"{tmp_path}/limits.db", SMALL))
    assert bool(keep(kept)) == (damage == b"")
    kept.close()


# --- through the whole


def test_result_is_in_every_envelope_but_text_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    application = build()
    ask = asker(application, "/lg")
    reply = ask(f"{V1}/echo/192.0.2.1")
    link = reply.json["data"]["result"]
    assert re.fullmatch(rf"http://localhost/lg/results/{RESULT_NAME}", link)
    events = ask(f"{V1}/echo/192.0.2.1", "text/event-stream").text
    assert re.search(rf'"result": "http://localhost/lg/results/{RESULT_NAME}"', events)
    assert ask(f"{V1}/fail").json["data"]["result"]
    assert ask(f"{V1}/short").json["data"]["result"]
    assert "result" not in ask(f"{V1}/missing").json["data"]
    results_of = application._glass.results
    assert results_of
    kept = len(results_of._cabinet._entries)  # type: ignore[attr-defined]
    assert ask(f"{V1}/echo/192.0.2.1", "text/plain").status == 200
    assert len(results_of._cabinet._entries) == kept  # type: ignore[attr-defined]


def test_answer_of_each_of_several_routers_has_a_result() -> None:
    commands = {"true": {"cmd": ["echo", "yes"]}}
    ask = asker(build({"routers": [{"name": name, "commands": commands} for name in ("a", "b")]}))
    answers = ask(f"{V1}/true?routers=*").json["data"]["answers"]
    links = [each["data"]["result"].removeprefix("http://localhost") for each in answers]
    assert [ask(link).json["data"]["router"] for link in links] == ["a", "b"]


def test_results_false_keeps_nothing() -> None:
    application = build({"results": False})
    assert application._glass.results is None
    assert "result" not in asker(application)(f"{V1}/echo/192.0.2.1").json["data"]


def test_host_that_is_none_is_400_with_a_record(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tinytracer.journal")
    reply = asker(build())(f"{V1}/echo/192.0.2.1", HTTP_HOST="a b")
    assert reply.status == 400
    assert len([each for each in caplog.records if each.name == "tinytracer.journal"]) == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "results: expected an object, not true"),
        ({"keep": "1 year"}, "results.keep: expected a duration such as 1 day"),
        ({"keep": 5}, "results.keep: expected a duration such as 1 day"),
        ({"entries": 0}, "results.entries: "),
        ({"days": 1}, "results.days: there is no such key"),
    ],
)
def test_configuration_of_results_is_checked(value: Any, expected: str) -> None:
    (found,) = errors_of({"commands": {"true": {"cmd": ["true"]}}, "results": value})
    assert found.startswith(expected)


PEER = """
import sys
from lookingglass.cabinet import Keeping
from lookingglass.results import Results
from lookingglass.stores import open_cabinet
from lookingglass.visitors import Visitor
keeping = Keeping(86400.0, 10, 1 << 20)
kept = Results(keeping, open_cabinet(sys.argv[1], keeping))
print(kept.find(sys.argv[2]).title)
"""


def test_another_process_reads_what_this_one_keeps(where: str, opened: Open) -> None:
    if where == "memory":
        return
    name = keep(Results(SMALL, opened(SMALL)))
    argv = [sys.executable, "-c", PEER, where, name]
    told = subprocess.run(argv, cwd=HERE, capture_output=True, text=True, check=True, timeout=60).stdout
    assert told == "ping lossy.example\n"
