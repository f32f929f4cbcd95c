"""Runs and their viewers, over real children and over other sources: every way to begin, share and end."""

from __future__ import annotations

import _thread
import contextlib
import os
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from commands import Invocation
from lookingglass import output
from lookingglass import registry as registry_module
from lookingglass import runs as runs_module
from lookingglass.children import Child
from lookingglass.loop import Loop
from lookingglass.problems import Busy, Problem, Refusal
from lookingglass.registry import Runs
from lookingglass.runs import DYING, State, Viewer
from lookingglass.sources import Source
from lookingglass.watcher import GRACE
from tests.support import (
    PATIENT,
    SAMPLES,
    Latch,
    Slots,
    await_text,
    children,
    commands_of,
    examples,
    first_number,
    gone_within,
    is_alive,
    open_files,
    python,
    read_out,
    sample,
    sh,
    soon,
    soon_gone,
    to_the_end,
)

Ask = Callable[..., Viewer]
STUBBORN = sh("trap '' TERM; echo $$; while :; do sleep 0.1; done")


def is_at_rest(runs: Runs) -> bool:
    """Tell whether nothing is under way or waited for any more, but the watcher and its rest."""
    watcher = runs._roll._watcher
    callbacks = set(runs.loop._callbacks) - ({watcher.exit} if watcher else set())
    moments = set(runs.loop._moments) - {runs._roll._rest}
    return not (runs.alive or runs._runs or callbacks or moments or runs.loop._soon)


@pytest.fixture
def slots() -> Slots:
    return Slots()


@pytest.fixture
def runs(slots: Slots) -> Iterator[Runs]:
    """Yield a registry; afterwards nothing is left: no child, slot, descriptor, callback, moment, thread."""
    before, files, threads = children(), open_files(), set(threading.enumerate())
    runs = Runs(output_limit=4096)
    yield runs
    runs.close()
    assert soon(lambda runs=runs: is_at_rest(runs)), vars(runs.loop)  # type: ignore[misc]
    assert soon(lambda: children() <= before)  # a watcher of an earlier test may end meanwhile
    assert slots.taken == slots.returned
    assert soon(lambda: set(threading.enumerate()) <= threads)
    del runs
    assert soon(lambda: len(open_files()) <= len(files) + 2)  # the loop's own, until it is collected


@pytest.fixture
def ask(runs: Runs, slots: Slots) -> Ask:
    """Return a function that asks one registry of Runs."""

    def view(argv: tuple[str, ...], seconds: float = 100, ceiling: float = 100, **more: Any) -> Viewer:
        return runs.view(Invocation(argv, **more), slots, seconds, ceiling)

    return view


@pytest.fixture
def latch(tmp_path: Path) -> Latch:
    return Latch(tmp_path)


# --- what comes back


def test_output_and_exit_status_come_back(ask: Ask) -> None:
    text, end = to_the_end(ask(sh("echo one; echo two >&2; exit 3")))
    assert text == "one\ntwo\n"
    assert (end.reason, end.status) == ("exit", 3)
    assert 0 < end.runtime < 5
    assert abs(end.performed_at - time.time()) < 5


def test_death_by_a_signal_is_a_negative_status(ask: Ask) -> None:
    _, end = to_the_end(ask(sh("kill -9 $$")))
    assert (end.reason, end.status) == ("exit", -9)


def test_unfinished_line_comes_before_its_end(ask: Ask) -> None:
    viewer = ask(sh("printf begin; sleep 1000"))
    assert await_text(viewer) == "begin"
    viewer.close()


def test_standard_error_can_be_left_out_and_first_lines_skipped(ask: Ask) -> None:
    script = sh("printf 'one\\ntw'; sleep 0.05; printf 'o\\nthree\\n'; echo no >&2")
    text, _ = to_the_end(ask(script, stderr=subprocess.DEVNULL, skip=2))
    assert text == "three\n"


def test_hostile_output_is_neutralised(ask: Ask) -> None:
    text, _ = to_the_end(ask(python(r"import os; os.write(1, b'\x1b[31m\x00\xff caf\xc3\xa9 cut \xe2\x82')")))
    assert text == "␛[31m␀� café cut �"


def test_character_split_between_writes_is_one_character(ask: Ask) -> None:
    script = "import os, time\nfor b in '€é😀'.encode(): os.write(1, bytes([b])); time.sleep(0.02)"
    text, _ = to_the_end(ask(python(script)))
    assert text == "€é😀"


def test_what_is_printed_at_the_very_end_is_not_lost(ask: Ask) -> None:
    script = sh("trap 'echo bye; exit' TERM; echo begin; while :; do sleep 0.05; done")
    text, end = to_the_end(ask(script, seconds=1))
    assert (text[:6], text[-4:], end.reason) == ("begin\n", "bye\n", "time")


def test_read_never_waits_and_a_wait_ends_at_the_news(ask: Ask, latch: Latch) -> None:
    viewer = ask(sh(f"{latch()}; sleep 0.3; echo news; sleep 1000"))
    assert viewer.read() == ""
    viewer.wait(0.1)
    assert viewer.read() == ""
    latch.open()
    began = time.monotonic()
    viewer.wait(PATIENT)
    assert viewer.read() == "news\n"
    assert 0.2 < time.monotonic() - began < PATIENT
    viewer.close()


# --- limits


def test_time_limit_ends_the_run_with_what_was_printed(ask: Ask) -> None:
    viewer = ask(sh("echo $$; sleep 1000"), seconds=1)
    pid = first_number(viewer)
    _, end = to_the_end(viewer)
    assert end.reason == "time"
    assert not is_alive(pid)


