"""One question to several routers: one answer, some of whose runs go on at once, the others later."""

from __future__ import annotations

import functools
import secrets
import time
from collections.abc import Callable, Sequence

import rfc8522
from commands import Router
from lookingglass.glass import Answer, Common, Glass, outcome_of
from lookingglass.guard import Lease
from lookingglass.journal import Record
from lookingglass.loop import Bell
from lookingglass.problems import Busy, Problem, Quota, Refusal, Unwanted
from lookingglass.questions import Question
from lookingglass.runs import Viewer
from lookingglass.visitors import Visitor
from lookingglass.waiting import Stand, Wait
from rfc8522 import EVERY_ROUTER, MOST_ROUTERS, Envelope, Parameters, ProtocolError

WHOLE = 8  # times the output that one run may have, after which no other run begins
ENOUGH_AT_ONCE = "The limit is {} routers of a question at once."
TOO_LONG = "The answers of other routers are so long that this one was not asked."
STOPPED = "The visitor has stopped this router before it was asked."


class RouterAnswer:
    """Follow what one router answers."""

    def __init__(
        self, router: Router, record: Record, answer: Answer | None, problem: Problem | None = None
    ) -> None:
        self.router = router
        self.record = record
        self.queued = Wait()
        self.size = 0  # characters of its output so far
        self._status = 0
        self.envelope: Envelope = {}  # when it is over
        self.is_live = True  # its text is wanted as it comes
        self.is_held = False  # back, for too many others go on
        self.runs = False
        self.has_failed = False  # to begin
        self.is_unwanted = False  # the visitor wants no more of it
        self.name = secrets.token_hex(16)  # by which it is stopped: whoever knows it is its visitor
        self._answer = answer
        self._may_begin = False
        self._unread: list[str] = []
        if problem:
            self._end(problem)

    @property
    def is_over(self) -> bool:
        """Tell whether its outcome is known."""
        return bool(self.envelope)

    def forgo_result(self) -> None:
        """Have the answer not kept: there is no place to tell where it would be."""
        if self._answer:
            self._answer.keep = None

    def hold(self, place: int, why: str) -> None:
        """Wait until others are over."""
        self.is_held = True
        self.queued = Wait(place, why)

    def follow(self) -> None:
        """Begin, or go on, as far as that is possible now; at the end the outcome is known."""
        answer = self._answer
        if answer is None or self.is_over:
            return
        if self.is_held:
            self.record.waited += time.monotonic() - self.record.began
        self.is_held, self._may_begin = False, True
        try:
            self.runs = answer.begin()
            if self.runs:
                answer.viewer.is_live = self.is_live
                self._read(answer)
        except Problem as problem:
            self._end(problem)
        self.queued = answer.queued

    def refuse(self, problem: Problem) -> bool:
        """End it if it has not begun, and tell whether that was so."""
        if self._answer is None or self._may_begin:
            return False
        self._answer.give_up(problem)
        self._end(problem)
        return True

    def dismiss(self) -> None:
        """End it, or have it end soon if it runs: no more of it is wanted."""
        if self.seen:
            self.seen.stop()
        elif self._answer:
            self._answer.close()
            self._end(Unwanted(STOPPED))

    def read(self) -> str:
        """Return the text that has come since the last call."""
        text = "".join(self._unread)
        self._unread.clear()
        return text

    def outcome(self) -> tuple[int, Envelope]:
        """Return the HTTP status and the envelope, when it is over."""
        return self._status, self.envelope

    @property
    def age(self) -> int | None:
        """Return the whole seconds since the end of a run that is told again; None: it is told as it runs."""
        return self._answer.age if self._answer else None

    def facts(self) -> dict[str, object]:
        """Return what is known from the output so far."""
        return self._answer.facts() if self._answer else {}

    @property
    def seen(self) -> Viewer | None:
        """Return the viewer of its Run; None: it has not begun."""
        return self._answer.seen if self._answer else None

    def on_news(self, notify: Callable[[], None]) -> None:
        """Have ``notify`` called, in any thread, when ``follow`` may have something to do."""
        if self._answer:
            self._answer.notify = notify

    def leave(self) -> None:
        """Go on no longer."""
        if self._answer:
            self._answer.leave()

    def close(self) -> None:
        """End, give everything back and write the record; more than once does no harm."""
        if self._answer:
            self._answer.close()

    def _read(self, answer: Answer) -> None:
        while text := answer.read():
            self.size += len(text)
            if self.is_live:
                self._unread.append(text)
        if text is None and not answer.has_left:
            self.record.ended = time.monotonic()
            self._know(*answer.outcome())

    def _end(self, problem: Problem) -> None:
        self.has_failed = True
        self._know(problem.status, rfc8522.envelope_of(problem))

    def _know(self, status: int, envelope: Envelope) -> None:
        self._status = status
        self.envelope = {"router": self.router.name, **envelope}


