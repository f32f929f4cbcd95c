"""Stores: one rule in three places, leases of processes that die, and stores that are gone, slow or full."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lookingglass import in_redis, in_sqlite
from lookingglass.cabinet import Cabinet, Keeping
from lookingglass.guard import Guard, Lease, Limits, Rate
from lookingglass.problems import Refusal
from lookingglass.sharing import Shared
from lookingglass.store import OWNED, Claim, Gone, Memory, Share, Store, Token
from lookingglass.stores import open_cabinet, open_store, read_store
from tests.redis_server import RedisServer
from tests.storing import BUCKET, CERTAIN, KEYS, POSSIBLE, SPENT, WAITS, Cells, be_patient
from tests.support import (
    GENEROUS,
    HERE,
    V1,
    Server,
    asker,
    at_once,
    build,
    changed,
    commands_of,
    configuration,
    descendants,
    error,
    errors_of,
    examples,
    free_port,
    small_disk,
    soon,
    soon_gone,
    stat,
)

WAITING = {(module, name): getattr(module, name) for module, name in WAITS}
SLOW = Rate(1, 86400.0)  # nothing comes back while a test runs
BACK = 20.0  # seconds in which a store that is back has been used, on any machine
PATIENCE = 4.0  # seconds in which a refusal has come, also on a busy machine; on an idle one it takes 0.5 s


@pytest.fixture(autouse=True)
def patient() -> Iterator[None]:
    """Let a busy machine look like no store that is gone."""
    with pytest.MonkeyPatch.context() as patch:
        be_patient(patch.setattr)
        yield


@pytest.fixture
def hasty() -> Iterator[None]:
    """Let stores be as hasty as they are in the program."""
    with pytest.MonkeyPatch.context() as patch:
        for (module, name), seconds in WAITING.items():
            patch.setattr(module, name, seconds)
        yield


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.kill()


@pytest.fixture(params=["sqlite", "redis"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the configuration of a store that processes can share."""
    if request.param == "redis":
        url: str = request.getfixturevalue("server").url
        return url
    return f"sqlite:{tmp_path}/limits.db"


Open = Callable[[str], Shared]


@pytest.fixture
def open_shared() -> Iterator[Open]:
    """Yield what opens stores, which are closed afterwards, each as if in a process of its own."""
    opened: list[Store] = []

    def open_one(where: str) -> Shared:
        store = open_store(where)
        assert isinstance(store, Shared)
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        store.close()


def takes(store: Store, *claims: Claim) -> bool:
    return store.take(claims).refused is None


def gone_in(store: Store) -> float:
    """Return the seconds after which a store has said that it is gone."""
    began = time.monotonic()
    with pytest.raises(Gone):
        store.take([Share("x", 1)])
    return time.monotonic() - began


def is_back(store: Store) -> bool:
    try:
        store.take([])
    except Gone:
        return False
    return True


def has_room_for(store: Store, token: Token) -> bool:
    try:
        return takes(store, token)
    except Gone:
        return False


# --- one rule in three places


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    names = {"memory": "memory", "sqlite": f"sqlite:{tmp_path}/limits.db"}
    where = names.get(request.param) or request.getfixturevalue("server").url
    store = open_store(where)
    yield store
    store.close()


def test_claims_are_taken_all_or_none(store: Store) -> None:
    one, two, token = Share("one", 2), Share("two", 1), Token("token", SLOW, 5)
    assert takes(store, one, two, token)
    decision = store.take([one, token, two])
    assert decision.refused == two
    assert decision.seconds > 0
    assert decision.left["token"] == pytest.approx(4, abs=0.01)
    assert takes(store, one)
    assert not takes(store, one)
    store.give([one, two, token])
    assert takes(store, one, two)


def test_refused_claim_leaves_the_others_untouched_wherever_it_stands(store: Store) -> None:
    share, full = Share("share", 5), Share("full", 0)
    token, spent = Token("token", SLOW, 2), Token("spent", SLOW, 1)
    assert takes(store, spent)
    for missing in (full, spent):
        for claims in itertools.permutations([share, token, missing]):
            assert store.take(claims).refused == missing
    assert exactly(store, "share", 5)
    assert store.take([token]).left["token"] == pytest.approx(1, abs=0.01)


