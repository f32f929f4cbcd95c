"""The loop's thread: descriptors, moments, wake-ups, and what must not stop it."""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import os
import select
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from lookingglass.loop import Bell, Loop
from tests.support import PATIENT, at_once, open_files, soon


@pytest.fixture
def loop() -> Iterator[Loop]:
    """Yield a loop that runs; afterwards it has ended."""
    loop = Loop()
    loop.open()
    thread = threading.Thread(target=loop.run)
    thread.start()
    yield loop
    loop.end()
    thread.join(60)
    assert not thread.is_alive()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Yield a pipe; its ends may be closed by the test."""
    ends = os.pipe()
    yield ends
    for each in ends:
        with contextlib.suppress(OSError):
            os.close(each)


class Calls:
    """Note when it was called, and in which thread."""

    def __init__(self) -> None:
        self.moments: list[float] = []
        self.threads: set[int] = set()

    def __call__(self, *events: int) -> None:
        self.moments.append(time.monotonic())
        self.threads.add(threading.get_ident())


def test_callback_comes_when_there_is_something_to_read(loop: Loop, pipe: tuple[int, int]) -> None:
    read: list[bytes] = []
    loop.watch(pipe[0], select.EPOLLIN, lambda events: read.append(os.read(pipe[0], 100)))
    time.sleep(0.05)
    assert not read
    os.write(pipe[1], b"x")
    assert soon(lambda: read == [b"x"])
    loop.forget(pipe[0])


def test_forgotten_descriptor_is_not_called_and_may_be_closed_already(
    loop: Loop, pipe: tuple[int, int]
) -> None:
    calls = Calls()
    loop.watch(pipe[0], select.EPOLLIN, calls)
    os.close(pipe[0])
    loop.forget(pipe[0])
    loop.forget(pipe[0])
    loop.forget(99999)
    assert not loop._callbacks
    assert not calls.moments


def test_events_of_interest_can_be_changed(loop: Loop, pipe: tuple[int, int]) -> None:
    calls = Calls()
    os.write(pipe[1], b"x")
    loop.watch(pipe[0], 0, calls)
    time.sleep(0.05)
    assert not calls.moments
    loop.change(pipe[0], select.EPOLLIN)
    assert soon(lambda: calls.moments)
    loop.forget(pipe[0])


def test_call_comes_at_its_moment_and_once(loop: Loop) -> None:
    calls, moment = Calls(), time.monotonic() + 0.2
    loop.call_at(moment, calls)
    assert soon(lambda: calls.moments)
    assert calls.moments[0] >= moment
    time.sleep(0.1)
    assert len(calls.moments) == 1
    assert not loop._moments


def test_earlier_moment_ends_a_long_sleep(loop: Loop) -> None:
    calls = Calls()
    loop.call_at(time.monotonic() + 1000, lambda: None)
    time.sleep(0.05)
    loop.call_at(time.monotonic() + 0.05, calls)
    assert soon(lambda: calls.moments)


def test_second_wish_takes_the_place_of_the_first(loop: Loop) -> None:
    calls = Calls()
    moment = time.monotonic() + 1
    loop.call_at(moment - 0.5, calls)
    loop.call_at(moment, calls)
    assert soon(lambda: calls.moments)
    assert calls.moments[0] >= moment


def test_cancelled_call_does_not_come(loop: Loop) -> None:
    calls = Calls()
    loop.call_at(time.monotonic() + 0.5, calls)
    loop.cancel(calls)
    loop.cancel(calls)
    time.sleep(0.7)
    assert not calls.moments


def test_methods_of_one_object_are_one_wish_and_of_two_are_two(loop: Loop) -> None:
    first, second = Calls(), Calls()
    moment = time.monotonic() + 0.5
    for each in (first, first, second):
        loop.call_at(moment, each.__call__)
    assert len(loop._moments) == 2
    assert soon(lambda: first.moments and second.moments)
    assert len(first.moments) == 1


def test_call_soon_comes_in_the_thread_of_the_loop(loop: Loop) -> None:
    calls = Calls()
    for _ in range(100):
        loop.call_soon(calls)
    assert soon(lambda: len(calls.moments) == 100)
    assert calls.threads != {threading.get_ident()}
    assert len(calls.threads) == 1


@pytest.mark.parametrize("how", ["soon", "moment", "descriptor"])
def test_callback_that_raises_harms_no_other(
    loop: Loop, pipe: tuple[int, int], how: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*events: int) -> None:
        loop.forget(pipe[0])
        raise RuntimeError("secret")

    os.write(pipe[1], b"x")
    begin: dict[str, Callable[[], None]] = {
        "soon": lambda: loop.call_soon(fail),
        "moment": lambda: loop.call_at(0, fail),
        "descriptor": lambda: loop.watch(pipe[0], select.EPOLLIN, fail),
    }
    begin[how]()
    calls = Calls()
    loop.call_at(time.monotonic() + 0.05, calls)
    assert soon(lambda: calls.moments)
    assert "a callback failed" in caplog.text


def test_event_of_a_closed_descriptor_does_not_reach_a_new_one_of_its_number() -> None:
    loop, news = Loop(), Calls()
    loop.open()
    ends = [os.pipe() for _ in range(4)]

    def replace_all_but(mine: int, events: int) -> None:
        for other, _ in ends:
            if other != mine:
                loop.forget(other)
                os.dup2(empty[0], other)  # closes it
                loop.watch(other, select.EPOLLIN, news)

    empty = os.pipe()
    for each in ends:
        loop.watch(each[0], select.EPOLLIN, functools.partial(replace_all_but, each[0]))
        os.write(each[1], b"x")
    loop._turn()
    assert not news.moments
    os.write(empty[1], b"x")
    loop._turn()
    assert len(news.moments) == len(ends) - 1
    for end in (*itertools.chain(*ends), *empty):
        os.close(end)


def test_no_wake_up_is_lost_between_many_threads(loop: Loop) -> None:
    """Each thread waits for its own call before it wishes for the next: one lost wake-up stops it."""
    failed: list[str] = []

    def wish(number: int) -> None:
        for turn in range(150):
            called = threading.Event()
            if turn % 2:
                loop.call_soon(called.set)
            else:
                loop.call_at(time.monotonic() + (turn % 5) / 1000, called.set)
            if not called.wait(PATIENT):
                failed.append(f"{number}, {turn}")
                return

    at_once(16, wish)
    assert not failed
    assert not loop._moments


def test_idle_loop_uses_no_cpu(loop: Loop) -> None:
    calls = Calls()
    loop.call_at(time.monotonic() + 1000, lambda: None)
    loop.call_soon(calls)
    assert soon(lambda: calls.threads)
    clock = time.pthread_getcpuclockid(calls.threads.pop())
    used = time.clock_gettime(clock)
    time.sleep(0.5)
    assert time.clock_gettime(clock) - used < 0.1


def test_end_before_the_run_makes_it_return_at_once() -> None:
    loop = Loop()
    loop.end()
    loop.run()


def test_loop_that_is_not_open_watches_nothing(pipe: tuple[int, int]) -> None:
    loop = Loop()
    with pytest.raises(ValueError, match="not open"):
        loop.watch(pipe[0], select.EPOLLIN, lambda events: None)
    assert not loop._callbacks


def test_descriptor_that_cannot_be_watched_leaves_nothing(loop: Loop, tmp_path: object) -> None:
    with open(__file__, "rb") as file, pytest.raises(PermissionError):  # epoll takes no regular files
        loop.watch(file.fileno(), select.EPOLLIN, lambda events: None)
    assert not loop._callbacks


def test_loop_that_has_ended_leaves_no_descriptor() -> None:
    before = open_files()
    for _ in range(3):
        loop = Loop()
        loop.open()
        thread = threading.Thread(target=loop.run)
        thread.start()
        loop.end()
        thread.join()
        del loop, thread
    assert open_files() == before


def test_loop_that_could_not_be_opened_opens_later_and_leaves_no_descriptor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse() -> None:
        raise OSError(errno.EMFILE, "no more")

    before = open_files()
    loop = Loop()
    with monkeypatch.context() as patch:
        patch.setattr(select, "epoll", refuse)
        for _ in range(3):
            with pytest.raises(OSError, match="no more"):
                loop.open()
    assert open_files() == before
    loop.open()
    thread = threading.Thread(target=loop.run)
    thread.start()
    called = threading.Event()
    loop.call_soon(called.set)
    assert called.wait(PATIENT)
    loop.end()
    thread.join()
    del loop, thread
    assert open_files() == before


# --- the bell


def test_ring_before_a_wait_ends_that_wait_and_no_other() -> None:
    bell = Bell()
    bell.ring()
    bell.ring()
    began = time.monotonic()
    bell.wait(PATIENT)
    assert time.monotonic() - began < PATIENT
    bell.wait(0.2)
    assert time.monotonic() - began >= 0.2


def test_ring_ends_a_wait_in_another_thread() -> None:
    bell = Bell()
    thread = threading.Thread(target=bell.wait, args=(1000,))
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    bell.ring()
    thread.join(60)
    assert not thread.is_alive()
