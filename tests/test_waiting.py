"""The queue: who waits for what, whose turn it is, and that nobody overtakes or waits for ever."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lookingglass.guard import Guard, Lease, Limits, Rate, network_of
from lookingglass.problems import Problem, Refusal
from lookingglass.store import Memory
from lookingglass.stores import open_store
from lookingglass.waiting import SPARE, Stand, Ticket
from tests.limiting import Clock, refused
from tests.support import examples, soon
from tests.test_guard import ROOMY

A1, A2, B1, C1 = "192.0.2.1", "192.0.2.2", "198.51.100.1", "203.0.113.1"
CLIENTS = (A1, A2, B1, C1)


class Asker:
    """A run that may wait: it pays, takes a slot, and holds that until ``end``."""

    def __init__(self, guard: Guard, client: str, router: str = "r1", weight: float = 1) -> None:
        self.guard = guard
        self.client = client
        self.router = router
        self.weight = weight
        self.tokens: Lease | None = None
        self.slot: Lease | None = None
        self.problem: Problem | None = None
        self.ticket: Ticket | None = None
        self.stand: Stand | None = None
        self.is_closed = False
        self.places: list[int] = []
        self.tries = 0

    @property
    def waits(self) -> bool:
        return self.ticket is not None

    def ask(self) -> Asker:
        """Try at once, and wait if that is refused; raises Refusal."""
        refusal = self.go_on(self.guard.queue.awaited)
        if refusal:
            self.stand = self.guard.queue.join(self.client, network_of(self.client))
            self.ticket = Ticket(self.stand, self, refusal)
            try:
                self.ticket.enter()
            except Refusal:
                self.ticket = None
                self.end()
                raise
        return self

    def go_on(self, behind: Collection[str]) -> Refusal | None:
        self.tries += 1
        if self.is_closed:
            return None
        try:
            self.tokens = self.tokens or self.guard.tokens(self.client, self.weight, behind)
            self.slot = self.guard.slot(None, self.client, self.router, behind)
        except Refusal as refusal:
            return refusal
        self.ticket = None
        if self.stand:
            self.stand.leave()
        if self.is_closed:
            self.slot.end()
        return None

    def give_up(self, problem: Problem) -> None:
        self.problem, self.ticket = problem, None
        self.end()

    def told(self) -> None:
        if ticket := self.ticket:
            self.places.append(ticket.wait.place)

    def end(self) -> None:
        self.is_closed = True
        ticket, self.ticket = self.ticket, None
        if ticket:
            ticket.leave()
        if self.stand:
            self.stand.leave()
        for lease in (self.slot, self.tokens):
            if lease:
                lease.end()


class Hall:
    """A guard whose clock and whose queue's turns are the test's."""

    def __init__(self, **limits: Any) -> None:
        self.clock = Clock()
        self.memory = Memory(self.clock)
        self.guard = Guard(Limits(**{**ROOMY._asdict(), **limits}), self.memory, self.clock)
        self.queue = self.guard.queue
        self.queue.start_thread = lambda *_: 0

    def ask(self, client: str, router: str = "r1", weight: float = 1) -> Asker:
        asker = Asker(self.guard, client, router, weight).ask()
        self.settle()
        return asker

    def end(self, asker: Asker) -> None:
        asker.end()
        self.settle()

    def settle(self) -> float | None:
        """Take turns until there is nothing to do now."""
        for _ in range(100):
            seconds = self.queue.turn()
            if seconds != 0:
                return seconds
        raise AssertionError("the queue finds no rest")

    def later(self, seconds: float) -> None:
        self.clock.now += seconds
        self.settle()


# --- whose turn it is


def test_slot_that_is_given_back_goes_to_who_waits_at_once() -> None:
    hall = Hall(concurrent=1)
    first, second = hall.ask(A1), hall.ask(B1)
    assert (first.slot is not None, second.waits, second.places) == (True, True, [1])
    hall.end(first)
    assert second.slot is not None
    assert not hall.queue


def test_networks_take_turns_and_so_do_the_clients_of_one() -> None:
    hall = Hall(concurrent=1, queue=32)
    running = hall.ask(C1)
    waiting = [hall.ask(client) for client in (A1, A1, A1, A2, A2, B1, B1)]
    assert [asker.ticket.wait.place for asker in waiting if asker.ticket] == [1, 5, 7, 3, 6, 2, 4]
    served = []
    while waiting:
        hall.end(running)
        (running,) = (asker for asker in waiting if asker.slot)
        waiting.remove(running)
        served.append(running.client)
    assert served == [A1, B1, A2, B1, A1, A2, A1]


def test_newcomer_of_another_network_comes_behind_the_first_of_each() -> None:
    hall = Hall(concurrent=1)
    hall.ask(C1)
    crowd = [hall.ask(A1) for _ in range(6)]
    newcomer = hall.ask(B1)
    assert newcomer.places == [2]
    assert [asker.places[-1] for asker in crowd] == [1, 3, 4, 5, 6, 7]


def test_place_is_told_whenever_it_changes_and_only_then() -> None:
    hall = Hall(concurrent=1)
    running = hall.ask(C1)
    first, second, third = (hall.ask(client) for client in (A1, B1, A1))
    hall.end(first)
    hall.end(running)
    assert (first.places, second.places, third.places) == ([1], [2, 1], [3, 1])
    assert third.slot is not None


def test_who_waits_for_something_else_is_not_held_up() -> None:
    hall = Hall(per_router=1)
    first, other = hall.ask(A1, "r1"), hall.ask(B1, "r2")
    waits = hall.ask(A1, "r1")
    behind = hall.ask(B1, "r2")
    hall.end(other)
    assert waits.waits
    assert behind.slot is not None
    hall.end(first)
    assert waits.slot is not None


def test_slot_that_is_given_back_while_somebody_is_being_refused_is_not_missed() -> None:
    hall = Hall(concurrent=1)
    running = hall.ask(C1)

    class Unlucky(Asker):
        def go_on(self, behind: Collection[str]) -> Refusal | None:
            refusal = super().go_on(behind)
            if self.tries == 2:  # in its first turn
                running.end()
            return refusal

    waits = Unlucky(hall.guard, A1).ask()
    hall.settle()
    assert waits.slot is not None


# --- nobody overtakes


def test_who_does_not_wait_is_refused_what_somebody_waits_for() -> None:
    hall = Hall(concurrent=2, per_router=1)
    first = hall.ask(A1, "r1")
    waits = hall.ask(B1, "r1")
    with pytest.raises(Refusal) as caught:
        hall.guard.slot(None, C1, "r1")
    refused(caught.value, 503, "The router runs 1 command already.")
    first.slot.end() if first.slot else None  # free now, but not yet given to whom it is due
    with pytest.raises(Refusal):
        hall.guard.slot(None, C1, "r1")
    other = hall.guard.slot(None, C1, "r2")  # for which nobody waits
    hall.settle()
    assert waits.slot is not None
    other.end()


def test_newcomer_who_may_wait_does_not_overtake_either() -> None:
    hall = Hall(concurrent=1)
    first, waits = hall.ask(A1), hall.ask(B1)
    assert first.slot
    first.slot.end()
    newcomer = Asker(hall.guard, C1).ask()  # before the queue has had a turn
    hall.settle()
    assert waits.slot is not None
    assert newcomer.waits


def test_tokens_that_are_kept_for_strangers_are_theirs_while_others_wait() -> None:
    hall = Hall(global_rate=Rate(8, 60.0), network_share=0.9)
    runs = [hall.ask(A1) for _ in range(6)]
    assert all(asker.slot for asker in runs)
    waits = hall.ask(A1)
    assert waits.waits
    hall.guard.slot(None, B1, "r1").end()
    assert waits.waits


def test_refusal_of_who_waits_is_no_offence() -> None:
    hall = Hall(rate=Rate(1, 60.0), burst=1)
    hall.ask(A1)
    waits = hall.ask(A1)
    for _ in range(50):
        hall.later(1.0)
    assert waits.waits
    assert not [key for key in hall.memory._buckets if key.startswith("refusals")]
    hall.later(10.0)
    assert waits.slot is not None


# --- for tokens


def test_tokens_are_waited_for_until_they_have_come_back_and_no_try_is_wasted() -> None:
    hall = Hall(rate=Rate(10, 60.0), burst=2)
    hall.ask(A1), hall.ask(A1)
    waits = hall.ask(A1, weight=2)
    seconds = hall.settle()
    assert seconds == pytest.approx(12.0)
    tries = waits.tries
    hall.later(11.9)
    assert (waits.tries, waits.waits) == (tries, True)
    hall.later(0.2)
    assert waits.slot is not None


def test_who_waits_for_own_tokens_does_not_hold_up_others() -> None:
    hall = Hall(rate=Rate(1, 60.0), burst=1, concurrent=2)
    running = hall.ask(A1)
    waits = hall.ask(A1)
    hall.ask(B1)
    slot = hall.ask(C1)
    assert (waits.waits, slot.waits) == (True, True)
    hall.end(running)
    assert slot.slot is not None


# --- the ends of waiting


def test_who_leaves_frees_the_place_at_once() -> None:
    hall = Hall(concurrent=1, queue=2, network_share=1)
    hall.ask(A1)
    first, second = hall.ask(A1), hall.ask(B1)
    with pytest.raises(Refusal) as caught:
        hall.ask(C1)
    refused(caught.value, 503, "All places of the queue are taken (2).")
    hall.end(first)
    third = hall.ask(C1)
    assert (second.places, third.places) == ([2, 1], [2])


def test_network_has_its_share_of_the_places() -> None:
    hall = Hall(concurrent=1, queue=8, network_share=0.25)
    hall.ask(B1)
    hall.ask(A1), hall.ask(A2)
    with pytest.raises(Refusal) as caught:
        hall.ask("192.0.2.3")
    refused(caught.value, 429, "Your network has 2 questions waiting already.")
    assert hall.ask(C1).waits


def test_who_has_waited_for_too_long_is_refused_with_what_was_lacking() -> None:
    hall = Hall(concurrent=1, max_runtime=20.0)
    hall.ask(A1)
    waits = hall.ask(B1)
    hall.later(20.0 + SPARE - 0.1)
    assert waits.waits
    hall.later(0.2)
    refused(waits.problem, 503, "All slots are taken (1).")
    assert not hall.queue


def test_tokens_that_would_come_too_late_are_not_waited_for() -> None:
    hall = Hall(rate=Rate(1, 86400.0), burst=1)
    hall.ask(A1)
    with pytest.raises(Refusal) as caught:
        hall.ask(A1)
    assert refused(caught.value, 429).retry_after == 86400
    assert not hall.queue


def test_closing_sends_all_away() -> None:
    hall = Hall(concurrent=1)
    hall.ask(A1)
    waiting = [hall.ask(client) for client in (A1, B1, C1)]
    hall.guard.close()
    assert [asker.problem.status for asker in waiting if asker.problem] == [503] * 3
    assert not hall.queue
    with pytest.raises(Refusal):
        hall.ask(A1)


def test_machine_without_a_thread_refuses_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    hall = Hall(concurrent=1)

    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    hall.ask(A1)
    monkeypatch.setattr(hall.queue, "start_thread", fail)
    with pytest.raises(Refusal) as caught:
        hall.ask(B1)
    refused(caught.value, 503, "All slots are taken (1).")
    assert not hall.queue
    assert not hall.queue._stands


# --- every order


class Waiting(RuleBasedStateMachine):
    """Ask, leave, end, let time pass: no counter drifts, nobody waits in vain, nobody overtakes."""

    def __init__(self) -> None:
        super().__init__()
        self.hall = Hall(
            concurrent=2, per_router=2, queue=6, network_share=1, per_client=50, rate=Rate(30, 60.0), burst=4
        )
        self.hall.queue._share = 4
        self.askers: list[Asker] = []
        self.others: list[Lease] = []
        self.deadlines: dict[Asker, float] = {}
        self.served: Counter[str] = Counter()  # since both of two networks wait for the same

    @rule(client=st.sampled_from(CLIENTS), router=st.sampled_from(["r1", "r2"]), weight=st.integers(1, 3))
    def ask(self, client: str, router: str, weight: int) -> None:
        queue = self.hall.queue
        stands, near = len(queue._stands), [each.network for each in queue._stands].count(network_of(client))
        try:
            asker = self.hall.ask(client, router, weight)
        except Refusal:
            assert stands == 6 or near == 4
            return
        self.askers.append(asker)
        self.deadlines[asker] = self.hall.clock.now + 60.0 + SPARE

    @rule(client=st.sampled_from(CLIENTS), router=st.sampled_from(["r1", "r2"]))
    def ask_without_patience(self, client: str, router: str) -> None:
        wanted = {"concurrent ", f"per_router {router}", f"client slots {client}"}
        awaited = self.hall.queue.awaited & wanted  # type: ignore[operator]
        try:
            self.others.append(self.hall.guard.slot(None, client, router))
        except Refusal:
            return
        assert not awaited

    @precondition(lambda self: self.askers)
    @rule(number=st.integers(0, 99))
    def leave_or_end(self, number: int) -> None:
        asker = self.askers.pop(number % len(self.askers))
        self.hall.end(asker)

    @precondition(lambda self: self.others)
    @rule(number=st.integers(0, 99))
    def end_of_another(self, number: int) -> None:
        self.others.pop(number % len(self.others)).end()
        self.hall.settle()

    @rule(seconds=st.floats(0.01, 70))
    def time_passes(self, seconds: float) -> None:
        self.hall.later(seconds)

    @invariant()
    def what_is_held_is_what_is_known(self) -> None:
        self.askers = [asker for asker in self.askers if not asker.is_closed]
        held = sum(asker.slot is not None for asker in self.askers) + len(self.others)
        assert self.hall.memory.held("concurrent ") == held <= 2
        waiting = [asker for asker in self.askers if asker.waits]
        assert len(self.hall.queue) == len(self.hall.queue._stands) == len(waiting)
        places = sorted(asker.ticket.wait.place for asker in waiting if asker.ticket)
        assert places == list(range(1, len(waiting) + 1))
        assert self.hall.queue.awaited == {
            asker.ticket.refusal.awaited for asker in waiting if asker.ticket
        } - {""}

    @invariant()
    def nobody_waits_for_what_is_there(self) -> None:
        behind: set[str] = set()
        for ticket in self.hall.queue._in_order():
            key = ticket.key
            if key not in behind:
                assert self._is_lacking(ticket), key
            behind.add(key)

    @invariant()
    def nobody_waits_for_ever(self) -> None:
        for asker in self.askers:
            assert not asker.waits or self.hall.clock.now < self.deadlines[asker]

    def _is_lacking(self, ticket: Ticket) -> bool:
        name = ticket.key.partition(" ")[0]
        asker = ticket.waiter
        assert isinstance(asker, Asker)
        memory, now = self.hall.memory, self.hall.clock.now
        if name in {"concurrent", "per_router"}:
            return memory.held(ticket.key) >= 2
        assert name == "rate"
        found = memory._buckets[ticket.key]
        return found.tokens + (now - found.since) / 2 < min(asker.weight, 4) - 1e-9

    def teardown(self) -> None:
        for asker in self.askers:
            asker.end()
        for lease in self.others:
            lease.end()
        assert self.hall.memory._held == {}
        assert not self.hall.queue
        assert not self.hall.queue._stands


TestWaiting = Waiting.TestCase
TestWaiting.settings = settings(max_examples=examples(100), stateful_step_count=40, deadline=None)


class Fairness(RuleBasedStateMachine):
    """Two networks that always wait for the one slot, however many of each come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.hall = Hall(concurrent=1, queue=100, network_share=1)
        self.running = self.hall.ask(C1)
        self.lines: dict[str, list[Asker]] = {A1: [], B1: []}
        self.served: Counter[str] = Counter()
        for client in self.lines:
            self.come(client, 1)

    @rule(client=st.sampled_from([A1, B1]), number=st.integers(1, 5))
    def come(self, client: str, number: int) -> None:
        for _ in range(number):
            if len(self.lines[client]) < 20:
                self.lines[client].append(self.hall.ask(client))

    @rule(client=st.sampled_from([A1, B1]), number=st.integers(0, 99))
    def leave(self, client: str, number: int) -> None:
        line = self.lines[client]
        if len(line) > 2:
            self.hall.end(line.pop(number % len(line)))

    @rule()
    def serve(self) -> None:
        self.hall.end(self.running)
        ((client, asker),) = (
            (client, each) for client in self.lines for each in self.lines[client] if each.slot
        )
        self.lines[client].remove(asker)
        self.running = asker
        self.served[client] += 1
        if not self.lines[client]:
            self.come(client, 1)

    @invariant()
    def neither_is_served_twice_more_than_the_other(self) -> None:
        assert abs(self.served[A1] - self.served[B1]) <= 1