def test_tokens_come_back_with_time_and_never_above_the_burst(store: Store) -> None:
    token, quick = Token("token", Rate(1, 1.5), 2), Token("quick", Rate(100, 1.0), 2)
    assert takes(store, token, quick)
    assert takes(store, token)
    decision = store.take([token])
    assert decision.refused == token
    assert 0 < decision.seconds <= 1.5
    time.sleep(decision.seconds)
    assert takes(store, token)
    assert store.take([quick]).left["quick"] == pytest.approx(1, abs=0.01)


def test_refund_is_given_back_and_a_charge_makes_debts(store: Store) -> None:
    token = Token("token", Rate(60, 60.0), 10)
    assert takes(store, token._replace(amount=10.0))
    store.give([token._replace(amount=10.0)], refund=True)
    assert takes(store, token._replace(amount=10.0))
    store.give([], charges=[(token, 30)])
    decision = store.take([token._replace(amount=0.0)])
    assert decision.seconds == pytest.approx(30, abs=5)


def test_refund_never_fills_a_bucket_over_its_brim(store: Store) -> None:
    token = Token("token", Rate(10, 1.0), 2)
    assert takes(store, token)
    time.sleep(0.3)
    store.give([token], refund=True)
    assert store.take([token]).left["token"] == pytest.approx(1, abs=0.01)


def test_reserve_is_for_those_who_may_take_it(store: Store) -> None:
    token = Token("token", SLOW, 4, reserve=2.0)
    assert [takes(store, token) for _ in range(3)] == [True, True, False]
    assert [takes(store, token._replace(reserve=0.0)) for _ in range(3)] == [True, True, False]


def test_penalty_doubles_the_wait_down_to_its_floor(store: Store) -> None:
    full, penalty = Share("full", 0, 429), Token("penalty", Rate(20, 60.0), 2, floor=-200)
    waits = [store.take([full], penalty).seconds for _ in range(12)]
    assert waits[:2] == [5, 5]
    assert waits[2] == pytest.approx(10, abs=2)
    debt = penalty._replace(amount=0.0)
    waits = [store.take([debt, full], penalty).seconds for _ in range(8)]
    assert waits[:3] == pytest.approx([20, 40, 80], rel=0.2)
    assert waits[-1] == pytest.approx(600, rel=0.05)


def test_refusal_with_another_status_is_no_penalty(store: Store) -> None:
    full, penalty = Share("full", 0, 503), Token("penalty", SLOW, 1)
    for _ in range(5):
        store.take([full], penalty)
    assert store.take([penalty._replace(amount=0.0)]).refused is None


def test_one_owner_has_its_part_of_the_table_and_others_have_theirs(store: Store) -> None:
    tokens = [Token(f"token {number}", SLOW, 5, owner="one") for number in range(OWNED + 10)]
    taken = sum(takes(store, token) for token in tokens)
    assert taken == OWNED
    assert store.take([tokens[-1]]).seconds == float("inf")
    assert takes(store, tokens[0])
    assert takes(store, tokens[-1]._replace(owner="two"))


def test_full_bucket_is_forgotten(store: Store, tmp_path: Path) -> None:
    quick = Token("quick", Rate(100, 1.0), 1, owner="one")
    for number in range(OWNED):
        assert takes(store, quick._replace(key=f"quick {number}"))
    assert soon(lambda: takes(store, quick))


def test_guard_admits_exactly_its_limits_from_many_threads(store: Store) -> None:
    limits = Limits(per_client=1000, network_share=1.0, rate=Rate(9999, 60.0), burst=9999)
    guard = Guard(limits._replace(viewers=10, global_rate=Rate(9999, 60.0)), store)
    leases: list[Lease] = []

    def visit(number: int) -> None:
        for _ in range(5):
            with contextlib.suppress(Refusal):
                leases.append(guard.place("192.0.2.1"))

    for _ in range(2):
        at_once(8, visit)
        assert len(leases) == 10
        while leases:
            leases.pop().end()