class Several:
    """Follow the answers of several routers to one question, for one visitor.

    It has the interface of an ``Answer``, as far as a Body needs it. ``record`` is that of the router whose
    bytes are sent.
    """

    def __init__(self, parts: Sequence[RouterAnswer], glass: Glass, place: Lease, stand: Stand) -> None:
        self.parts = parts
        self.record = parts[0].record
        self.has_left = False  # the visitor
        self.is_watched = False  # the visitor sees what the page shows
        self.queued = Wait()  # its routers wait, not it
        self.is_waiting = False  # for a notification: it cannot tell whether some router has more
        self.quotas: tuple[Quota, ...] = ()
        self.age = None  # each router's own
        self._stops = glass.stops
        self._began = time.monotonic()
        self._at_once = glass.limits.routers_at_once
        self._longest = WHOLE * glass.limits.output_kib * 1024  # characters of output
        self._loop = glass.runs.loop
        self._place = place
        self._stand = stand
        self._bell = Bell()
        self.notify: Callable[[], None] = self._bell.ring  # called in any thread when there may be news
        for part in parts:
            part.on_news(self._tell)

    def begin(self) -> bool:
        """Tell that it has begun: what keeps a router from it is told in the answer."""
        return True

    @property
    def has_failed(self) -> bool:
        """Tell whether no router could be asked."""
        return all(part.has_failed for part in self.parts)

    @property
    def is_over(self) -> bool:
        """Tell whether all outcomes are known."""
        return all(part.is_over for part in self.parts)

    def follow(self) -> None:
        """Begin what may begin, in the order asked, and take what there is now of what has begun."""
        known = -1
        while known != (known := sum(part.is_over for part in self.parts)):  # an end makes room for others
            under_way = place = 0
            size = sum(part.size for part in self.parts)
            for part in self.parts:
                if part.is_unwanted and not part.is_over:
                    part.dismiss()
                if part.is_over or (size > self._longest and part.refuse(Busy(TOO_LONG))):
                    continue
                if under_way < self._at_once:
                    before = part.size
                    part.follow()
                    size += part.size - before
                    under_way += not part.is_over
                else:
                    part.hold(place + 1, ENOUGH_AT_ONCE.format(self._at_once))
                place = max(place, part.queued.place)
        if all(part.runs or part.is_over for part in self.parts):
            self._stand.leave()

    def watch(self) -> None:
        """Show the visitor what the page shows, where each router can be stopped by a name that is told."""
        self.is_watched = True
        self._stops.update({part.name: functools.partial(self._stop, part) for part in self.parts})

    def wake_at(self, moment: float) -> None:
        """Tell of news at a moment by the monotonic clock."""
        self._loop.call_at(moment, self._tell)

    def outcome(self) -> tuple[int, Envelope]:
        """Return the HTTP status and the envelope, when it is over."""
        return rfc8522.together([part.outcome() for part in self.parts], self._began)

    def wait(self, seconds: float) -> None:
        """Wait until there may be news, at most ``seconds``."""
        self._bell.wait(seconds)

    def leave(self) -> None:
        """Let all end: the visitor has gone."""
        self.has_left = True
        for part in self.parts:
            part.leave()
        self.notify()

    def close(self) -> None:
        """End all, and give everything back; more than once does no harm."""
        for part in self.parts:
            self._stops.pop(part.name, None)
            part.close()
        self._loop.cancel(self._tell)
        self._stand.leave()
        self._place.end()

    def _stop(self, part: RouterAnswer) -> None:
        """Have one router's answer end, in whichever thread follows it."""
        part.is_unwanted = True
        self.notify()

    def _tell(self) -> None:
        self.notify()