def test_child_that_ignores_sigterm_is_killed_after_the_grace(ask: Ask) -> None:
    viewer = ask(STUBBORN, seconds=1)
    pid = first_number(viewer)
    _, end = to_the_end(viewer)
    assert (end.reason, end.status) == ("time", -9)
    assert end.runtime >= 1 + GRACE
    assert not is_alive(pid)


def test_output_limit_ends_the_run_and_cuts_exactly(ask: Ask) -> None:
    text, end = to_the_end(ask(("yes",)))
    assert end.reason == "full"
    assert len(text) == 4096


def test_output_of_exactly_the_limit_is_whole(ask: Ask) -> None:
    text, end = to_the_end(ask(python("print('x' * 4096, end='')")))
    assert (len(text), end.reason, end.status) == (4096, "exit", 0)


def test_too_much_output_of_a_process_that_ends_at_once_is_cut_and_full(ask: Ask) -> None:
    text, end = to_the_end(ask(python("print('x' * 4097, end='')")))
    assert (len(text), end.reason) == (4096, "full")


# --- sharing


def test_same_question_shares_one_process_from_the_beginning(ask: Ask, slots: Slots, latch: Latch) -> None:
    script = sh(f"echo begin; {latch()}; echo end")
    first = ask(script)
    assert await_text(first) == "begin\n"
    second = ask(script)
    assert second.read() == "begin\n"  # at once
    latch.open()
    assert to_the_end(first)[0] == to_the_end(second)[0] == "begin\nend\n"
    assert slots.taken == 1
    assert first.run is second.run
    assert first.run.shared == 2


def test_question_with_another_parser_or_standard_error_does_not_share(ask: Ask, slots: Slots) -> None:
    script = ("sleep", "0.2")
    viewers = [ask(script), ask(script, parser="ping"), ask(script, stderr=None), ask(script, skip=1)]
    for viewer in viewers:
        to_the_end(viewer)
    assert slots.taken == 4


def test_after_its_end_the_same_question_runs_again(ask: Ask, slots: Slots) -> None:
    to_the_end(ask(("true",)))
    to_the_end(ask(("true",)))
    assert slots.taken == 2


def test_last_viewer_leaving_ends_the_process(ask: Ask) -> None:
    first = ask(sh("echo $$; exec sleep 1000"))
    second = ask(sh("echo $$; exec sleep 1000"))
    pid = first_number(first)
    first.close()
    assert not gone_within(0.5, pid)
    assert first_number(second) == pid
    second.close()
    assert soon_gone(pid)


def test_leaving_twice_is_leaving_once(ask: Ask) -> None:
    first, second = ask(("sleep", "1000")), ask(("sleep", "1000"))
    first.close()
    first.close()
    assert second.run._state is State.RUNNING
    second.close()
    assert soon(lambda: second.run.end)


def test_shorter_time_of_one_viewer_leaves_the_other_its_run(ask: Ask, latch: Latch) -> None:
    script = sh(f"echo begin; {latch()}; echo end")
    patient = ask(script)
    assert await_text(patient) == "begin\n"
    text, end = to_the_end(ask(script, seconds=0.3))
    assert (text, end.reason) == ("begin\n", "time")
    latch.open()
    text, end = to_the_end(patient)
    assert (text, end.reason) == ("begin\nend\n", "exit")


def test_viewers_whose_time_is_up_do_not_keep_a_run_that_the_others_have_left(ask: Ask) -> None:
    """A client that reads nothing holds its answer after its time; that is no viewer any more."""
    script = sh("echo $$; exec sleep 1000")
    patient, stalled = ask(script), ask(script, seconds=0.2)
    pid = first_number(patient)
    assert soon(lambda: stalled.end)
    patient.close()
    assert soon_gone(pid)
    assert read_out(stalled)[1].reason == "time"
    stalled.close()


def test_end_that_a_viewer_has_seen_stays_the_same(ask: Ask, latch: Latch) -> None:
    script = sh(f"echo begin; {latch()}; echo end")
    patient = ask(script)
    assert await_text(patient) == "begin\n"
    hasty = ask(script, seconds=0.3)
    read_out(hasty)
    latch.open()
    to_the_end(patient)  # the Run has ended meanwhile, and well
    assert hasty.read() is None
    text, end = hasty.result()
    assert (text, end.reason) == ("begin\n", "time")
    hasty.close()


def test_viewer_of_a_run_that_never_falls_silent_has_its_own_time(runs: Runs, slots: Slots) -> None:
    script = Invocation(sh("while :; do echo x; sleep 0.01; done"))
    patient, hasty = runs.view(script, slots, 100, 100), runs.view(script, slots, 0.3, 10)
    assert read_out(hasty)[1].reason == "time"
    hasty.close()
    patient.close()


def test_new_viewers_do_not_keep_a_run_beyond_its_ceiling(ask: Ask) -> None:
    script = sh("sleep 1000")
    viewers = []
    for _ in range(4):
        viewers.append(ask(script, ceiling=0.8))
        time.sleep(0.1)
    for viewer in viewers:
        assert to_the_end(viewer)[1].reason == "time"


def test_run_that_is_being_stopped_takes_no_new_viewer(ask: Ask, slots: Slots) -> None:
    stubborn = sh("trap 'echo term' TERM; echo $$; while :; do sleep 0.05; done")
    first = ask(stubborn, seconds=1)
    pid = first_number(first)
    seen = ""
    while "term" not in seen:  # its time is up, SIGKILL is yet to come
        more = await_text(first)
        assert more, seen
        seen += more
    second = ask(stubborn, seconds=5)
    assert first_number(second) != pid
    assert slots.taken == 2
    assert to_the_end(first)[1].reason == "time"
    second.close()