class MemoryMachine(RuleBasedStateMachine):
    """Memory against a model that only counts."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.memory = Memory(lambda: self.now, size=6)
        self.held: list[list[Claim]] = []
        self.spent: dict[str, list[tuple[float, float]]] = {}  # when, and how much

    def tokens(self, token: Token) -> float:
        """Count what a bucket has, from all that was ever spent of it."""
        left, then = token.burst, 0.0
        for when, amount in self.spent.get(token.key, []):
            left = min(token.burst, left + (when - then) * token.rate.speed)
            left, then = min(token.burst, left - amount), when
        return min(token.burst, left + (self.now - then) * token.rate.speed)

    @rule(seconds=st.floats(0, 30))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        shares=st.sets(st.sampled_from("abc"), max_size=3),
        buckets=st.sets(st.sampled_from("xyz"), max_size=3),
        amount=st.integers(1, 3),
    )
    def take(self, shares: set[str], buckets: set[str], amount: int) -> None:
        claims: list[Claim] = [Share(key, 2) for key in sorted(shares)]
        claims += [Token(key, Rate(6, 60.0), 4, float(amount)) for key in sorted(buckets)]
        counts = {key: sum(claim.key == key for each in self.held for claim in each) for key in shares}
        fits = all(count < 2 for count in counts.values())
        lacking = [amount - self.tokens(each) for each in claims if isinstance(each, Token)]
        if any(0 < each < 1e-5 for each in lacking):  # a matter of rounding
            return
        fits = fits and all(each <= 0 for each in lacking)
        decision = self.memory.take(claims)
        assert (decision.refused is None) == fits
        if fits:
            self.held.append(claims)
            for key in buckets:
                self.spent.setdefault(key, []).append((self.now, float(amount)))
        elif isinstance(decision.refused, Token):
            assert decision.seconds == pytest.approx((amount - self.tokens(decision.refused)) * 10, abs=1e-3)

    @rule(number=st.integers(0, 9), refund=st.booleans())
    def give(self, number: int, refund: bool) -> None:
        if not self.held:
            return
        claims = self.held.pop(number % len(self.held))
        self.memory.give(claims, refund)
        for claim in claims:
            if refund and isinstance(claim, Token):
                self.spent[claim.key].append((self.now, -claim.amount))

    @rule(key=st.sampled_from("xyz"), amount=st.floats(0.1, 20))
    def charge(self, key: str, amount: float) -> None:
        self.memory.give([], charges=[(Token(key, Rate(6, 60.0), 4), amount)])
        self.spent.setdefault(key, []).append((self.now, amount))

    @invariant()
    def counts_what_is_held_and_nothing_else(self) -> None:
        held = [claim.key for each in self.held for claim in each if isinstance(claim, Share)]
        assert dict(self.memory._held) == {key: held.count(key) for key in set(held)}
        assert len(self.memory._due) == len(self.memory._buckets) == sum(self.memory._owned.values()) <= 6


MemoryMachine.TestCase.settings = settings(max_examples=examples(100), stateful_step_count=40, deadline=None)
TestMemoryMachine = MemoryMachine.TestCase


# --- processes


Start = Callable[[int, int], subprocess.Popen[str]]


@pytest.fixture
def start_worker(where: str, tmp_path: Path) -> Iterator[Start]:
    """Yield what starts a worker by its number and its steps; afterwards none is left."""
    with contextlib.ExitStack() as started:

        def start(number: int, steps: int) -> subprocess.Popen[str]:
            argv = [
                sys.executable,
                "-m",
                "tests.storing",
                where,
                str(tmp_path / "cells"),
                str(number),
                str(steps),
            ]
            worker = started.enter_context(
                subprocess.Popen(argv, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            started.callback(worker.kill)
            return worker

        yield start


def exactly(store: Store, key: str, limit: int) -> bool:
    """Tell whether exactly ``limit`` of a key are free."""
    claims = [Share(key, limit)]
    taken = 0
    while taken <= limit and takes(store, *claims):
        taken += 1
    for _ in range(taken):
        store.give(claims)
    return taken == limit


@pytest.mark.slow
def test_ten_thousand_operations_with_killed_workers_drift_nowhere(
    where: str, tmp_path: Path, open_shared: Open, start_worker: Start
) -> None:
    cells = Cells(tmp_path / "cells", 0)
    doomed = [start_worker(number, 1_000_000) for number in (4, 5)]
    workers = [start_worker(number, 3000) for number in range(4)]
    for number, worker in enumerate(doomed, 4):
        assert soon(lambda number=number: cells.of(CERTAIN, 3, number) > 0, 60)  # type: ignore[misc]
        time.sleep(0.1 * number)
        worker.kill()
        worker.communicate()
        with cells.alone():  # what it held counts until its lease expires
            cells.forget(CERTAIN, number)
    outputs = [worker.communicate(timeout=250)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4
    counts = [json.loads(output) for output in outputs]
    total = {name: sum(each[name] for each in counts) for name in counts[0]}
    assert sum(total.values()) >= 10_000
    assert total["refused"] > 100
    assert total["gone"] < 100
    store = open_shared(where)
    assert soon(lambda: all(exactly(store, key, limit) for key, limit in KEYS.items()))
    spent = BUCKET.burst - store.take([BUCKET._replace(amount=0.0)]).left[BUCKET.key]
    doubtful = len(doomed) + total["gone"]  # taken or given back, but not noted
    assert abs(spent - sum(cells.of(SPENT, 0, worker) for worker in range(6))) <= doubtful + 0.5
    assert all(cells.total(POSSIBLE, key) >= 0 for key in range(len(KEYS)))
    cells.close()


@pytest.mark.slow
def test_what_a_killed_process_held_is_free_within_ten_seconds_and_not_at_once(
    where: str, open_shared: Open, start_worker: Start
) -> None:
    worker = start_worker(0, 0)
    assert worker.stdout
    assert worker.stdout.readline() == "holding\n"
    store = open_shared(where)
    share = Share("a", KEYS["a"])
    time.sleep(3)  # it beats meanwhile
    assert not takes(store, share)
    worker.kill()
    worker.communicate()
    time.sleep(1)
    assert not takes(store, share)
    assert soon(lambda: takes(store, share))


def test_what_a_closed_store_held_is_free_at_once(where: str, open_shared: Open) -> None:
    one, two = open_shared(where), open_shared(where)
    share = Share("a", 1)
    assert takes(one, share)
    assert not takes(two, share)
    one.close()
    assert takes(two, share)
    assert gone_in(one) < PATIENCE


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Have leases end after 0.3 s, until this is undone."""
    for module in (in_sqlite, in_redis):
        monkeypatch.setattr(module, "LEASE", 0.3)
    return monkeypatch