TestFairness = Fairness.TestCase
TestFairness.settings = settings(max_examples=examples(50), stateful_step_count=40, deadline=None)


# --- with its thread


def test_many_threads_leave_nothing_behind() -> None:
    guard = Guard(Limits(**{**ROOMY._asdict(), "concurrent": 3, "queue": 64}))
    ended: list[int] = []

    def visit(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(30):
            client = dice.choice(CLIENTS)
            try:
                asker = Asker(guard, client).ask()
            except Refusal:
                continue
            if dice.random() < 0.7:
                assert soon(lambda asker=asker: asker.slot or asker.problem)  # type: ignore[misc]
            time.sleep(dice.random() * 0.002)
            asker.end()
            if asker.slot:
                asker.slot.end()
            ended.append(seed)

    threads = [threading.Thread(target=visit, args=(seed,)) for seed in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert len(ended) > 12 * 25
    assert soon(lambda: not guard._store._held)  # type: ignore[attr-defined]
    assert not guard.queue
    assert not guard.queue._stands
    assert soon(lambda: not guard.queue._works)


def test_thread_sleeps_until_tokens_have_come_and_ends_when_nobody_waits() -> None:
    guard = Guard(Limits(**{**ROOMY._asdict(), "rate": Rate(1, 1.5), "burst": 1}))
    first, waits = Asker(guard, A1).ask(), Asker(guard, A1).ask()
    assert first.slot
    assert waits.waits
    assert soon(lambda: waits.slot)
    assert waits.tries <= 5
    assert soon(lambda: not guard.queue._works)


def test_slot_that_another_process_gives_back_is_noticed(tmp_path: Path) -> None:
    limits = Limits(**{**ROOMY._asdict(), "concurrent": 1})
    ours, theirs = (Guard(limits, open_store(f"sqlite:{tmp_path / 'limits.db'}")) for _ in range(2))
    holder = theirs.slot(None, C1, "r1")
    waits = Asker(ours, A1).ask()
    assert waits.waits
    holder.end()
    assert soon(lambda: waits.slot)
    waits.end()
    assert not ours.queue
    for guard in (ours, theirs):
        guard.close()
