"""Look-ups of names: shared, bounded, with a deadline; see also test_names_at_dns.py."""

from __future__ import annotations

import collections
import contextlib
import gc
import ipaddress
import itertools
import resource
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from lookingglass import configuration as conf
from lookingglass import names, targets
from lookingglass.glass import Answer, Glass
from lookingglass.loop import Loop
from lookingglass.names import (
    LookUp,
    NoAddress,
    ResolutionFailure,
    ResolutionTimeout,
    Resolver,
    Unresolved,
)
from lookingglass.problems import Busy, Problem, Refusal, TargetError
from lookingglass.questions import Question
from lookingglass.targets import Address, DenyTable
from lookingglass.visitors import Visitor
from tests.support import HERE, PATIENT, PRINTING, soon

GETADDRINFO = "socket.getaddrinfo"
CLIENT = ("192.0.2.1", "192.0.2.0/24")
MANY = 1000  # more than any test asks for


def a_resolver(per_client: int = MANY, places: int = MANY) -> Resolver:
    return Resolver(Loop(), per_client, 0.25, places)


def found(look_up: LookUp) -> tuple[Address, ...]:
    """Return what a look-up finds, or raise what it raises."""
    rung = threading.Event()
    look_up.listen(rung.set)
    end = time.monotonic() + PATIENT
    while (addresses := look_up.addresses()) is None:
        assert time.monotonic() < end, "a look-up without an end"
        rung.wait(0.02)
    return addresses


def resolve(name: str, resolver: Resolver | None = None) -> list[str]:
    """Look a name up; what does not hang has time on a busy machine as well."""
    with pytest.MonkeyPatch.context() as patch:
        if not name.startswith("silent"):
            patch.setattr(names, "DEADLINE", PATIENT)
        return [str(each) for each in found((resolver or a_resolver()).ask(name, *CLIENT))]