def test_expired_lease_that_ends_late_frees_nothing_of_others(
    where: str, open_shared: Open, brief: pytest.MonkeyPatch
) -> None:
    stalled, share = open_shared(where), Share("a", 2)
    assert takes(stalled, share)
    with stalled._lock:  # as if it was stopped
        time.sleep(0.5)
        brief.undo()
        others = open_shared(where)
        assert takes(others, share)
        assert takes(others, share)
        assert not takes(others, share)
    stalled.give([share])
    assert not takes(stalled, share)
    assert not takes(others, share)
    others.give([share])
    assert soon(lambda: takes(stalled, share))


def test_process_that_stood_still_counts_again_what_it_holds(
    where: str, open_shared: Open, brief: pytest.MonkeyPatch
) -> None:
    stalled, share = open_shared(where), Share("a", 2)
    assert takes(stalled, share)
    with stalled._lock:
        time.sleep(0.5)
        brief.undo()
    assert takes(stalled, share)  # it notices first that it has another one
    other = open_shared(where)
    assert not takes(other, share)


def test_idle_process_has_nothing_to_do_and_is_known_again_when_it_asks(
    where: str, open_shared: Open, brief: pytest.MonkeyPatch
) -> None:
    store, share = open_shared(where), Share("a", 1)
    assert takes(store, share)
    store.give([share])
    assert soon(lambda: not store._bell.is_set() and not store._given)
    assert store._rest() is None
    time.sleep(0.5)
    brief.undo()
    assert takes(store, share)
    assert store._rest() is not None
    assert not takes(open_shared(where), share)