def test_viewer_that_waits_for_the_end_is_not_woken_before(ask: Ask) -> None:
    viewer = ask(sh("for i in 1 2 3 4 5 6; do echo; sleep 0.05; done"))
    viewer.is_live = False
    woken: list[float] = []
    viewer.notify = lambda: woken.append(time.monotonic())
    assert soon(lambda: viewer.run.end)
    assert soon(lambda: woken)
    assert len(woken) == 1
    assert to_the_end(viewer)[1].reason == "exit"


def test_fifty_runs_at_once_all_end(ask: Ask, slots: Slots) -> None:
    viewers = [ask(sh(f"sleep 0.2; echo {number}")) for number in range(50)]
    assert [to_the_end(viewer)[0] for viewer in viewers] == [f"{number}\n" for number in range(50)]
    assert slots.taken == 50


def test_runs_share_one_thread(ask: Ask) -> None:
    first = ask(("sleep", "1000"))
    before = threading.active_count()
    viewers = [ask(("sleep", f"100{number}")) for number in range(20)]
    assert threading.active_count() <= before
    for viewer in (first, *viewers):
        viewer.close()


# --- what a process may leave behind


def test_grandchild_that_holds_the_pipe_does_not_hold_the_run(ask: Ask) -> None:
    text, end = to_the_end(ask(sh("sleep 1000 & echo $!")))
    assert (end.reason, end.status) == ("exit", 0)
    assert soon_gone(int(text))


def test_grandchild_in_another_session_does_not_hold_the_run(ask: Ask) -> None:
    _, end = to_the_end(ask(sh("setsid sleep 1000 & echo $!")))
    assert (end.reason, end.status) == ("exit", 0)


def test_grandchild_in_another_session_that_never_falls_silent_does_not_hold_the_run(ask: Ask) -> None:
    _, end = to_the_end(ask(sh("setsid timeout 60 yes & sleep 0.1")))
    assert end.reason == "full"


def test_whole_group_goes_when_the_last_viewer_leaves(ask: Ask) -> None:
    viewer = ask(sh("trap '' TERM; (trap '' TERM; exec sleep 1000) & echo $!; wait"))
    pid = first_number(viewer)
    viewer.close()
    assert soon_gone(pid)


def test_process_that_closes_its_output_is_waited_for(ask: Ask) -> None:
    text, end = to_the_end(ask(sh("exec >&- 2>&-; sleep 0.3; exit 4")))
    assert (text, end.status) == ("", 4)
    assert end.runtime >= 0.3


# --- what does not begin


def test_missing_program_is_the_routers_fault_and_takes_no_slot(ask: Ask, slots: Slots) -> None:
    with pytest.raises(Problem) as caught:
        ask(("no-such-program-here",))
    assert caught.value.status == 502
    assert "no-such-program-here" not in str(caught.value)
    assert (slots.taken, slots.returned) == (1, 1)


def test_refused_slot_passes_through_and_nothing_runs(runs: Runs) -> None:
    refusing = Slots(Refusal(503, 5, "All slots are taken."))
    with pytest.raises(Refusal):
        runs.view(Invocation(("sleep", "1000")), refusing, 10, 10)
    assert is_at_rest(runs)
    to_the_end(runs.view(Invocation(("true",)), Slots(), 100, 100))