def is_asked(question: Question) -> bool:
    """Tell whether a question is to several routers."""
    return any(name.lower() == "routers" for name, _ in question.parameters)


def check(glass: Glass, question: Question) -> None:
    """Raise the Problem of a question that no router can run, as far as one can tell without running."""
    problems: list[Problem] = []
    routers = _routers(glass, question)
    for router in routers:
        try:
            glass.check(_to(router, question))
        except Problem as problem:
            problems.append(problem)
    if len(problems) == len(routers):
        raise max(problems, key=lambda problem: problem.status)


def ask(glass: Glass, question: Question, visitor: Visitor) -> Several:
    """Ask several routers; raises a Problem, after writing its record, when none can be asked."""
    try:
        routers = _routers(glass, question)
        place = glass.enter(visitor)
        try:
            stand = glass.join(visitor)
        except BaseException:
            place.end()
            raise
    except Problem as problem:
        quotas = problem.quotas if isinstance(problem, Refusal) else ()
        problem.headers = {**problem.headers, **glass.headers(quotas)}
        raise glass.refuse(question, visitor, problem) from None
    parts: list[RouterAnswer] = []
    try:
        # A name is looked up once, when the first router is asked.
        common = Common(stand, functools.cache(lambda target: glass.look_up(target, visitor)))
        for router in routers:
            parts.append(_part(glass, router, question, visitor, common))
    except BaseException:
        for part in parts:
            part.close()
        stand.leave()
        place.end()
        raise
    several = Several(parts, glass, place, stand)
    try:
        if Parameters.read(question.parameters).view:
            several.watch()
        several.follow()
    except BaseException:
        several.close()
        raise
    return several


def _part(glass: Glass, router: Router, question: Question, visitor: Visitor, common: Common) -> RouterAnswer:
    """Return the answer of one router, which begins later, or is an error at once."""
    record = glass.journal.begin(visitor, question.path)
    try:
        checked = glass.check(_to(router, question), record)
        answer = glass.patiently(checked, visitor, record, Lease(lambda refund: None), common)
    except BaseException as error:
        glass.journal.close(record, outcome_of(error))
        if isinstance(error, Problem):
            return RouterAnswer(router, record, None, error)
        raise
    return RouterAnswer(router, record, answer)


def _routers(glass: Glass, question: Question) -> list[Router]:
    """Return those that are asked, of all of them those that have the command; raises Problem."""
    parameters = Parameters.read(question.parameters)
    chosen = rfc8522.choose_several(glass.routers, parameters)
    if parameters.routers != EVERY_ROUTER:
        return chosen
    able = [router for router in chosen if glass.planner.vocabulary.knows(question.path, router)]
    if not able:
        raise ProtocolError("There is no such command on any router.", 404)
    if len(able) > MOST_ROUTERS:
        raise ProtocolError(f"There are more routers than {MOST_ROUTERS}; name those that are to answer.")
    return able


def _to(router: Router, question: Question) -> Question:
    """Return the question to one router."""
    others = [pair for pair in question.parameters if pair[0].lower() != "routers"]
    return Question(question.path, (*others, ("router", router.name)))