@pytest.mark.usefixtures("hasty")
def test_waiting_decisions_of_one_process_are_not_longer_than_half_a_second(
    where: str, open_shared: Open
) -> None:
    store = open_shared(where)
    assert takes(store)
    with store._lock:
        assert gone_in(store) < PATIENCE
    assert takes(store)


# --- stores that are gone, slow or full


def test_killed_redis_denies_at_once_and_is_used_when_it_is_back(
    server: RedisServer, open_shared: Open
) -> None:
    store, share = open_shared(server.url), Share("a", 2)
    assert takes(store, share)
    server.kill()
    assert gone_in(store) < PATIENCE
    server.start()
    assert soon(lambda: is_back(store), BACK)
    assert takes(store, share)  # and it knows what was held before
    assert not takes(store, share)


def test_redis_that_was_never_there_denies_and_is_used_when_it_comes(
    server: RedisServer, open_shared: Open
) -> None:
    server.kill()
    store = open_shared(server.url)
    assert gone_in(store) < PATIENCE
    server.start()
    assert soon(lambda: is_back(store), BACK)


@pytest.mark.usefixtures("hasty")
def test_slow_redis_denies_within_half_a_second_and_nothing_drifts(
    server: RedisServer, open_shared: Open
) -> None:
    store, share = open_shared(server.url), Share("a", 3)
    assert takes(store, share)
    server.signal(signal.SIGSTOP)
    longest = max(gone_in(store) for _ in range(5))
    store.give([share])
    time.sleep(2)
    assert min(gone_in(store) for _ in range(5)) < 0.1  # nobody asks it, and waits
    server.signal(signal.SIGCONT)
    assert longest < PATIENCE
    assert soon(lambda: is_back(store), BACK)
    assert exactly(store, "a", 3)
    assert exactly(store, "x", 1)  # what was asked meanwhile was taken by nobody


def test_full_redis_denies_and_is_used_when_there_is_room(server: RedisServer, open_shared: Open) -> None:
    store, share = open_shared(server.url), Share("a", 2)
    assert takes(store, share)
    server.client.config_set("maxmemory-policy", "noeviction")
    server.client.config_set("maxmemory", "1")
    assert gone_in(store) < PATIENCE
    store.give([share])
    server.client.config_set("maxmemory", "0")
    assert soon(lambda: is_back(store), BACK)
    assert exactly(store, "a", 2)


def test_emptied_redis_learns_again_what_is_held(server: RedisServer, open_shared: Open) -> None:
    store, share = open_shared(server.url), Share("a", 2)
    assert takes(store, share)
    server.client.flushall()
    server.client.script_flush()
    assert takes(store, share)
    assert not takes(store, share)


def test_redis_clock_that_was_set_back_keeps_nobody_out_for_long(
    server: RedisServer, open_shared: Open
) -> None:
    store, token = open_shared(server.url), Token("token", Rate(10, 1.0), 1)
    assert takes(store, token)
    key = f"{in_redis.KEY_PREFIX}bucket:token"
    server.client.hset(key, mapping={"tokens": 0, "since": time.time() + 3600})
    server.client.persist(key)
    assert not takes(store, token)
    assert soon(lambda: takes(store, token))


def test_nothing_in_redis_is_without_our_prefix_or_for_ever(server: RedisServer, open_shared: Open) -> None:
    guard = Guard(Limits(), open_shared(server.url))
    for number in range(5):
        place = guard.place(f"192.0.2.{number}")
        guard.slot(None, f"192.0.2.{number}", "r1").end()
        place.end()
    keys: Any = server.client.keys("*")
    assert keys
    assert all(key.startswith(in_redis.KEY_PREFIX) for key in keys)
    assert [key for key in keys if server.client.ttl(key) == -1] == [f"{in_redis.KEY_PREFIX}holders"]