def test_machine_without_descriptors_is_503() -> None:
    script = """
import gc, resource
from commands import Invocation
from lookingglass.problems import Problem
from lookingglass.registry import Runs
class Slot:
    def end(self, refund=False): print("given back")
for most in range(3, 30):
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, 64))
    runs = Runs(100)
    try:
        viewer = runs.view(Invocation(("true",)), Slot, 5, 5)
    except Problem as error:
        print(error.status)
    else:
        while viewer.read() is not None:
            viewer.wait(5)
        print(viewer.result()[1].status)
        viewer.close()
    runs.close()
    gc.collect()
"""
    argv = [sys.executable, "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    *_, last = lines = done.stdout.split("\n")[:-1]
    answers = [line for line in lines if line != "given back"]
    assert len(answers) == 27, done.stderr
    assert answers[0] == "503"
    assert set(answers) <= {"503", "0"}
    assert last == "0"


def test_machine_without_threads_is_503_and_leaves_no_child(
    monkeypatch: pytest.MonkeyPatch, ask: Ask
) -> None:
    def refuse(*arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(_thread, "start_new_thread", refuse)
        with pytest.raises(Problem) as caught:
            ask(("sleep", "1000"))
    assert caught.value.status == 503
    assert to_the_end(ask(("true",)))[1].status == 0  # later there is one


def test_source_that_cannot_be_watched_is_ended_and_told(
    monkeypatch: pytest.MonkeyPatch, runs: Runs, slots: Slots
) -> None:
    before = commands_of(os.getpid())  # of the lab, say
    to_the_end(runs.view(Invocation(("true",)), slots, 100, 100))
    watch, left = runs.loop.watch, [1]

    def refuse(*arguments: Any) -> None:
        if not left[0]:
            raise OSError(28, "no space left")  # as epoll has it when there are too many watches
        left[0] -= 1
        watch(*arguments)

    for left[0] in (0, 1):
        with monkeypatch.context() as patch:
            patch.setattr(runs.loop, "watch", refuse)
            with pytest.raises(Problem) as caught:
                runs.view(Invocation(("sleep", "1000")), slots, 100, 100)
        assert caught.value.status == 503
        assert slots.are_back()
        assert soon(lambda: is_at_rest(runs))
        assert soon(lambda: commands_of(os.getpid()) <= before)


# --- starting


class Gate:
    """Open a source when the test lets it, or fail to."""

    def __init__(self, problem: Exception | None = None) -> None:
        self.problem = problem
        self.opened = 0
        self.is_waiting = threading.Event()
        self.may_go = threading.Event()

    def __call__(self, invocation: Invocation) -> Child:
        self.opened += 1
        self.is_waiting.set()
        assert self.may_go.wait(PATIENT)
        if self.problem:
            raise self.problem
        return Child(invocation, Loop())


class Asking(threading.Thread):
    """Ask in a thread of its own, and keep what came of it."""

    def __init__(self, ask: Callable[[], Viewer]) -> None:
        super().__init__()
        self._ask = ask
        self.viewer: Viewer | None = None
        self.problem: Problem | None = None
        self.start()

    def run(self) -> None:
        try:
            self.viewer = self._ask()
        except Problem as problem:
            self.problem = problem


def test_second_viewer_joins_while_the_source_is_being_opened(slots: Slots) -> None:
    gate = Gate()
    runs = Runs(4096, gate)
    question = Invocation(sh("echo begin; sleep 0.2"))
    first = Asking(lambda: runs.view(question, slots, 100, 100))
    assert gate.is_waiting.wait(PATIENT)
    second = runs.view(question, slots, 100, 100)  # does not wait
    assert second.run._state is State.STARTING
    assert second.read() == ""
    gate.may_go.set()
    first.join()
    assert first.viewer
    assert to_the_end(second)[0] == to_the_end(first.viewer)[0] == "begin\n"
    assert (gate.opened, slots.taken) == (1, 1)
    runs.close()
    assert slots.are_back()


@pytest.mark.parametrize("problem", [Busy("No room."), ValueError("secret")])
def test_failure_to_open_a_source_is_told_to_all_who_have_joined(slots: Slots, problem: Exception) -> None:
    gate = Gate(problem)
    runs = Runs(4096, gate)
    question = Invocation(("sleep", "1000"))
    raised: list[Exception] = []

    def ask_first() -> None:
        try:
            runs.view(question, slots, 100, 100)
        except Exception as error:
            raised.append(error)

    first = threading.Thread(target=ask_first)
    first.start()
    assert gate.is_waiting.wait(PATIENT)
    viewers = [runs.view(question, slots, 100, 100) for _ in range(3)]
    for viewer in viewers:
        viewer.is_live = False
    waiting = threading.Thread(target=viewers[0].wait, args=(100,))
    waiting.start()
    gate.may_go.set()
    waiting.join(PATIENT)
    assert not waiting.is_alive()
    first.join()
    assert raised == [problem]
    for viewer in viewers:
        with pytest.raises(Busy) as caught:
            viewer.read()
        assert "secret" not in str(caught.value)
        viewer.close()
    assert (slots.taken, slots.returned) == (1, 1)
    assert is_at_rest(runs)
    runs.close()


def test_slow_source_does_not_hold_other_questions(slots: Slots) -> None:
    gate = Gate()
    runs = Runs(4096, lambda each: gate(each) if each.argv[0] == "sleep" else Child(each, Loop()))
    slow = Asking(lambda: runs.view(Invocation(("sleep", "0.1")), slots, 100, 100))
    assert gate.is_waiting.wait(PATIENT)
    assert to_the_end(runs.view(Invocation(("true",)), slots, 100, 100))[1].status == 0
    assert slow.is_alive()
    gate.may_go.set()
    slow.join()
    assert slow.viewer
    to_the_end(slow.viewer)
    runs.close()


def test_viewer_that_leaves_while_the_source_is_being_opened_leaves_no_moment(slots: Slots) -> None:
    gate = Gate()
    runs = Runs(4096, gate)
    question = Invocation(("sleep", "0.2"))
    first = Asking(lambda: runs.view(question, slots, 1000, 1000))
    assert gate.is_waiting.wait(PATIENT)
    for _ in range(3):
        runs.view(question, slots, 1000, 1000).close()
    gate.may_go.set()
    first.join()
    assert first.viewer
    to_the_end(first.viewer)
    assert soon(lambda: is_at_rest(runs))
    runs.close()


def test_time_that_is_up_before_the_source_was_opened_ends_the_run(slots: Slots) -> None:
    gate = Gate()
    runs = Runs(4096, gate)
    asking = Asking(lambda: runs.view(Invocation(("sleep", "1000")), slots, 0.1, 10))
    assert gate.is_waiting.wait(PATIENT)
    time.sleep(0.3)
    gate.may_go.set()
    asking.join()
    assert asking.viewer
    assert to_the_end(asking.viewer)[1].reason == "time"
    runs.close()
    assert slots.are_back()


def test_closing_while_a_source_is_being_opened_ends_it(slots: Slots) -> None:
    before = commands_of(os.getpid())
    gate = Gate()
    runs = Runs(4096, gate)
    asking = Asking(lambda: runs.view(Invocation(STUBBORN), slots, 100, 100))
    assert gate.is_waiting.wait(PATIENT)
    closing = threading.Thread(target=runs.close)
    closing.start()
    time.sleep(0.1)
    gate.may_go.set()
    asking.join()
    closing.join()
    assert asking.viewer
    assert to_the_end(asking.viewer)[1].reason == "closing"
    assert slots.are_back()
    assert soon(lambda: commands_of(os.getpid()) <= before)


def test_source_that_opens_after_the_closing_has_given_up_is_ended(
    monkeypatch: pytest.MonkeyPatch, slots: Slots
) -> None:
    monkeypatch.setattr(registry_module, "GRACE", 0.2)
    before = commands_of(os.getpid())
    gate = Gate()
    runs = Runs(4096, gate)
    asking = Asking(lambda: runs.view(Invocation(STUBBORN), slots, 100, 100))
    assert gate.is_waiting.wait(PATIENT)
    runs.close()
    gate.may_go.set()
    asking.join()
    assert soon(lambda: slots.taken == slots.returned)
    assert soon(lambda: commands_of(os.getpid()) <= before)
    viewer = asking.viewer
    assert viewer is None or to_the_end(viewer)[1].reason == "closing"


# --- closing


def test_closing_ends_every_run_and_starts_no_more(runs: Runs, slots: Slots) -> None:
    viewer = runs.view(Invocation(STUBBORN), slots, 100, 100)
    pid = first_number(viewer)
    started = time.monotonic()
    runs.close()
    assert time.monotonic() - started < PATIENT
    assert not is_alive(pid)
    assert to_the_end(viewer)[1].reason == "closing"
    with pytest.raises(Problem) as caught:
        runs.view(Invocation(("true",)), slots, 100, 100)
    assert caught.value.status == 503
    assert slots.taken == slots.returned == 1


def test_closing_twice_or_before_the_first_question_does_no_harm() -> None:
    runs = Runs(4096)
    runs.close()
    runs.close()
    with pytest.raises(Busy):
        runs.view(Invocation(("true",)), Slots(), 100, 100)


def test_run_that_was_left_and_asked_again_is_ended_with_the_rest(runs: Runs, slots: Slots) -> None:
    first = runs.view(Invocation(STUBBORN), slots, 100, 100)
    old = first_number(first)
    first.close()
    second = runs.view(Invocation(STUBBORN), slots, 100, 100)
    new = first_number(second)
    assert new != old
    runs.close()
    assert not is_alive(old)
    assert not is_alive(new)
    assert slots.taken == slots.returned == 2
    second.close()


# --- facts


def test_facts_grow_with_the_output_and_are_complete_at_the_end(ask: Ask, latch: Latch) -> None:
    reply = "64 bytes from 192.0.2.1: icmp_seq={} ttl=60 time=1.5 ms"
    script = sh(f"echo '{reply.format(1)}'; {latch()}; echo '{reply.format(2)}'")
    viewer = ask(script, parser="ping")
    await_text(viewer)
    assert len(viewer.run.facts()["replies"]) == 1
    latch.open()
    read_out(viewer)
    assert len(viewer.run.facts(is_last=True)["replies"]) == 2
    viewer.close()


def test_many_viewers_read_facts_once(monkeypatch: pytest.MonkeyPatch, ask: Ask, latch: Latch) -> None:
    read: list[str] = []

    def count(parser: str, text: str, is_complete: bool) -> dict[str, Any]:
        read.append(text)
        return {"length": len(text)}

    monkeypatch.setattr(output, "facts", count)
    viewers = [ask(sh(f"echo begin; {latch()}"), parser="ping") for _ in range(30)]
    for viewer in viewers:
        await_text(viewer)
        viewer.run.facts()
    latch.open()
    for viewer in viewers:
        read_out(viewer)
        assert viewer.run.facts(is_last=True) == {"length": 6}
    assert len(read) == 2  # of the output, and of the end
    for viewer in viewers:
        viewer.close()


def test_facts_that_came_too_soon_are_announced_when_they_are_due(ask: Ask) -> None:
    reply = "64 bytes from 192.0.2.1: icmp_seq={} ttl=60 time=1.5 ms"
    script = sh(f"echo '{reply.format(1)}'; sleep 0.1; echo '{reply.format(2)}'; sleep 1000")
    viewer = ask(script, parser="ping")
    end = time.monotonic() + PATIENT
    while len(viewer.run.facts().get("replies", [])) < 2 and time.monotonic() < end:
        viewer.wait(PATIENT)
        viewer.read()
    assert len(viewer.run.facts()["replies"]) == 2
    assert time.monotonic() < end
    viewer.close()


def test_output_that_comes_while_facts_are_read_is_announced_when_they_are_due(
    monkeypatch: pytest.MonkeyPatch, ask: Ask, latch: Latch
) -> None:
    is_reading, may_end = threading.Event(), threading.Event()

    def slow(parser: str, text: str, is_complete: bool) -> dict[str, Any]:
        is_reading.set()
        may_end.wait(PATIENT)
        return {"length": len(text)}

    monkeypatch.setattr(output, "facts", slow)
    monkeypatch.setattr(output, "FACTS_SHARE", 1)
    viewer = ask(sh(f"echo 1; {latch()}; echo 2; sleep 1000"), parser="ping")
    assert await_text(viewer) == "1\n"
    reading = threading.Thread(target=viewer.run.facts)
    reading.start()
    assert is_reading.wait(PATIENT)
    latch.open()
    assert await_text(viewer) == "2\n"
    assert viewer.run.facts() == {}  # does not wait for the other thread
    may_end.set()
    reading.join()
    end = time.monotonic() + PATIENT
    while viewer.run.facts() != {"length": 4} and time.monotonic() < end:
        viewer.wait(PATIENT)
    assert viewer.run.facts() == {"length": 4}
    assert time.monotonic() < end
    viewer.close()


def test_facts_that_another_thread_has_read_just_now_are_known(
    monkeypatch: pytest.MonkeyPatch, ask: Ask
) -> None:
    monkeypatch.setattr(output, "facts", lambda parser, text, is_complete: {"length": len(text)})
    viewer = ask(sh("echo 1; sleep 1000"), parser="ping")
    assert await_text(viewer) == "1\n"
    digest = viewer.run._digest
    assert digest is not None
    due_for = digest.due_for

    def end_of_the_other(pieces: list[str]) -> float | None:
        digest._lock.release()
        digest.update(pieces, is_last=False, is_complete=False)
        return due_for(pieces)

    monkeypatch.setattr(digest, "due_for", end_of_the_other)
    digest._lock.acquire()  # as the other does while it reads
    assert viewer.run.facts() == {"length": 2}
    viewer.close()


# --- lines that only the parser reads

ROUND = "x 0 {0}\nh 0 192.0.2.1\np 0 1000 {0}\n"
STUCK = sh(f"printf '{ROUND.format(1)}x 1 2\n'; exec sleep 1000")
HEADER = r"Start: 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+0000\nHOST: lg +Loss%   Snt.*\n"


def two_rounds(latch: Latch) -> tuple[str, ...]:
    """Return a command that prints its second round when the test lets it, and ends when the test lets it."""
    second = f"printf 'mtr: odd\\n{ROUND.format(2)}'"
    return sh(f"printf '{ROUND.format(1)}'; {latch(1)}; {second}; {latch(2)}")


def test_raw_lines_are_facts_at_once_and_a_report_at_the_end(ask: Ask, latch: Latch) -> None:
    viewer = ask(two_rounds(latch), parser="mtr", router="lg")
    sent: list[int] = []
    text = ""
    while (new := viewer.read()) is not None:
        hops = viewer.run.facts().get("hops", [{"sent": 0}])
        sent += [hops[0]["sent"]] * (hops[0]["sent"] not in sent)
        if sent[-1]:
            latch.open(sent[-1])
        text += new
        viewer.wait(5)
    assert [each for each in sent if each] == [1, 2]
    report = rf"mtr: odd\n{HEADER}  1\.\|-- 192\.0\.2\.1  0\.0%     2    1\.0 .*\n"
    assert re.fullmatch(report, text)
    assert viewer.result()[0] == text
    viewer.close()


def test_report_says_what_was_known_when_the_time_was_up(ask: Ask) -> None:
    text, end = to_the_end(ask(STUCK, seconds=1, parser="mtr", router="lg"))
    assert end.reason == "time"
    assert re.fullmatch(rf"{HEADER}  1\.\|-- 192\.0\.2\.1  0\.0%     1 .*\n", text)


def test_each_viewer_has_the_report_of_its_own_end(ask: Ask, latch: Latch) -> None:
    long = ask(two_rounds(latch), parser="mtr", router="lg")
    assert soon(lambda: long.run.facts().get("hops"))
    short = ask(two_rounds(latch), seconds=0.3, parser="mtr", router="lg")
    assert long.run is short.run
    assert "0.0%     1 " in to_the_end(short)[0]
    latch.open(1)
    latch.open(2)
    assert "0.0%     2 " in to_the_end(long)[0]


def test_mtr_that_prints_its_own_report_is_given_no_other(ask: Ask) -> None:
    assert to_the_end(ask(sh("printf 'mtr: no'"), parser="mtr"))[0] == "mtr: no"
    printed = sample("mtr4-report-wide-b.out")
    viewer = ask(("cat", str(SAMPLES / "mtr4-report-wide-b.out")), parser="mtr")
    assert read_out(viewer)[0] == printed
    assert len(viewer.run.facts(is_last=True)["hops"]) == 5
    viewer.close()


def test_raw_lines_wake_viewers_only_as_often_as_facts_are_read(ask: Ask) -> None:
    script = "import time\nfor n in range(150): print(f'x 0 {n}\\np 0 9 {n}', flush=True); time.sleep(0.003)"
    viewer = ask(python(script), parser="mtr")
    woken = 0
    while viewer.read() is not None:
        viewer.run.facts()
        viewer.wait(5)
        woken += 1
    took = time.monotonic() - viewer.run.started
    assert woken <= 5 + 2 * took / output.FACTS
    viewer.close()


# --- sources that are no child


class Pipe:
    """A source without an ``exit`` descriptor, which the test feeds; it may not heed what it is told."""

    def __init__(self, heeds_terminate: bool = True, heeds_kill: bool = True) -> None:
        self.output, self.writer = os.pipe()
        self.exit: int | None = None
        os.set_blocking(self.output, False)
        self.told: list[str] = []
        self.is_reaped = False
        self._heeds = {"terminate": heeds_terminate, "kill": heeds_kill}

    def say(self, text: str) -> None:
        with contextlib.suppress(OSError):
            os.write(self.writer, text.encode())

    def finish(self) -> None:
        writer, self.writer = self.writer, -1
        if writer >= 0:
            os.close(writer)

    def read(self) -> bytes | None:
        try:
            return os.read(self.output, 65536)
        except BlockingIOError:
            return None

    def terminate(self) -> None:
        self._tell("terminate")

    def kill(self) -> None:
        self._tell("kill")

    def has_ended(self) -> bool:
        return True

    def close_output(self) -> None:
        os.close(self.output)

    def reap(self) -> int | None:
        assert not self.is_reaped
        self.is_reaped = True
        return 0

    def _tell(self, what: str) -> None:
        self.told.append(what)
        if self._heeds[what]:
            self.finish()


class Immortal(Pipe):
    """A source with an ``exit``, such as a child that became root: it goes only when the test lets it."""

    def __init__(self) -> None:
        super().__init__(False, False)
        self.exit, self._alive = os.pipe()

    def go(self) -> None:
        os.close(self._alive)
        self._alive = -1

    def has_ended(self) -> bool:
        return self._alive < 0

    def reap(self) -> int | None:
        os.close(self.exit)  # type: ignore[arg-type]
        return super().reap()


@pytest.fixture
def piped(slots: Slots) -> Iterator[Callable[[Pipe], tuple[Runs, Viewer]]]:
    """Yield a function that runs a source of the test; afterwards all is given back."""
    files = len(open_files())
    used: list[tuple[Runs, Pipe]] = []

    def run(source: Pipe, seconds: float = 10) -> tuple[Runs, Viewer]:
        runs = Runs(100, lambda invocation: source)
        used.append((runs, source))
        return runs, runs.view(Invocation(("far away",)), slots, seconds, 60)

    yield run
    for runs, source in used:
        source.finish()
        assert soon(lambda: source.is_reaped)  # noqa: B023 - called here
        runs.close()
        assert is_at_rest(runs)
    assert slots.taken == slots.returned
    used.clear()
    assert soon(lambda: len(open_files()) <= files + 2)


def test_source_without_exit_ends_with_its_output(piped: Any) -> None:
    source = Pipe()
    _, viewer = piped(source)
    source.say("begin\n")
    assert await_text(viewer) == "begin\n"
    source.say("end\n")
    source.finish()
    text, end = to_the_end(viewer)
    assert (text, end.reason, end.status) == ("begin\nend\n", "exit", 0)


@pytest.mark.parametrize("moment", ["at once", "later"])
def test_source_whose_connection_breaks_has_ended(
    piped: Any, slots: Slots, caplog: pytest.LogCaptureFixture, moment: str
) -> None:
    source = Pipe()
    read = source.read

    def broken() -> bytes | None:
        if moment == "at once" or (data := read()) == b"":
            raise ConnectionResetError
        return data

    source.read = broken  # type: ignore[method-assign]
    if moment == "at once":
        source.finish()
    runs, viewer = piped(source)
    if moment == "later":
        source.say("begin\n")
        assert await_text(viewer) == "begin\n"
        source.finish()
    text, end = to_the_end(viewer)
    assert (text, end.reason) == ("begin\n" if moment == "later" else "", "exit")
    assert slots.are_back()
    assert soon(lambda: is_at_rest(runs))
    assert not caplog.text


def test_source_without_exit_is_told_to_stop_when_its_viewer_leaves(piped: Any, slots: Slots) -> None:
    source = Pipe()
    runs, viewer = piped(source)
    viewer.close()
    assert slots.are_back()
    assert source.told[0] == "terminate"
    assert soon(lambda: is_at_rest(runs))


def test_source_without_exit_that_says_too_much_gives_its_slot_back(piped: Any, slots: Slots) -> None:
    source = Pipe()
    _, viewer = piped(source)
    source.say("x" * 200)
    text, end = to_the_end(viewer)
    assert (text, end.reason) == ("x" * 100, "full")
    assert slots.are_back()


@pytest.mark.parametrize("heeds_kill", [True, False])
def test_source_without_exit_that_heeds_nothing_gives_its_slot_back(
    piped: Any, slots: Slots, heeds_kill: bool
) -> None:
    source = Pipe(heeds_terminate=False, heeds_kill=heeds_kill)
    runs, viewer = piped(source, seconds=0.2)
    assert to_the_end(viewer)[1].reason == "time"
    assert source.told[:2] == ["terminate", "kill"]
    assert slots.are_back()  # its output is closed: it is gone
    assert soon(lambda: is_at_rest(runs))


def test_source_that_cannot_be_killed_holds_its_slot_but_no_viewer(piped: Any, slots: Slots) -> None:
    source = Immortal()
    runs, viewer = piped(source, seconds=0.2)
    began = time.monotonic()
    text, end = to_the_end(viewer)
    assert (text, end.reason, end.status) == ("", "time", None)
    assert time.monotonic() - began >= GRACE + DYING
    assert source.told == ["terminate", "kill"]
    time.sleep(0.3)
    assert (slots.taken, slots.returned) == (1, 0)
    assert runs.alive  # whoever asks the same again gets a Run of its own, if there is a slot
    source.say("nobody reads this")
    source.go()
    assert slots.are_back()
    assert soon(lambda: is_at_rest(runs))


def test_last_words_are_read_when_the_end_is_noticed_before_them(piped: Any) -> None:
    source = Immortal()
    runs, viewer = piped(source)
    hangs, may_go = threading.Event(), threading.Event()
    runs.loop.call_soon(lambda: hangs.set() or may_go.wait(PATIENT))  # type: ignore[func-returns-value]
    assert hangs.wait(PATIENT)
    source.go()
    source.say("last words")
    may_go.set()
    text, end = to_the_end(viewer)
    assert (text, end.reason, end.status) == ("last words", "exit", 0)


def test_source_that_can_be_neither_watched_nor_killed_holds_its_slot_but_no_viewer(
    piped: Any, slots: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(28, "no space left")

    monkeypatch.setattr(runs_module, "LOOK_EVERY", 0.1)
    source = Immortal()
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "watch", refuse)
        with pytest.raises(Busy):
            piped(source)
    with pytest.raises(BrokenPipeError):
        os.write(source.writer, b"nobody reads this")
    time.sleep(0.3)
    assert (slots.taken, slots.returned) == (1, 0)
    source.go()
    assert slots.are_back()


def test_pipe_of_what_cannot_be_killed_is_closed(piped: Any) -> None:
    source = Immortal()
    _, viewer = piped(source, seconds=0.1)
    to_the_end(viewer)
    with pytest.raises(BrokenPipeError):
        os.write(source.writer, b"x")
    source.go()


def test_closing_does_not_wait_for_what_cannot_be_killed(piped: Any, slots: Slots) -> None:
    source = Immortal()
    runs, viewer = piped(source)
    runs.close()
    assert to_the_end(viewer)[1].reason == "closing"
    source.go()
    # the loop has ended: nobody looks any more, and the process is about to end
    os.close(source.exit)  # type: ignore[arg-type]
    source.is_reaped, slots.returned = True, slots.taken
    runs.alive.clear()
    runs._runs.clear()
    runs.loop._callbacks.clear()


def test_stop_that_comes_with_the_end_leaves_no_moment(runs: Runs, slots: Slots) -> None:
    for _ in range(60):
        viewer = runs.view(Invocation(("true",)), slots, 100, 100)
        select.select([], [], [], 0.001)
        viewer.close()
    assert slots.are_back()
    assert soon(lambda: is_at_rest(runs)), runs.loop._moments


def test_run_that_starts_where_another_has_just_ended_goes_on(runs: Runs, slots: Slots) -> None:
    hangs, may_go, begun = threading.Event(), threading.Event(), threading.Event()
    first = runs.view(Invocation(("sleep", "1000")), slots, 100, 100)
    others: list[Viewer] = []

    def begin_another() -> None:
        if first.run.end and not others:
            others.append(runs.view(Invocation(("sleep", "1001")), slots, 100, 100))
            begun.set()

    def hang() -> None:
        hangs.set()
        may_go.wait(PATIENT)

    first.notify = begin_another  # in the loop's thread, which has seen output and exit of the first end
    runs.loop.call_soon(hang)
    assert hangs.wait(PATIENT)
    ended: Any = first.run._source
    ended.kill()
    assert soon(ended.has_ended)
    may_go.set()
    assert begun.wait(PATIENT)
    (second,) = others
    source: Any = second.run._source
    assert source.exit == ended.exit
    turned = threading.Event()
    runs.loop.call_soon(turned.set)
    assert turned.wait(PATIENT)
    assert second.run.end is None
    assert not source.has_ended()
    for viewer in (first, second):
        viewer.close()


# --- every order


class Orders(RuleBasedStateMachine):
    """Join, leave, speak, end, stop, refuse and close in any order, over a few questions.

    Each step but the last is followed by another at once, so that the loop's thread may be anywhere.
    """

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        for module, name in ((runs_module, "GRACE"), (runs_module, "DYING"), (registry_module, "GRACE")):
            self.patch.setattr(module, name, getattr(module, name) / 5)
        self.files = len(open_files())
        self.slots = Slots()
        self.sources: list[Pipe] = []
        self.viewers: list[Viewer] = []
        self.fails = False
        self.runs = Runs(100, self.open)
        self.is_closed = False

    def open(self, invocation: Invocation) -> Source:
        if self.fails:
            raise Busy("No room.")
        kinds: dict[str, Callable[[], Pipe]] = {
            "heedful": Pipe,
            "immortal": Immortal,
            "deaf": lambda: Pipe(heeds_terminate=False),
        }
        source = kinds[invocation.argv[0]]()
        self.sources.append(source)
        return source

    @rule(
        kind=st.sampled_from(["heedful", "immortal", "deaf"]),
        number=st.integers(0, 1),
        seconds=st.sampled_from([0.0, 0.01, 30.0]),
        is_live=st.booleans(),
    )
    def join(self, kind: str, number: int, seconds: float, is_live: bool) -> None:
        question = Invocation((kind, str(number)))
        try:
            viewer = self.runs.view(question, self.slots, seconds, 30)
        except Busy:
            assert self.fails or self.is_closed
            return
        viewer.is_live = is_live
        self.viewers.append(viewer)

    @rule(number=st.integers(0, 9))
    def leave(self, number: int) -> None:
        if self.viewers:
            self.viewers.pop(number % len(self.viewers)).close()

    @rule(number=st.integers(0, 9), length=st.sampled_from([1, 60, 150]))
    def speak(self, number: int, length: int) -> None:
        if self.sources:
            self.sources[number % len(self.sources)].say("x" * length)

    @rule(number=st.integers(0, 9))
    def end(self, number: int) -> None:
        if self.sources:
            self.sources[number % len(self.sources)].finish()

    @rule(number=st.integers(0, 9))
    def read(self, number: int) -> None:
        if self.viewers:
            self.viewers[number % len(self.viewers)].read()

    @rule(fails=st.booleans())
    def refuse(self, fails: bool) -> None:
        self.fails = fails

    @rule(seconds=st.sampled_from([0.001, 0.02]))
    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    @precondition(lambda self: self.sources)
    @rule()
    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.runs.close()

    def teardown(self) -> None:
        """End everything: no viewer waits for ever, and nothing is left."""
        try:
            self.end_everything()
        finally:
            self.patch.undo()

    def end_everything(self) -> None:
        for each in self.sources:
            if not isinstance(each, Immortal):
                each.finish()
        for run in self.runs.alive.copy():
            run.stop("left")
        for viewer in self.viewers:
            read_out(viewer)
            viewer.close()
        self.let_go()
        if not self.is_closed:  # after that the loop has ended, and nobody waits for what could not be killed
            assert self.slots.are_back(), vars(self.slots)
            assert soon(lambda: is_at_rest(self.runs)), vars(self.runs)
            assert all(each.is_reaped for each in self.sources)
            self.runs.close()
        assert self.slots.returned <= self.slots.taken
        assert not self.runs.loop._moments
        for each in self.sources:
            if not each.is_reaped:
                assert isinstance(each, Immortal)
                assert each.exit is not None
                os.close(each.exit)
        del self.runs
        self.viewers.clear()
        assert soon(lambda: len(open_files()) <= self.files + 2)

    def let_go(self) -> None:
        for each in self.sources:
            if isinstance(each, Immortal):
                each.go()
                each.finish()


TestOrders = Orders.TestCase
TestOrders.settings = settings(
    max_examples=examples(40),
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