def answer_with(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[bytes]:
    """Have every name resolve to some addresses, and return what is asked for."""
    asked: list[bytes] = []

    def answer(name: bytes, *_: object, **__: object) -> list[Any]:
        asked.append(name)
        return [(0, 0, 0, "", (each, 0)) for each in answers]

    monkeypatch.setattr(GETADDRINFO, answer)
    return asked


class Hanging:
    """A getaddrinfo() that hangs for names that begin so, until ``release``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(names, "DEADLINE", 0.1)
        monkeypatch.setattr(GETADDRINFO, self)
        self.asked: list[bytes] = []
        self.result: OSError | None = None
        self._released = threading.Event()

    def __call__(self, name: bytes, *_: object, **__: object) -> list[Any]:
        self.asked.append(name)
        if name.startswith(b"silent"):
            assert self._released.wait(30)
            if self.result:
                raise self.result
        return [(0, 0, 0, "", ("192.0.2.1", 0))]

    def release(self, result: OSError | None = None) -> None:
        self.result = result
        self._released.set()


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    it = Hanging(monkeypatch)
    yield it
    it.release()


def held(resolver: Resolver) -> int:
    return resolver._places.taken


# ---- what a name is resolved to


def test_name_in_the_hosts_file_is_found() -> None:
    addresses = [ipaddress.ip_address(each) for each in resolve("localhost")]
    assert addresses
    assert all(address.is_loopback for address in addresses)


def test_answers_keep_their_order_and_are_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(
        monkeypatch, "2001:db8::2", "192.0.2.1", "2001:db8::2", "fe80::1%eth0", "192.0.2.1", "192.0.2.0"
    )
    assert resolve("a.example") == ["2001:db8::2", "192.0.2.1", "fe80::1", "192.0.2.0"]


@pytest.mark.parametrize(
    ("answers", "addresses"),
    [
        (["::ffff:127.0.0.1"], ["127.0.0.1"]),
        (["::ffff:c000:201", "192.0.2.1", "2001:db8::1"], ["192.0.2.1", "2001:db8::1"]),
        (["2001:db8::1", "::ffff:8.8.8.8"], ["2001:db8::1", "8.8.8.8"]),
        (["::192.0.2.1"], ["::c000:201"]),
    ],
)
def test_mapped_answer_is_the_ipv4_address_that_packets_reach(
    monkeypatch: pytest.MonkeyPatch, answers: list[str], addresses: list[str]
) -> None:
    answer_with(monkeypatch, *answers)
    assert resolve("a.example") == addresses


def test_name_is_looked_up_as_an_absolute_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer_with(monkeypatch, "192.0.2.1")
    for text in ("intranet", "a.example", "a.example.", "a." * 126 + "b"):
        resolve(targets.parse(text, "host").text)
    assert asked == [b"intranet.", b"a.example.", b"a.example.", b"a." * 126 + b"b."]


@pytest.mark.parametrize(
    ("hosts", "addresses"),
    [
        ("192.0.2.1 a.example", ["192.0.2.1"]),
        ("192.0.2.1\tA.Example. b # c\n2001:db8::1 b a.example\n", ["192.0.2.1", "2001:db8::1"]),
        ("::ffff:192.0.2.1 a.example\n192.0.2.1 a.example\n", ["192.0.2.1"]),
        ("nonsense a.example\n\n#\n127.1 a.example\n192.0.2.2  a.example", ["192.0.2.2"]),
        ("# 192.0.2.1 a.example\n192.0.2.1 # a.example\n192.0.2.1 xa.example a.example.net", []),
        ("a.example 192.0.2.1\n\xff\x00 a.example", []),
        ("", []),
        (None, []),
    ],
)
def test_hosts_file_comes_before_dns(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hosts: str | None, addresses: list[str]
) -> None:
    answer_with(monkeypatch, "203.0.113.1")
    monkeypatch.setattr(names, "HOSTS", str(tmp_path / "hosts"))
    if hosts is not None:
        (tmp_path / "hosts").write_text(hosts, encoding="latin-1")
    assert resolve("a.example") == (addresses or ["203.0.113.1"])


NO_SUCH_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
NO_ANSWER = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
REFUSED = socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure")
NO_FILES = OSError(24, "Too many open files")
NO_MEMORY = socket.gaierror(socket.EAI_MEMORY, "Memory allocation failure")


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        (NO_SUCH_NAME, NoAddress, 400),
        (NO_ANSWER, ResolutionFailure, 503),
        (REFUSED, ResolutionFailure, 503),
        (NO_FILES, ResolutionFailure, 503),
        (NO_MEMORY, ResolutionFailure, 503),
        (MemoryError(), ResolutionFailure, 503),
    ],
)
def test_failures_tell_no_such_name_from_no_answer(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[TargetError], status: int
) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    monkeypatch.setattr(GETADDRINFO, fail)
    resolver = a_resolver(places=1)
    for name in ("a.example", "b.example", "c.example"):  # and each gives its place back
        with pytest.raises(TargetError) as caught:
            resolve(name, resolver)
        assert type(caught.value) is kind
        assert caught.value.status == status
        assert name not in str(caught.value)


@pytest.mark.parametrize(("error", "is_ours"), [(NO_ANSWER, False), (REFUSED, False), (NO_FILES, True)])
def test_failure_is_the_names_own_where_the_resolver_answers_others(
    monkeypatch: pytest.MonkeyPatch, error: OSError, is_ours: bool
) -> None:
    def answer(name: bytes, *_: object, **__: object) -> NoReturn:
        raise NO_SUCH_NAME if name == b"nosuch.example." else error

    monkeypatch.setattr(GETADDRINFO, answer)
    resolver = a_resolver()
    for expected, before in ((True, None), (is_ours, "nosuch.example")):
        if before:
            with pytest.raises(NoAddress):
                resolve(before, resolver)
        with pytest.raises(ResolutionFailure) as caught:
            resolve("broken.example", resolver)
        assert caught.value.is_ours is expected


def test_failure_that_comes_late_is_one_of_silent_servers(
    hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "DEADLINE", 5)
    monkeypatch.setattr(names, "SLOW", 0.1)
    resolver = a_resolver()
    assert resolve("good.example", resolver)
    look_up = resolver.ask("silent.example", *CLIENT)
    time.sleep(0.15)
    hanging.release(NO_ANSWER)
    with pytest.raises(ResolutionTimeout) as caught:
        found(look_up)
    assert not caught.value.is_ours
    with pytest.raises(ResolutionTimeout, match="Try again in 30 s"):
        resolver.ask("silent.example", *CLIENT)


# ---- shared, and reused for a moment


def test_name_that_many_ask_for_at_once_is_looked_up_once(hanging: Hanging) -> None:
    hanging_for = a_resolver(per_client=1)
    look_ups = {id(hanging_for.ask("silent.example", f"192.0.{n}.1", f"192.0.{n}.0/24")) for n in range(100)}
    assert len(look_ups) == 1
    assert held(hanging_for) == 1
    assert soon(lambda: hanging.asked == [b"silent.example."])


def test_client_that_may_have_one_name_looked_up_is_told_so(hanging: Hanging) -> None:
    resolver = a_resolver(per_client=1)
    resolver.ask("silent.example", "192.0.2.1", "192.0.2.0/24")
    with pytest.raises(Refusal, match="You have 1 name being looked up already"):
        resolver.ask("other.example", "192.0.2.1", "192.0.2.0/24")


def test_outcome_is_reused_for_two_seconds_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer_with(monkeypatch, "192.0.2.1")
    monkeypatch.setattr(names, "REUSE", 1.0)
    resolver = a_resolver()
    for _ in range(10):
        assert resolve("a.example", resolver) == ["192.0.2.1"]
    assert asked.count(b"a.example.") == 1
    time.sleep(1.05)
    assert resolve("a.example", resolver) == ["192.0.2.1"]
    assert asked.count(b"a.example.") == 2
    assert names.Resolver(Loop(), 1, 0.25)._ended._seconds <= 2


def test_outcome_that_is_remembered_keeps_no_answer_alive(
    glass: Glass, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(monkeypatch, "8.8.8.8")
    monkeypatch.setattr(glass._aimer._resolver._ended, "_seconds", 1000)
    for _ in range(2):
        answer = glass.ask(Question("echo/a.example"), VISITOR)
        the_end(answer)
        answer.close()
        left = weakref.ref(answer)
        del answer
        assert soon(lambda: (gc.collect(), left())[1] is None)  # noqa: B023 - called here
    assert glass._aimer._resolver._ended.get("a.example")


def test_fault_of_ours_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise NO_FILES

    resolver = a_resolver()
    monkeypatch.setattr(GETADDRINFO, fail)
    with pytest.raises(ResolutionFailure):
        resolve("a.example", resolver)
    answer_with(monkeypatch, "192.0.2.1")
    assert resolve("a.example", resolver) == ["192.0.2.1"]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, "192.0.2.1")
    resolver = a_resolver()
    for number in range(2 * names.KEPT_NAMES):
        resolve(f"n{number}.example", resolver)
    assert len(resolver._ended._kept) == names.KEPT_NAMES
    assert not resolver._places.taken
    assert not resolver._under_way


# ---- names that hang


def test_abandoned_look_up_holds_its_place_until_it_ends(hanging: Hanging) -> None:
    resolver = a_resolver(places=2)
    for number, name in enumerate(("silent1.example", "silent2.example")):
        with pytest.raises(ResolutionTimeout, match=r"within 0\.1 s") as late:
            found(resolver.ask(name, f"192.0.{number}.1", f"192.0.{number}.0/24"))
        assert late.value.status == 504
    with pytest.raises(Refusal) as busy:
        resolver.ask("c.example", "198.51.100.1", "198.51.100.0/24")
    assert (busy.value.status, busy.value.failure_source) == (503, "glass")
    assert hanging.asked == [b"silent1.example.", b"silent2.example."]  # nobody asked for the third
    hanging.release()
    assert soon(lambda: not resolver._places.taken)
    for number in range(3):
        assert resolve(f"d{number}.example", resolver) == ["192.0.2.1"]


def test_name_that_hung_is_refused_at_once_and_takes_no_place(
    hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "HUNG", 3)
    monkeypatch.setattr(names, "SLOW", 0.1)
    resolver = a_resolver()
    assert resolve("good.example", resolver)
    with pytest.raises(ResolutionTimeout):
        resolve("silent.example", resolver)
    for is_released in (False, True):
        with pytest.raises(ResolutionTimeout, match=r"Try again in [123] s") as again:
            resolver.ask("silent.example", *CLIENT)
        assert again.value.status == 504
        assert again.value.retry_after in {1, 2, 3}
        assert held(resolver) == (0 if is_released else 1)
        hanging.release(NO_ANSWER)
        assert soon(lambda: not resolver._places.taken)
    assert hanging.asked == [b"good.example.", b"silent.example."]
    time.sleep(3.05)
    hanging.result = None
    monkeypatch.setattr(names, "DEADLINE", PATIENT)
    assert resolve("silent.example", resolver) == ["192.0.2.1"]


def test_name_that_was_only_slow_is_found_when_it_is_asked_for_again(hanging: Hanging) -> None:
    resolver = a_resolver()
    with pytest.raises(ResolutionTimeout):
        resolve("silent.example", resolver)
    hanging.release()
    assert soon(lambda: not resolver._places.taken)
    assert resolve("silent.example", resolver) == ["192.0.2.1"]
    assert hanging.asked == [b"silent.example."]


def test_who_joins_a_look_up_waits_no_longer_than_who_began_it(
    hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "DEADLINE", 3)
    resolver = a_resolver()
    resolver.ask("silent.example", *CLIENT)
    time.sleep(2)
    began = time.monotonic()
    with pytest.raises(ResolutionTimeout):
        resolve("silent.example", resolver)
    assert time.monotonic() - began < 2.5


def test_deadline_is_told_by_the_loop(hanging: Hanging) -> None:
    loop, told = Loop(), threading.Event()
    threading.Thread(target=loop.run, daemon=True).start()
    look_up = Resolver(loop, 1, 0.25).ask("silent.example", *CLIENT)
    look_up.listen(told.set)
    assert not told.is_set()
    assert told.wait(PATIENT)
    with pytest.raises(ResolutionTimeout):
        look_up.addresses()
    told.clear()
    hanging.release()
    assert told.wait(PATIENT)  # and once more, when it has ended
    loop.end()


# ---- shares


def test_client_has_its_share_and_others_have_theirs(hanging: Hanging) -> None:
    resolver = Resolver(Loop(), 2, 0.25)
    resolver.ask("silent1.example", "192.0.2.1", "192.0.2.0/24")
    resolver.ask("silent2.example", "192.0.2.1", "192.0.2.0/24")
    with pytest.raises(Refusal, match="You have 2 names") as caught:
        resolver.ask("silent3.example", "192.0.2.1", "192.0.2.0/24")
    assert (caught.value.status, caught.value.failure_source) == (429, "visitor")
    resolver.ask("silent1.example", "192.0.2.1", "192.0.2.0/24")  # which is under way
    resolver.ask("silent3.example", "192.0.2.2", "192.0.2.0/24")


def test_network_holds_a_quarter_and_fills_nothing_for_others(hanging: Hanging) -> None:
    resolver = Resolver(Loop(), 2, 0.25)
    taken: collections.Counter[int] = collections.Counter()
    refused: set[int] = set()
    for network, client, name in itertools.product(range(5), range(100), range(3)):
        try:
            resolver.ask(f"silent-{network}-{client}-{name}.example", f"{network}.{client}", f"{network}/24")
        except Refusal as refusal:
            refused.add(refusal.status)
            continue
        taken[network] += 1
    assert taken[0] == 1 + 32 // 4
    assert refused == {429}
    assert taken.total() < 5 + 32  # of which others still have some
    assert resolve("good.example", resolver) == ["192.0.2.1"]


def test_it_takes_more_than_a_hundred_networks_to_hold_all_places(hanging: Hanging) -> None:
    resolver = Resolver(Loop(), 2, 0.25)
    for network in range(128):
        assert resolve(f"good{network}.example", resolver) == ["192.0.2.1"]
        for client in range(20):
            with contextlib.suppress(Refusal):
                resolver.ask(f"silent-{network}-{client}.example", f"{network}.{client}", f"{network}/24")
    for network in range(held(resolver), names.PLACES):
        resolver.ask(f"silent-{network}.example", f"{network}.1", f"{network}/24")
    with pytest.raises(Refusal, match="All places"):
        resolver.ask("good.example", "192.0.2.1", "192.0.2.0/24")


# ---- threads


def test_machine_without_threads_is_busy_and_loses_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> NoReturn:
        raise RuntimeError("can't start new thread")

    resolver = a_resolver(places=1)
    with monkeypatch.context() as broken:
        broken.setattr("_thread.start_new_thread", fail)
        for _ in range(3):
            with pytest.raises(Busy, match="This machine") as caught:
                resolver.ask("localhost", *CLIENT)
            assert (caught.value.status, caught.value.retry_after) == (503, 5)
    assert resolve("localhost", resolver)


def look_up_without_memory() -> None:
    """Run in a process of its own: threads fail for want of memory, and then there is memory again."""
    resolver = a_resolver()
    assert resolve("localhost", resolver)
    before = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    threading.stack_size(256 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (size + (64 << 20), before[1]))
    refused = 0
    for number in range(100):
        try:
            resolver.ask(f"n{number}.invalid", *CLIENT)
        except Busy:
            refused += 1
    resource.setrlimit(resource.RLIMIT_AS, before)
    threading.stack_size(0)
    time.sleep(0.1)
    print(refused, resolver._places.taken, dict(resolver._under_way), resolve("localhost", a_resolver()))


def test_memory_that_is_refused_leaves_nothing_behind() -> None:
    script = "from tests import test_names; test_names.look_up_without_memory()"
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=HERE, capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stdout.startswith("100 0 {} ['127.0.0.1'"), run.stdout + run.stderr


def test_nothing_large_is_imported_not_even_by_a_look_up() -> None:
    script = (
        "import sys, time; from lookingglass import loop, names;"
        "look_up = names.Resolver(loop.Loop(), 1, 0.25).ask('localhost', '', '')\n"
        "while look_up.addresses() is None: time.sleep(0.01)\n"
        "print(*sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-S", "-c", script], cwd=HERE, capture_output=True, text=True, check=True
    )
    heavy = {"dataclasses", "inspect", "asyncio", "encodings.idna", "stringprep", "unicodedata"}
    assert "lookingglass.names" in run.stdout.split()
    assert not heavy & set(run.stdout.split())


# ---- answers that begin later


@pytest.fixture
def glass() -> Iterator[Glass]:
    limits = {"rate": "5/hour", "burst": 5, "per_client": 2, "lookups": 1}
    it = Glass(conf.read({"commands": PRINTING, "limits": limits}, HERE))
    resolve("localhost", it._aimer._resolver)  # it is known to work
    yield it
    it.close()


def the_end(answer: Answer) -> tuple[int, dict[str, Any]]:
    end = time.monotonic() + PATIENT
    while answer.read() is not None:
        assert time.monotonic() < end
        answer.wait(0.1)
    return answer.outcome()


def tokens_of(glass: Glass, visitor: Visitor) -> int:
    """Spend all the tokens that a visitor has left, and count them."""
    for count in range(100):
        try:
            glass.ask(Question("show"), visitor).close()
        except Refusal:
            return count
    raise AssertionError("a client without a limit")


VISITOR = Visitor("192.0.2.1", "192.0.2.1")


def test_answer_begins_when_its_name_is_looked_up(
    hanging: Hanging, glass: Glass, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "DEADLINE", PATIENT)
    monkeypatch.setattr(glass._aimer, "_deny", DenyTable(()))
    answer = glass.ask(Question("echo/silent.example"), VISITOR)
    assert answer.read() == ""
    assert not answer.begin()
    hanging.release()
    status, envelope = the_end(answer)
    answer.close()
    assert (status, envelope["data"]["output"]) == (200, ["four 192.0.2.1"])


@pytest.mark.parametrize("is_told", [True, False])
def test_who_leaves_during_the_look_up_starts_nothing(
    hanging: Hanging, glass: Glass, monkeypatch: pytest.MonkeyPatch, is_told: bool
) -> None:
    started: list[object] = []
    with monkeypatch.context() as watched:
        watched.setattr(glass.runs, "view", lambda *given: started.append(given))
        answer = glass.ask(Question("echo/silent.example"), VISITOR)
        if is_told:
            answer.leave()
            assert answer.read() is None
        answer.close()
        hanging.release()
        assert soon(lambda: not glass._aimer._resolver._places.taken)
        assert not answer.begin()
    assert started == []
    assert tokens_of(glass, VISITOR) == 4


def test_name_that_is_not_resolved_in_time_costs_its_token(hanging: Hanging, glass: Glass) -> None:
    answer = glass.ask(Question("echo/silent.example"), VISITOR)
    with pytest.raises(ResolutionTimeout):
        the_end(answer)
    answer.close()
    assert tokens_of(glass, VISITOR) == 4


@pytest.mark.parametrize("name", ["silent.example", "silent2.example", "other.example"])
def test_look_up_that_is_refused_costs_no_token(hanging: Hanging, glass: Glass, name: str) -> None:
    answer = glass.ask(Question("echo/silent.example"), VISITOR)
    with pytest.raises(ResolutionTimeout):
        the_end(answer)
    answer.close()
    for _ in range(20):  # it hung, or this client has its share
        with pytest.raises(Problem) as caught:
            glass.ask(Question(f"echo/{name}"), VISITOR)
        assert caught.value.status == (504 if name == "silent.example" else 429)
    assert tokens_of(glass, VISITOR) == 4


def test_fault_of_our_resolver_costs_no_token(glass: Glass, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise NO_ANSWER

    monkeypatch.setattr(GETADDRINFO, fail)
    monkeypatch.setattr(names, "ANSWERED", -1)
    for number in range(20):
        with pytest.raises(Unresolved):
            the_end(glass.ask(Question(f"echo/n{number}.example"), VISITOR))
    monkeypatch.setattr(names, "ANSWERED", 60)
    with pytest.raises(ResolutionFailure) as caught:
        the_end(glass.ask(Question("echo/broken.example"), VISITOR))
    assert caught.value.failure_source == "resolver"
    assert tokens_of(glass, VISITOR) == 4


@pytest.mark.parametrize(("status", "left"), [(503, 5), (429, 4)])
def test_refusal_after_a_look_up_costs_a_token_only_if_the_visitor_has_caused_it(
    glass: Glass, monkeypatch: pytest.MonkeyPatch, status: int, left: int
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise Refusal(status, 5, "Refused.")

    answer_with(monkeypatch, "8.8.8.8")
    with monkeypatch.context() as full:
        full.setattr(glass._guard, "slot", refuse)
        with pytest.raises(Refusal):
            the_end(glass.ask(Question("echo/a.example"), VISITOR))
    assert tokens_of(glass, VISITOR) == left


def test_every_answer_is_judged_anew(glass: Glass, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, "8.8.8.8")
    path = Question("echo/a.example")
    assert the_end(glass.ask(path, VISITOR))[0] == 200
    monkeypatch.setattr(glass._aimer, "_deny", DenyTable([ipaddress.ip_network("8.8.8.0/24")]))
    with pytest.raises(NoAddress):
        the_end(glass.ask(path, Visitor("192.0.2.2", "192.0.2.2")))


@pytest.mark.parametrize(
    ("answers", "path"),
    [
        ([], "echo/nosuch.example"),
        (["10.0.0.1"], "echo/intranet.example"),
        (["8.8.8.8", "10.0.0.1"], "echo/mixed.example"),
        (["8.8.8.8"], "echo/four.example?protocol=2"),
        (["2600::1"], "only/four/six.example"),
        (["127.0.0.1"], "echo/localhost"),
        ([f"8.8.{n // 256}.{n % 256}" for n in range(4000)], "echo/thousands.example"),
    ],
)
def test_name_without_an_address_to_use_is_refused_in_one_message(
    glass: Glass, monkeypatch: pytest.MonkeyPatch, answers: list[str], path: str
) -> None:
    answer_with(monkeypatch, *answers)
    if not answers:
        monkeypatch.setattr(names, "_in_dns", lambda name: (_ for _ in ()).throw(NO_SUCH_NAME))
    path, _, query = path.partition("?protocol=")
    with pytest.raises(Problem) as caught:
        the_end(glass.ask(Question(path, (("protocol", query),) if query else ()), VISITOR))
    assert str(caught.value) == str(NoAddress())
    assert (caught.value.status, caught.value.failure_source) == (400, "visitor")