@pytest.mark.usefixtures("hasty")
def test_sqlite_locked_by_another_process_denies_within_half_a_second(
    tmp_path: Path, open_shared: Open
) -> None:
    path = tmp_path / "limits.db"
    store, share = open_shared(f"sqlite:{path}"), Share("a", 2)
    assert takes(store, share)
    script = (
        "import sqlite3, sys; d = sqlite3.connect(sys.argv[1], isolation_level=None);"
        " d.execute('BEGIN EXCLUSIVE'); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as locking:
        assert locking.stdout
        locking.stdout.readline()
        assert gone_in(store) < PATIENCE
        store.give([share])
        locking.kill()
    assert soon(lambda: is_back(store), BACK)
    assert exactly(store, "a", 2)


def test_deleted_sqlite_file_is_made_again_for_all_processes(tmp_path: Path, open_shared: Open) -> None:
    path = tmp_path / "limits.db"
    one, two = open_shared(f"sqlite:{path}"), open_shared(f"sqlite:{path}")
    share = Share("a", 2)
    assert takes(one, share)
    assert takes(two, share)
    for each in tmp_path.glob("limits.db*"):
        each.unlink()
    assert gone_in(one) < PATIENCE
    assert soon(lambda: is_back(one) and is_back(two), BACK)
    assert not takes(one, share)
    assert not takes(two, share)


def test_sqlite_store_that_is_no_regular_file_is_refused_before_anybody_is_told_to_remove_it(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "limits.db")
    for path in (tmp_path / "limits.db", tmp_path, Path("/dev/null")):
        with pytest.raises(ValueError, match="needs the name of a regular file"):
            read_store(f"sqlite:{path}", tmp_path)
    assert read_store("sqlite:new.db", tmp_path) == f"sqlite:{tmp_path}/new.db"


def test_sqlite_without_its_folder_denies_until_it_is_back(tmp_path: Path, open_shared: Open) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    store = open_shared(f"sqlite:{folder}/limits.db")
    assert takes(store)
    folder.rename(tmp_path / "other")
    assert gone_in(store) < PATIENCE
    folder.mkdir()
    assert soon(lambda: is_back(store), BACK)


@pytest.mark.lab
def test_sqlite_on_a_full_disk_denies_until_there_is_room(tmp_path: Path, open_shared: Open) -> None:
    with small_disk(tmp_path / "small", "size=1m") as folder:
        store, share = open_shared(f"sqlite:{folder}/limits.db"), Share("a", 2)
        assert takes(store, share)
        ballast = fill_up(folder)
        longest = 0.0
        for number in range(2000):  # as many as the file has room for without the disk
            began = time.monotonic()
            is_there = has_room_for(store, Token(f"token {number}", SLOW, 5, owner=str(number)))
            longest = max(longest, time.monotonic() - began)
            if not is_there:
                break
        assert not is_there
        assert longest < PATIENCE
        store.give([share])
        ballast.unlink()
        assert soon(lambda: is_back(store), BACK)
        assert exactly(store, "a", 2)
        store.close()


@pytest.mark.lab
def test_results_give_way_to_limits_on_a_full_disk(tmp_path: Path, open_shared: Open) -> None:
    with small_disk(tmp_path / "small", "size=12m") as folder:
        where, keeping = f"sqlite:{folder}/limits.db", Keeping(86400.0, 1000, 64 << 20)
        store, share = open_shared(where), Share("a", 2)
        assert takes(store, share)
        cabinet = open_cabinet(where, keeping)
        kept = keep_until_full(cabinet)
        assert 5 < kept < 45  # of which each has 100 KB: they leave limits what they need
        assert all(has_room_for(store, Token(f"t{n}", SLOW, 5, owner=str(n))) for n in range(2000))
        fill_up(folder)
        tokens = (Token(f"u{n}", SLOW, 5, owner=f"u{n}") for n in range(20_000))
        lost = next(token for token in tokens if not has_room_for(store, token))
        assert soon(lambda: has_room_for(store, lost), BACK)
        assert cabinet.get(f"{0:032x}", 0.0) is None  # they have given way
        store.give([share])
        assert soon(lambda: is_back(store), BACK)
        assert exactly(store, "a", 2)
        cabinet.close()
        store.close()


def test_results_give_way_to_limits_in_a_full_redis(server: RedisServer, open_shared: Open) -> None:
    store, share = open_shared(server.url), Share("a", 2)
    assert takes(store, share)
    cabinet = open_cabinet(server.url, Keeping(86400.0, 1000, 64 << 20))
    for number in range(20):
        assert cabinet.put(f"{number:032x}", "owner", os.urandom(100_000), 0.0, 86400.0)
    used: Any = server.client.info("memory")
    server.client.config_set("maxmemory-policy", "noeviction")
    server.client.config_set("maxmemory", used["used_memory"] - 500_000)
    assert gone_in(store) < PATIENCE
    assert soon(lambda: is_back(store), BACK)
    assert takes(store, share)
    assert cabinet.get(f"{0:032x}", 0.0) is None
    assert not takes(store, share)
    cabinet.close()


def fill_up(folder: Path) -> Path:
    """Take all the room of a disk, and return the file that has it."""
    path = folder / "ballast"
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))
    return path


