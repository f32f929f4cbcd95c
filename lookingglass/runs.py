"""A Run and its viewers, over any source.

A Run is in one of four states, and ``Run._enter`` is the one place that changes them:

    STARTING   its source is being opened, by the thread of its first viewer; more viewers may join
    RUNNING    its output is read, by the loop's thread; more viewers may join
    STOPPING   its source was told to stop, for a reason that stays; nobody joins any more
    ENDED      its viewers know how it ended; nothing is read any more

It leaves RUNNING when the source ends by itself, when the time of its last viewer is up, when its output is
full, when its last viewer has left, or when the looking glass closes. A source that does not stop when it is
told to is killed after GRACE; one that cannot be killed (it became root) is left alone soon after. Its
viewers are told then, but its slot is given back only when it is really gone.
"""

from __future__ import annotations

import enum
import select
import threading
import time
from collections.abc import Callable

from commands import Invocation
from lookingglass.facts import PARSERS
from lookingglass.facts.common import Facts
from lookingglass.loop import Bell, Loop
from lookingglass.output import NOT_DRAWN, Digest, Drawn, Once, Output
from lookingglass.problems import Busy, Problem
from lookingglass.sources import Holding, Opening, Source
from lookingglass.watcher import GRACE
from rfc8522 import End, Reason

DYING = GRACE / 4  # seconds that a killed source has for ending
LOOK_EVERY = 1.0  # seconds between two looks at a source that cannot be watched
AT_ONCE = 0.005  # seconds for which the thread that has opened a source waits for its end
FULL = "This machine cannot run more commands now."


class State(enum.Enum):
    """Where a Run is in its life; see the top of this module."""

    STARTING = enum.auto()
    RUNNING = enum.auto()
    STOPPING = enum.auto()
    ENDED = enum.auto()


