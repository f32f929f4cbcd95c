"""Ask a question without HTTP: check, admit, aim, run, answer."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import rfc8522
from commands import JSON, Command, Invocation, Router
from lookingglass import targets
from lookingglass.aiming import Aimer
from lookingglass.configuration import Configuration
from lookingglass.facts.common import find_json
from lookingglass.finished import Reuse
from lookingglass.guard import Guard, Lease
from lookingglass.journal import Journal, Lines, Outcome, Record
from lookingglass.loop import Bell
from lookingglass.names import LookUp, Resolver, Unresolved
from lookingglass.output import Made
from lookingglass.patience import Patience, Patient
from lookingglass.problems import Problem, Quota, Refusal
from lookingglass.questions import Checked, Planner, Question
from lookingglass.registry import Runs
from lookingglass.results import Results, open_results
from lookingglass.runs import Viewer
from lookingglass.store import Store
from lookingglass.stores import open_store
from lookingglass.visitors import Visitor
from lookingglass.waiting import Queue, Stand
from rfc8522 import Parameters, Subject

# The journal's words: for why a Run has ended when not by itself, and for a Problem by its HTTP status.
WORDS = {"time": "timeout", "full": "cut", "left": "left", "closing": "stopped"}
REFUSALS = {**dict.fromkeys((400, 404, 406, 429, 503), "refused"), 502: "unreachable", 504: "timeout"}
NO_FACTS: dict[str, Any] = {}  # is known from the output of what has not begun

Keep = Callable[[Subject, int, rfc8522.Envelope], rfc8522.Envelope]  # adds ``result`` where it is kept


class Common(NamedTuple):
    """Hold what the answers of several routers to one question have in common."""

    stand: Stand  # in the queue
    look_up: Callable[[targets.Target | None], LookUp | None]  # a name, only once


class Answer(Patient):
    """Follow a Run for one visitor, and give everything back at the end.

    It begins when the target's name has been looked up, if there is one, or, with Patience, when it has had
    its turn in the queue as well; nobody waits for that. ``close`` has to be called, whatever happens; it
    leaves the Run and writes the record.
    """

    router: Router
    is_watched: bool  # the visitor sees what the page shows
    viewer: Viewer  # when ``begin`` has returned True
    subject: Subject

    def __init__(
        self,
        before: LookUp | Patience | None,
        start: Callable[[tuple[targets.Address, ...], Collection[str] | None], tuple[Viewer, Subject]],
        place: Lease,
        record: Record,
        journal: Journal,
    ) -> None:
        super().__init__(record, before if isinstance(before, Patience) else None)
        self.has_left = False  # the visitor
        self.keep: Keep | None = None  # what keeps it at its end; None: nothing does
        self.quotas = place.quotas  # what limits leave to the visitor
        self._look_up = None if isinstance(before, Patience) else before
        self._start = start
        self._place = place
        self._journal = journal
        self._tokens: Lease | None = None  # of a run that has patience
        self._problem: BaseException | None = None  # that has kept it from beginning
        self._outcome: tuple[int, rfc8522.Envelope] | None = None
        self._reason = ""  # why the Run has ended for the visitor, when there is an outcome
        self._lock = threading.Lock()
        self._has_begun = self._is_closed = False
        self._bell = Bell()
        self.notify: Callable[[], None] = self._bell.ring  # called in any thread when there may be news
        if self._look_up:
            self._look_up.listen(self._tell)

    def begin(self) -> bool:
        """Join or start the Run if the name has been looked up; tell whether the answer has begun.

        Raises the Problem that keeps it from beginning, after which the answer is closed.
        """
        if self._has_begun:
            return True
        if self.has_left or self._is_closed or self._ticket:
            return False
        if self._problem is None:
            behind = self._patience.awaited() if self._patience else None
            if refusal := self._advance(behind):
                self._wait(refusal)
                if self._is_closed:  # in another thread, meanwhile
                    self._leave_queue()
        if self._problem is not None:
            problem = self._problem
            raise problem.again() if isinstance(problem, Problem) else problem
        return self._has_begun

    def read(self) -> str | None:
        """Return new text, "" when there is none now, None at the end or when the visitor has left.

        Raises the Problem that has kept the Run from starting.
        """
        if self.has_left:
            return None
        if not self.begin():
            return ""
        try:
            return self.viewer.read()
        except Refusal as refusal:  # of whoever has started the Run, when it was joined already
            if not self._can_wait_for(refusal):
                raise
            self._begin_again(refusal)
            return ""

    def wait(self, seconds: float) -> None:
        """Wait until ``read`` has something to return, at most ``seconds``."""
        self._bell.wait(seconds)

    @property
    def age(self) -> int | None:
        """Return the whole seconds since the end of a run that is told again; None: it is told as it runs."""
        return int(self.viewer.age) if self._has_begun and self.viewer.age is not None else None

    @property
    def is_waiting(self) -> bool:
        """Tell whether ``read`` has returned all that there was, so that ``notify`` comes before more."""
        return self._has_begun and self.viewer.is_waiting and not self.has_left

    def once(self, make: Callable[..., Made], *of: object) -> Made:
        """Return ``make(*of)``, made once for all viewers of its Run while they wait for more."""
        return self.viewer.run.once(make, *of) if self.is_waiting else make(*of)

    def leave(self) -> None:
        """Let ``read`` end: the visitor has gone."""
        self.has_left = True
        self.notify()

    def facts(self) -> dict[str, Any]:
        """Return what is known from the output so far; the same object as before when nothing is new."""
        return self.viewer.run.facts() if self._has_begun else NO_FACTS

    @property
    def seen(self) -> Viewer | None:
        """Return the viewer of its Run; None: it has not begun."""
        return self.viewer if self._has_begun else None

    def outcome(self) -> tuple[int, rfc8522.Envelope]:
        """Return the HTTP status and the envelope, after ``read`` gave None."""
        if self._outcome is None:
            text, end = self.viewer.result()
            facts = self.viewer.run.facts(is_last=True)
            document = find_json(text) if self.subject.media == JSON else None
            status, envelope = rfc8522.outcome(self.subject, text, end, facts, document)
            if self.keep:
                envelope = self.keep(self.subject, status, envelope)
            self._reason = end.reason
            self._outcome = status, envelope
        return self._outcome

    def close(self) -> None:
        """Leave the Run, give the place back and write the record; more than once does no harm."""
        with self._lock:
            self._is_closed = True
            has_begun = self._has_begun
        self.notify = self._bell.ring  # whoever was notified is let go, who may hold this answer
        self._leave_queue()
        if not has_begun:
            self._end(Outcome("left", 0))
            return
        self.viewer.close()
        run = self.viewer.run
        self.record.reused = self.age
        self.record.shared = run.shared if self.age is None else 0
        if run.output.began is not None:
            self.record.first = max(0.0, run.output.began - self.record.began)
        self._end(self._ending(), refund=run.problem is not None and self._is_free(run.problem))

    def _is_free(self, error: BaseException) -> bool:
        """Tell whether no token is paid for an error: of ours, or one that came before any work."""
        if isinstance(error, Refusal):
            return error.status == 503 or self._look_up is None
        return isinstance(error, Unresolved) and error.is_ours

    def _advance(self, behind: Collection[str] | None) -> Refusal | None:
        """Pay, look up, start: as far as that is possible now; return the Refusal that it may wait for."""
        try:
            if self._patience and self._tokens is None and not self._is_paid(self._patience, behind or ()):
                return None
            found = self._look_up.addresses() if self._look_up else ()
            if found is None or self._is_closed:
                return None
            viewer, self.subject = self._start(found, behind)
        except BaseException as error:
            if isinstance(error, Refusal) and self._can_wait_for(error):
                return error
            self._fail(error)
            return None
        self.viewer = viewer
        self.viewer.notify = self._tell
        with self._lock:
            self._has_begun = True
            is_closed = self._is_closed
        self._leave_queue()
        if is_closed:  # in another thread, meanwhile
            self.viewer.close()
        return None

    def _is_paid(self, patience: Patience, behind: Collection[str]) -> bool:
        """Pay for the run, and have a name looked up; False: it was closed meanwhile."""
        tokens, look_up = patience.admit(behind)
        with self._lock:
            self._tokens, is_closed = tokens, self._is_closed
        if is_closed:
            tokens.end(refund=True)
            return False
        self.quotas = tokens.quotas
        self._look_up = look_up
        if look_up:
            look_up.listen(self._tell)
        return True

    def _begin_again(self, refusal: Refusal) -> None:
        with self._lock:
            self._has_begun = False
        self.viewer.close()
        self._wait(refusal)
        if self._is_closed:  # in another thread, meanwhile
            self._leave_queue()

    def _fail(self, error: BaseException) -> None:
        """End before it has begun; ``begin`` raises the error from now on."""
        self._count_waiting()
        self._end(outcome_of(error), self._is_free(error))
        error.__cause__ = error.__context__ = None  # the Run keeps the error as well; frames lead to both
        self._problem = error.with_traceback(None)
        self._leave_queue()

    def _tell(self) -> None:
        self.notify()

    def _end(self, outcome: Outcome, refund: bool = False) -> None:
        if self._place.end(refund):
            if self._tokens:
                self._tokens.end(refund)
            self._journal.close(self.record, outcome)

    def _ending(self) -> Outcome:
        problem = self.viewer.run.problem
        if problem is not None:
            return outcome_of(problem)
        if self._outcome is None:
            return Outcome("left", 0)
        status, envelope = self._outcome
        word = WORDS.get(self._reason) or ("unreachable" if status == 502 else envelope["status"])
        return Outcome(word, status, envelope.get("message", ""))


class Glass:
    """Answer questions for one configuration; knows no HTTP."""

    def __init__(self, configuration: Configuration, before: Glass | None = None) -> None:
        """Go on after a glass ``before`` this one: what runs, and what is counted, is common to both."""
        self.routers = configuration.routers
        self.limits = configuration.limits
        lines = Lines(configuration.log, configuration.log_clients)
        self.journal: Journal = Journal(lines, before=before.journal if before else None)
        self.runs: Runs = before.runs if before else Runs(0)
        self.runs.output_limit = self.limits.output_kib * 1024
        self._store: Store = before._store if before else open_store(configuration.store)
        self.results: Results | None = (
            before.results if before else open_results(configuration.store, configuration.results)
        )
        if self.results:
            self.results.output_limit = self.runs.output_limit
        self._guard: Guard = Guard(self.limits, self._store, queue=before.queue if before else None)
        self.queue: Queue = self._guard.queue
        self._resolver: Resolver = before._resolver if before else Resolver(self.runs.loop, 1, 1.0)
        self._resolver.adjust(self.limits.lookups, self.limits.network_share)
        # What stops one of several answers that a visitor watches, by its secret name.
        self.stops: dict[str, Callable[[], None]] = before.stops if before else {}
        self._aimer = Aimer(configuration.families, configuration.deny, self._resolver)
        self.planner = Planner(self.routers, self._aimer, self.limits.output_kib)

    def ask(self, question: Question, visitor: Visitor) -> Answer:
        """Run a question for a visitor, or share a Run of it, as soon as a name in it has been looked up.

        Raises a Problem, after writing its record.
        """
        record = self.journal.begin(visitor, question.path)
        try:
            answer = self._admit(self.check(question, record), visitor, record)
        except BaseException as error:
            self.journal.close(record, outcome_of(error))
            if isinstance(error, Problem):
                quotas = error.quotas if isinstance(error, Refusal) else ()
                error.headers = {**error.headers, **self.headers(quotas)}
            raise
        answer.begin()
        return answer

    def refuse(self, question: Question, visitor: Visitor, problem: Problem) -> Problem:
        """Write the record of a question that somebody else refuses, and return the Problem."""
        self.journal.close(self.journal.begin(visitor, question.path), outcome_of(problem))
        return problem

    def headers(self, quotas: Sequence[Quota]) -> dict[str, str]:
        """Return the headers of an answer that tell what limits leave to the visitor."""
        return self._guard.headers(quotas)

    def check_health(self) -> None:
        """Raise the Problem that keeps every command from being run."""
        self.runs.check_health()

    def close(self) -> None:
        """End what runs and start nothing more; waits for at most two seconds."""
        self.runs.close()
        self._guard.close()
        if self.results:
            self.results.close()

    def check(self, question: Question, record: Record | None = None) -> Checked:
        """Check a question as far as one can without running, and note in the record what it asks.

        Raises Problem.
        """
        return self.planner.check(question, record or Record(Visitor("", ""), question.path))

    def enter(self, visitor: Visitor) -> Lease:
        """Admit a question whose runs may wait; raises Refusal."""
        return self._guard.entry(visitor.key)

    def join(self, visitor: Visitor) -> Stand:
        """Have a question stand in the queue; raises Refusal."""
        return self.queue.join(visitor.key, visitor.network)

    def look_up(self, target: targets.Target | None, visitor: Visitor) -> LookUp | None:
        """Have a target's name looked up; None: it is none. Raises Problem, when nothing is looked up."""
        self.runs.start_loop()
        return self._aimer.look_up(target, visitor)

    def patiently(
        self, checked: Checked, visitor: Visitor, record: Record, place: Lease, common: Common | None = None
    ) -> Answer:
        """Return an answer that waits where others are refused."""
        pay = functools.partial(self._guard.tokens, visitor.key, checked.command.weight)
        find = common.look_up if common else lambda target: self.look_up(target, visitor)
        patience = Patience(
            lambda: self.queue.awaited,
            lambda behind: _once_paid(lambda: pay(behind), lambda: find(checked.target)),
            (lambda: common.stand) if common else (lambda: self.join(visitor)),
            (lambda stand: None) if common else Stand.leave,
        )
        return self._answer(patience, checked, visitor, place, record)

    def _admit(self, checked: Checked, visitor: Visitor, record: Record) -> Answer:
        if checked.parameters.view:
            return self.patiently(checked, visitor, record, self.enter(visitor))
        place, look_up = _once_paid(
            lambda: self._guard.place(visitor.key, checked.command.weight),
            lambda: self.look_up(checked.target, visitor),
        )
        return self._answer(look_up, checked, visitor, place, record)

    def _answer(
        self,
        before: LookUp | Patience | None,
        checked: Checked,
        visitor: Visitor,
        place: Lease,
        record: Record,
    ) -> Answer:
        start = functools.partial(self._start, checked, visitor)
        answer = Answer(before, start, place, record, self.journal)
        answer.router, answer.is_watched = checked.router, checked.parameters.view
        answer.keep = functools.partial(self.results.keep, visitor) if self.results else None
        return answer

    def _start(
        self,
        checked: Checked,
        visitor: Visitor,
        found: tuple[targets.Address, ...],
        behind: Collection[str] | None,
    ) -> tuple[Viewer, Subject]:
        router, command = checked.router, checked.command
        plan = self.planner.plan(checked, found)
        viewer = self._view(
            plan.invocation,
            lambda: self._guard.slot(plan.network, visitor.key, router.name, behind),
            command,
            checked.parameters,
            Reuse(command.reuse, router.succeeded) if command.reuse else None,
        )
        return viewer, plan.subject

    def _view(
        self,
        invocation: Invocation,
        take_slot: Callable[[], Lease],
        command: Command,
        parameters: Parameters,
        reuse: Reuse | None,
    ) -> Viewer:
        limits = self.limits
        ceiling = command.runtime or limits.max_runtime
        seconds = parameters.runtime
        if seconds is None:
            seconds = limits.runtime
        return self.runs.view(invocation, take_slot, min(seconds or ceiling, ceiling), ceiling, reuse)


def _once_paid(pay: Callable[[], Lease], look_up: Callable[[], LookUp | None]) -> tuple[Lease, LookUp | None]:
    """Return what was paid and what is looked up then; nothing is paid when nothing is looked up."""
    paid = pay()
    try:
        return paid, look_up()
    except BaseException:
        paid.end(refund=True)
        raise


def outcome_of(error: BaseException) -> Outcome:
    """Return what the journal tells of an error that has ended a question."""
    if not isinstance(error, Problem):
        return Outcome("failed", 500, type(error).__name__)
    limit = error.limit if isinstance(error, Refusal) else ""
    word = REFUSALS.get(error.status, "failed")
    return Outcome(word, error.status, str(error), limit or error.failure_source)