def keep_until_full(cabinet: Cabinet) -> int:
    """Keep answers until that fails, and return how many are kept."""
    for number in range(1000):
        try:
            cabinet.put(f"{number:032x}", "owner", os.urandom(100_000), 0.0, 86400.0)
        except Exception:
            return number
    raise AssertionError("a disk without an end")


@pytest.mark.lab
def test_sqlite_on_a_read_only_disk_denies_until_it_is_writable(tmp_path: Path, open_shared: Open) -> None:
    with small_disk(tmp_path / "small", "size=1m,ro") as folder:
        store = open_shared(f"sqlite:{folder}/limits.db")
        assert gone_in(store) < PATIENCE
        subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
        assert soon(lambda: is_back(store), BACK)
        assert exactly(store, "a", 2)
        store.close()


def test_frozen_answers_of_an_older_version_leave_their_room_to_limits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, open_shared: Open
) -> None:
    """They stood in the same file, which may not grow beyond PAGES."""
    monkeypatch.setattr(in_sqlite, "PAGES", 30)
    with contextlib.closing(sqlite3.connect(tmp_path / "limits", isolation_level=None)) as database:
        database.execute("CREATE TABLE result (body BLOB)")
        database.execute("INSERT INTO result VALUES (zeroblob(1000000))")
    store = open_shared(f"sqlite:{tmp_path}/limits")
    for number in range(20):
        assert store.take([Token(f"bucket {number}", SLOW, 1)]).refused is None


def test_sqlite_file_never_grows_beyond_its_pages(
    tmp_path: Path, open_shared: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_sqlite, "PAGES", 30)
    path = tmp_path / "limits.db"
    store, share = open_shared(f"sqlite:{path}"), Share("a", 2)
    assert takes(store, share)
    known = Token("known", Rate(10, 1.0), 10, owner="others")
    assert takes(store, known)
    brief = Token("", Rate(1, 5.0), 1)
    numbers = range(5000)
    assert not all(has_room_for(store, brief._replace(key=f"{n}", owner=f"{n}")) for n in numbers)
    assert soon(lambda: has_room_for(store, known))
    assert path.stat().st_size <= 30 * 4096
    assert takes(store, share)
    assert not takes(store, share)


def test_sqlite_file_that_is_none_denies(tmp_path: Path, open_shared: Open) -> None:
    path = tmp_path / "limits.db"
    path.write_bytes(b"something else" * 1000)
    assert gone_in(open_shared(f"sqlite:{path}")) < PATIENCE
    assert path.read_bytes() == b"something else" * 1000


def test_sqlite_forgets_what_an_earlier_start_of_the_machine_has_left(
    tmp_path: Path, open_shared: Open
) -> None:
    path = tmp_path / "limits.db"
    first, token, share = open_shared(f"sqlite:{path}"), Token("token", SLOW, 1), Share("a", 1)
    assert takes(first, token, share)
    first.close()
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE boot SET id = 'another'")
        database.execute("UPDATE bucket SET since = 1e9, full = 2e9")
        database.execute("INSERT INTO holder VALUES ('old', 1e9)")
        database.execute("INSERT INTO held VALUES ('a', 'old', 1)")
    second = open_shared(f"sqlite:{path}")
    assert takes(second, token, share)
    assert not takes(second, share)