class Run:
    """Read one source once, into a buffer of decoded text for any number of viewers."""

    def __init__(
        self,
        invocation: Invocation,
        output_limit: int,
        loop: Loop,
        gone: Callable[[Run], None],
        ended: Callable[[Run], None] | None = None,
    ) -> None:
        self.invocation = invocation
        parser = invocation.parser
        self.output = Output(output_limit, invocation.skip, PARSERS[parser].raw_line if parser else None)
        self.pieces = self.output.pieces
        self.end: End | None = None
        self.problem: Problem | None = None  # why its source could not be opened
        self.lock = threading.Lock()
        self._under_way = threading.Lock()  # held until the end
        self._under_way.acquire()
        self.started = time.monotonic()
        self.shared = 0  # viewers that it has had at once, at most
        self._began = time.time()
        planned = PARSERS[parser].planned(invocation.argv) if parser else None
        self._digest = Digest(parser, planned, invocation.autonomous_system) if parser else None
        self.once = Once()
        self._loop = loop
        self._gone = gone
        self._ended = ended
        self._state = State.STARTING
        self._reason: Reason = "exit"
        self._viewers: set[Viewer] = set()
        self._source: Source | None = None
        self._slot: Holding | None = None

    # --- its viewers

    def join(self, seconds: float, ceiling: float) -> Viewer | None:
        """Admit one more viewer, as ``admit`` does; None: the Run takes none any more."""
        with self.lock:
            if self._state not in {State.STARTING, State.RUNNING}:
                return None
            return self.admit(seconds, ceiling)

    def admit(self, seconds: float, ceiling: float) -> Viewer:
        """Admit a viewer for ``seconds``, but at most until the Run is ``ceiling`` seconds old."""
        viewer = Viewer(self, min(time.monotonic() + seconds, self.started + ceiling))
        self._viewers.add(viewer)
        self.shared = max(self.shared, len(self._viewers))
        if self._state is State.RUNNING:
            self._loop.call_at(viewer.deadline, viewer.expire)
        return viewer

    @property
    def age(self) -> float:
        """Return the seconds since the end; 0: it has not ended."""
        return time.monotonic() - self.started - self.end.runtime if self.end else 0.0

    def revisit(self) -> Viewer:
        """Return a viewer of a Run that has ended, who finds all of it."""
        viewer = Viewer(self, time.monotonic())
        viewer.age = self.age
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Forget a viewer; when all others have had their time, the Run ends."""
        with self.lock:
            self._viewers.discard(viewer)
            if not self._viewers:
                self.once = Once()  # a Run that is told again keeps nothing that was made for its viewers
            is_last = self._state is State.RUNNING and all(each.end for each in self._viewers)
        self._loop.cancel(viewer.expire)
        if is_last:
            self.stop("left")

    def expire(self, viewer: Viewer, reason: Reason = "time") -> None:
        """End the time of one viewer, or what it has "left", and the Run with it when nobody has more."""
        with self.lock:
            if self._state is not State.RUNNING:
                return
            begin = viewer.deadline if reason == "time" else time.monotonic()
            others = self._viewers - {viewer}
            has_more = any(each.deadline > begin and not each.end for each in others)
            if has_more:
                viewer.end = self.end_now(reason)
        if has_more:
            viewer.notify()
        else:
            self.stop(reason)

    def facts(self, is_last: bool = False) -> Facts:
        """Return what the parser knows from the output so far; ``is_last``: from all of it, at once."""
        if self._digest is None:
            return {}
        is_complete = self.end is not None and self.end.reason == "exit"
        self._digest.update(self.output.heard, is_last, is_complete)
        if (due := self._digest.due_for(self.output.heard)) is not None:
            self._tell_at(due)
        return self._digest.known  # another thread may have read all of it just now

    def quoted_facts(self) -> str:
        """Return the facts that were read last in JSON."""
        return self._digest.quoted_facts() if self._digest else "{}"

    def drawn(self, is_over: bool, scale: float | None = None) -> Drawn:
        """Return figures and picture of the facts that were read last; ``is_over``: no more will come.

        ``scale`` is the top of an axis that others share (ms).
        """
        return self._digest.draw(is_over, scale) if self._digest else NOT_DRAWN

    def top(self) -> float | None:
        """Return the top of the axis (ms) that this picture has alone; None: it has none."""
        return self._digest.top() if self._digest else None

    def report(self) -> str:
        """Return what viewers are shown at their end in place of raw lines."""
        if self._digest is None or self.output.heard is self.pieces:
            return ""
        self.facts(is_last=True)
        return self._digest.report(self.invocation.router, self._began)

    def wait(self, seconds: float) -> None:
        """Wait until the Run has ended, at most ``seconds``."""
        if self._under_way.acquire(timeout=max(0.0, seconds)):
            self._under_way.release()

    # --- its life

    def start(self, open_source: Opening, take_slot: Callable[[], Holding]) -> None:
        """Take a slot and open the source; a Problem is raised, and told to all viewers."""
        try:
            self._slot = take_slot()
            source = open_source(self.invocation)
        except BaseException as error:
            self.problem = error if isinstance(error, Problem) else Busy(FULL)
            self._finish("exit", None)
            self._release(refund=True)
            if isinstance(error, OSError | MemoryError):
                raise self.problem from error
            raise
        with self.lock:
            self._source = source
            self._enter(State.RUNNING)
        try:
            self._begin(source)
        except (OSError, ValueError, MemoryError) as error:
            busy = Busy(FULL)
            if self._abandon(busy):
                raise busy from error

    def _begin(self, source: Source) -> None:
        """Read an open source from now on."""
        if self._has_ended_at_once(source):
            return
        with self.lock:  # nothing is closed before all is watched, and nobody leaves meanwhile
            self._loop.watch(source.output, select.EPOLLIN, self._on_output)
            if source.exit is not None:
                self._loop.watch(source.exit, select.EPOLLIN, self._on_exit)
            for viewer in self._viewers:
                self._loop.call_at(viewer.deadline, viewer.expire)

    def _abandon(self, problem: Problem) -> bool:
        """End a source that cannot be watched, and tell whether it had not ended by itself."""
        with self.lock:
            source = self._source
            if source is None:
                return False
            self._enter(State.STOPPING)
            self.problem = problem
            source.kill()
        self._loop.forget(source.output)
        end = time.monotonic() + DYING
        while not source.has_ended() and time.monotonic() < end:
            time.sleep(DYING / 100)
        self._look()
        self._give_up()
        return True

    def _look(self) -> None:
        """Look again and again whether a source has ended that cannot be watched."""
        self._on_exit(0)
        if self._source is not None:
            self._loop.call_at(time.monotonic() + LOOK_EVERY, self._look)

    def _has_ended_at_once(self, source: Source) -> bool:
        """Wait in this thread for a source that may end at once: to wake another one costs too much."""
        if source.exit is not None:
            poll = select.poll()
            poll.register(source.exit, select.POLLIN)
            if poll.poll(1000 * AT_ONCE):
                self._on_exit(select.POLLIN, is_sure=True)
        return self.end is not None

    def stop(self, reason: Reason) -> None:
        """Tell a running source to stop; it has GRACE for it."""
        with self.lock:
            if self._state is not State.RUNNING or self._source is None:
                return
            self._enter(State.STOPPING)
            self._reason = reason
            self._source.terminate()
            self._loop.call_at(time.monotonic() + GRACE, self._kill)

    def _enter(self, state: State) -> None:
        self._state = state

    def _kill(self) -> None:
        with self.lock:
            if self._state is not State.STOPPING or self._source is None:
                return
            self._source.kill()
        self._loop.call_at(time.monotonic() + DYING, self._give_up)

    def _give_up(self) -> None:
        """Tell the viewers of an end that may not come."""
        source = self._source
        if self._state is State.STOPPING and source is not None:
            self._close_output(source)
            self._finish(self._reason, None)
            if source.exit is None:  # it ends with its output
                self._on_exit(0)

    def _on_output(self, events: int) -> None:
        source = self._source
        data = _read(source) if source else None
        if source is None or data is None:
            return
        self._append(data)
        if not data or (self.output.is_full and source.exit is not None):
            self._loop.forget(source.output)
        if self.output.is_full:
            self.stop("full")
        if not data:
            self._on_exit(0)  # most often it has ended as well

    def _on_exit(self, events: int, is_sure: bool = False) -> None:
        """End the Run of a source that has ended: leave nothing of it, and read what it has said last.

        Only ``is_sure`` tells that: the loop's ``events`` may be those of a source before, whose descriptor
        had the same number.
        """
        with self.lock:
            source = self._source
            if source is None or not (is_sure or source.has_ended()):
                return
            self._source = None  # nobody signals what is gone
        if source.exit is not None:
            self._loop.forget(source.exit)
        source.kill()
        if self._state is not State.ENDED:
            self._drain(source)
            self._close_output(source)
        status = source.reap()
        self._release()
        if self._state is not State.ENDED:
            reason = self._reason if self._state is State.STOPPING else "exit"
            self._finish("full" if reason == "exit" and self.output.is_full else reason, status)

    def _drain(self, source: Source) -> None:
        while not self.output.is_full and (data := _read(source)):
            self._append(data)

    def _close_output(self, source: Source) -> None:
        """Close the pipe, whoever else holds its other end."""
        self._loop.forget(source.output)
        source.close_output()
        self._append(b"")

    def _append(self, data: bytes) -> None:
        with self.lock:
            is_news = self.output.add(data)
        if is_news:
            self._tell()
        elif data and self._digest:  # for facts only
            self._tell_at(self._digest.due)

    def _finish(self, reason: Reason, status: int | None) -> None:
        with self.lock:
            self._enter(State.ENDED)
            self.end = End(reason, status, time.monotonic() - self.started, time.time())
        self._loop.cancel(self._kill, self._give_up, self._tell)
        if self._ended is not None:
            self._ended(self)
        self._under_way.release()
        self._tell()

    def _release(self, refund: bool = False) -> None:
        self._gone(self)
        if self._slot is not None:
            self._slot.end(refund)

    def _tell(self) -> None:
        """Notify the viewers, those that wait for the end only then."""
        with self.lock:
            viewers = [viewer for viewer in self._viewers if viewer.is_live or self.end]
        for viewer in viewers:
            viewer.notify()

    def _tell_at(self, moment: float) -> None:
        """Notify the viewers at a moment by the monotonic clock; at once when it is over."""
        if moment <= time.monotonic():
            self._tell()
            return
        with self.lock:
            if self._state is not State.ENDED:
                self._loop.call_at(moment, self._tell)

    def end_now(self, reason: Reason) -> End:
        """Return an end that concerns one viewer only."""
        return End(reason, None, time.monotonic() - self.started, time.time())


class Viewer:
    """Follow a Run for one visitor, from its beginning to its end or to the viewer's own deadline.

    ``notify`` is called, in any thread, when there is something new: text or facts, if ``is_live``, or the
    end. By default it ends ``wait``.
    """

    def __init__(self, run: Run, deadline: float) -> None:
        self.run = run
        self.deadline = deadline  # by the monotonic clock
        self.end: End | None = None  # its own, when it is not the Run's
        self.age: float | None = None  # seconds since the end of a Run that is told again
        self.is_live = True
        self.is_waiting = False  # to be notified: ``read`` has returned all that there was
        self._bell = Bell()
        self.notify: Callable[[], None] = self._bell.ring
        self._seen = 0
        self._over: End | None = None  # judged once, together with the last text
        self._report = ""

    @property
    def is_over(self) -> bool:
        """Tell whether ``read`` has returned the last text."""
        return self._over is not None

    def times(self) -> tuple[float, float]:
        """Return for how many seconds the Run goes on, and for how many it may for this viewer."""
        return time.monotonic() - self.run.started, self.deadline - self.run.started

    def expire(self) -> None:
        """End this viewer's time."""
        self.run.expire(self)

    def stop(self) -> None:
        """End what this viewer sees, to be read to its end; the Run goes on if others see it."""
        self.run.expire(self, "left")

    def read(self) -> str | None:
        """Return new text, "" when there is none now, None at the end.

        Raises the Problem that has kept the Run from starting.
        """
        run = self.run
        with run.lock:
            if self._over:
                return None
            if run.problem:
                self.is_waiting = False
                raise run.problem.again()
            new = run.pieces[self._seen :]
            self._seen += len(new)
            self._over = self.end or run.end
            self.is_waiting = self._over is None
        if self._over:
            self._report = run.report()
        return "".join(new) + self._report or (None if self._over else "")

    def wait(self, seconds: float) -> None:
        """Wait until the viewer is notified, at most ``seconds``; not at all at the end."""
        if self._over is None:
            self._bell.wait(seconds)

    def result(self) -> tuple[str, End]:
        """Return all the text so far, and how it ended; call it after ``read`` gave None."""
        end = self._over or self.run.end_now("left")
        return "".join((*self.run.pieces[: self._seen], self._report)), end

    def close(self) -> None:
        """Leave the Run, and let go of whoever was notified."""
        self.run.leave(self)
        self.notify = self._bell.ring


def _read(source: Source) -> bytes | None:
    """Return what a source has to say; one whose connection is broken has ended."""
    try:
        return source.read()
    except OSError:
        return b""