# --- the application


def test_what_is_no_run_is_answered_without_the_store(tmp_path: Path) -> None:
    ask = asker(build({"store": f"unix://{tmp_path}/nobody.sock"}))
    began = time.monotonic()
    message = error(ask(f"{V1}/echo/192.0.2.1"), 503)
    assert time.monotonic() - began < PATIENCE
    assert message.startswith("Limits cannot be counted now. Try again in ")
    for path in ("/", "/healthz", f"{V1}/cmd", f"{V1}/routers", "/api/info", "/?ip=192.0.2.1&cmd=echo"):
        assert ask(path).status == 200


@pytest.mark.slow
def test_two_gunicorn_workers_have_one_limit_and_a_killed_one_gives_its_slots_back(
    where: str, tmp_path: Path
) -> None:
    limits = {**GENEROUS, "concurrent": 3, "viewers": 50}
    config = configuration(tmp_path, limits=limits, store=where)
    port = free_port()
    options = ["--workers", "2", "--threads", "16", "--bind", f"127.0.0.1:{port}"]
    argv = [sys.executable, "-m", "gunicorn", "--config", "examples/gunicorn.conf.py", *options]
    server = Server([*argv, "tinytracer:application"], port, {"TINYTRACER_CONFIG": str(config)})
    opened: list[socket.socket] = []  # what is asked there ends with them
    try:
        server.wait_until_ready()
        statuses = [status_of(server, number, opened) for number in range(24)]
        assert statuses.count(200) == 3
        assert statuses.count(503) == 21
        workers = [pid for pid in descendants(server.process.pid) if stat(pid)[1] == str(server.process.pid)]
        assert len(workers) == 2
        below = {pid: commands_of(pid) for pid in workers}
        assert sum(map(len, below.values())) == 3
        busiest = max(workers, key=lambda pid: len(below[pid]))
        os.kill(busiest, signal.SIGKILL)
        assert soon_gone(*below[busiest])  # by its watcher
        free = len(below[busiest])
        assert soon(lambda: status_of(server, 100, opened) == 200)
        statuses = [status_of(server, number, opened) for number in range(200, 216)]
        assert statuses.count(200) == free - 1
    finally:
        for each in opened:
            each.close()
        server.stop()


def status_of(server: Server, number: int, opened: list[socket.socket]) -> int:
    """Ask for a run that prints something and does not end; return its status."""
    connection = server.begin(f"{V1}/wait/127.0.1.{number}", "text/plain")
    opened.append(connection)
    return int(connection.recv(100).split()[1])


def test_sqlite_file_is_for_its_owner_only(tmp_path: Path, open_shared: Open) -> None:
    assert takes(open_shared(f"sqlite:{tmp_path}/limits.db"))
    assert (tmp_path / "limits.db").stat().st_mode & 0o777 == 0o600


def test_store_is_opened_at_the_first_question_only(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    guard = Guard(Limits(), open_store(f"sqlite:{tmp_path}/limits.db"))
    open_store("redis://127.0.0.1:9/0").close()
    assert os.listdir(tmp_path) == []
    guard.place("192.0.2.1").end()
    assert len(set(threading.enumerate()) - before) == 1
    guard.close()
    assert soon(lambda: set(threading.enumerate()) <= before)


def test_redis_without_its_package_is_an_error_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (error,) = errors_of(changed("store", "redis://user:secret@192.0.2.1/"))
    cure = f"{sys.executable} -m pip install redis"
    assert error == f"store: this store needs a package that is not here; {cure}"


def test_names_of_stores_are_read(tmp_path: Path) -> None:
    assert read_store("memory", tmp_path) == "memory"
    assert read_store("sqlite:limits.db", tmp_path) == f"sqlite:{tmp_path}/limits.db"
    assert read_store("redis://127.0.0.1/3", tmp_path) == "redis://127.0.0.1/3"
