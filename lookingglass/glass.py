"""Ask a question without HTTP: check, admit, aim, run, answer."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import rfc8522
from commands import JSON, Command, Invocation, Router
from lookingglass import targets
from lookingglass.aiming import Aimer
from lookingglass.configuration import Configuration
from lookingglass.facts import PARSERS
from lookingglass.facts.common import find_json
from lookingglass.finished import Reuse
from lookingglass.guard import Guard, Lease
from lookingglass.journal import Journal, Lines, Outcome, Record
from lookingglass.names import LookUp, Resolver, Unresolved
from lookingglass.output import Drawn
from lookingglass.pictures import About
from lookingglass.problems import HTTPProblem, Problem, Quota, Refusal
from lookingglass.registry import Runs
from lookingglass.runs import Viewer
from lookingglass.store import Store
from lookingglass.stores import open_store
from lookingglass.visitors import Visitor
from rfc8522 import Parameters, ProtocolError, Subject, Vocabulary

# The journal's words: for why a Run has ended when not by itself, and for a Problem by its HTTP status.
WORDS = {"time": "timeout", "full": "cut", "left": "left", "closing": "stopped"}
REFUSALS = {**dict.fromkeys((400, 404, 406, 429, 503), "refused"), 502: "unreachable", 504: "timeout"}


class Question(NamedTuple):
    """Hold what a visitor asks, as it came: nothing of it is checked."""

    path: str  # below …/v1/: the words of a command and its target, see ``rfc8522.path_of``
    parameters: tuple[tuple[str, str], ...] = ()  # RFC 8522 section 2.2
    wants_picture: bool = False  # instead of the answer


class Checked(NamedTuple):
    """Hold a question that could be run, as far as one can tell without running."""

    router: Router
    command: Command
    target: targets.Target | None
    families: Sequence[int]  # IP versions, the preferred one first
    vrf: str  # as configured; "" for none
    parameters: Parameters


class Answer:
    """Follow a Run for one visitor, and give everything back at the end.

    It begins when the target's name has been looked up, if there is one; nobody waits for that. ``close``
    has to be called, whatever happens; it leaves the Run and writes the record.
    """

    viewer: Viewer  # when ``begin`` has returned True
    subject: Subject

    def __init__(
        self,
        look_up: LookUp | None,
        start: Callable[[Sequence[targets.Address]], tuple[Viewer, Subject]],
        place: Lease,
        record: Record,
        journal: Journal,
    ) -> None:
        self.has_left = False  # the visitor
        self.is_watched = False  # the visitor wants to see what the page shows
        self.record = record
        self.quotas = place.quotas  # what limits leave to the visitor
        self._look_up = look_up
        self._start = start
        self._place = place
        self._journal = journal
        self._outcome: tuple[int, rfc8522.Envelope] | None = None
        self._lock = threading.Lock()
        self._has_begun = self._is_closed = False
        self._bell = threading.Event()
        self.notify: Callable[[], None] = self._bell.set  # called in any thread when there may be news
        if look_up:
            look_up.listen(self._tell)

    def begin(self) -> bool:
        """Join or start the Run if the name has been looked up; tell whether the answer has begun.

        Raises the Problem that keeps it from beginning, after which the answer is closed.
        """
        if self._has_begun:
            return True
        if self.has_left or self._is_closed:
            return False
        try:
            found = self._look_up.addresses() if self._look_up else ()
            if found is None:
                return False
            self.viewer, self.subject = self._start(found)
        except BaseException as error:
            self._end(_outcome_of(error), self._is_free(error))
            if isinstance(error, Problem):
                error.__context__ = None  # the Run keeps the error, whose frames lead back to the Run
                raise error.with_traceback(None) from None
            raise
        self.viewer.notify = self._tell
        with self._lock:
            self._has_begun = True
            is_closed = self._is_closed
        if is_closed:  # in another thread, meanwhile
            self.viewer.close()
        return True

    def read(self) -> str | None:
        """Return new text, "" when there is none now, None at the end or when the visitor has left.

        Raises the Problem that has kept the Run from starting.
        """
        if self.has_left:
            return None
        return self.viewer.read() if self.begin() else ""

    def wait(self, seconds: float) -> None:
        """Wait until ``read`` has something to return, at most ``seconds``."""
        self._bell.wait(seconds)
        self._bell.clear()

    @property
    def age(self) -> int | None:
        """Return the whole seconds since the end of a run that is told again; None: it is told as it runs."""
        return int(self.viewer.age) if self._has_begun and self.viewer.age is not None else None

    def leave(self) -> None:
        """Let ``read`` end: the visitor has gone."""
        self.has_left = True
        self.notify()

    def facts(self) -> dict[str, Any]:
        """Return what is known from the output so far; the same object as before when nothing is new."""
        return self.viewer.run.facts()

    @property
    def about(self) -> About:
        """Return what is known beside the facts, for a picture of them."""
        return self.viewer.run.about

    def drawn(self, is_over: bool = False) -> Drawn:
        """Return figures and picture of the facts so far; the same object as before when nothing is new."""
        return self.viewer.run.drawn(is_over)

    def outcome(self) -> tuple[int, rfc8522.Envelope]:
        """Return the HTTP status and the envelope, after ``read`` gave None."""
        if self._outcome is None:
            text, end = self.viewer.result()
            facts = self.viewer.run.facts(is_last=True)
            document = find_json(text) if self.subject.media == JSON else None
            self._outcome = rfc8522.outcome(self.subject, text, end, facts, document)
        return self._outcome

    def close(self) -> None:
        """Leave the Run, give the place back and write the record; more than once does no harm."""
        with self._lock:
            self._is_closed = True
            has_begun = self._has_begun
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

    def _tell(self) -> None:
        self.notify()

    def _end(self, outcome: Outcome, refund: bool = False) -> None:
        if self._place.end(refund):
            self._journal.close(self.record, outcome)

    def _ending(self) -> Outcome:
        problem = self.viewer.run.problem
        if problem is not None:
            return _outcome_of(problem)
        if self._outcome is None:
            return Outcome("left", 0)
        status, envelope = self._outcome
        reason = self.viewer.result()[1].reason
        word = WORDS.get(reason) or ("unreachable" if status == 502 else envelope["status"])
        return Outcome(word, status, envelope.get("message", ""))


class Glass:
    """Answer questions for one configuration; knows no HTTP."""

    def __init__(self, configuration: Configuration, before: Glass | None = None) -> None:
        """Go on after a glass ``before`` this one: what runs, and what is counted, is common to both."""
        self.routers = configuration.routers
        self._limits = configuration.limits
        self._vocabulary = Vocabulary.of(self.routers)
        lines = Lines(configuration.log, configuration.log_clients)
        self.journal: Journal = Journal(lines, before=before.journal if before else None)
        self.runs: Runs = before.runs if before else Runs(0)
        self.runs.output_limit = self._limits.output_kib * 1024
        self._store: Store = before._store if before else open_store(configuration.store)
        self._guard = Guard(self._limits, self._store)
        self._resolver: Resolver = before._resolver if before else Resolver(self.runs.loop, 1, 1.0)
        self._resolver.adjust(self._limits.lookups, self._limits.network_share)
        families = [family for family in (4, 6) if configuration.capabilities[f"ipv{family}"]]
        self._aimer = Aimer(families, configuration.deny, self._resolver)

    def check(self, question: Question) -> None:
        """Raise the Problem of a question that cannot be run, as far as one can tell without running."""
        self._check(question, Record(Visitor("", ""), question.path))

    def ask(self, question: Question, visitor: Visitor) -> Answer:
        """Run a question for a visitor, or share a Run of it, as soon as a name in it has been looked up.

        Raises a Problem, after writing its record.
        """
        record = self.journal.begin(visitor, question.path)
        try:
            answer = self._admit(self._check(question, record), visitor, record)
        except BaseException as error:
            self.journal.close(record, _outcome_of(error))
            if isinstance(error, Problem):
                quotas = error.quotas if isinstance(error, Refusal) else ()
                error.headers = {**error.headers, **self.headers(quotas)}
            raise
        answer.begin()
        return answer

    def refuse(self, question: Question, visitor: Visitor, problem: Problem) -> Problem:
        """Write the record of a question that somebody else refuses, and return the Problem."""
        self.journal.close(self.journal.begin(visitor, question.path), _outcome_of(problem))
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

    def _check(self, question: Question, record: Record) -> Checked:
        parameters = Parameters.read(question.parameters)
        router = rfc8522.choose(self.routers, parameters)
        record.router = router.name
        command, text = self._vocabulary.split(question.path, router)
        record.command = command.name
        if question.wants_picture and not (command.parser and PARSERS[command.parser].has_picture):
            raise HTTPProblem(
                406, f"There is no picture of {command.name}; JSON, text and events are offered."
            )
        target = _read_target(command, text)
        record.target = target.text if target else ""
        record.asked = ""
        families = self._aimer.families(command, target, parameters.protocol)
        return Checked(router, command, target, families, _read_vrf(router, command, parameters), parameters)

    def _admit(self, checked: Checked, visitor: Visitor, record: Record) -> Answer:
        place = self._guard.place(visitor.key, checked.command.weight)
        try:
            self.runs.start_loop()
            look_up = self._aimer.look_up(checked.target, visitor)
        except BaseException:
            place.end(refund=True)  # nothing was looked up
            raise
        start = functools.partial(self._start, checked, visitor)
        answer = Answer(look_up, start, place, record, self.journal)
        answer.is_watched = checked.parameters.view
        return answer

    def _start(
        self, checked: Checked, visitor: Visitor, found: Sequence[targets.Address]
    ) -> tuple[Viewer, Subject]:
        router, command, target, families, vrf, parameters = checked
        aim = self._aimer.aim(command, target, families, found)
        media, template = rfc8522.choose_format(command, parameters, aim.family, aim.kind)
        invocation = router.invocation(template, aim.family, aim.text, vrf, command.parser)
        viewer = self._view(
            invocation,
            lambda: self._guard.slot(aim.network, visitor.key, router.name),
            command,
            parameters,
            Reuse(command.reuse, router.succeeded) if command.reuse else None,
        )
        named = target.text if target else None
        subject = Subject(router, command, named, aim.address, vrf, media, self._limits.output_kib)
        return viewer, subject

    def _view(
        self,
        invocation: Invocation,
        take_slot: Callable[[], Lease],
        command: Command,
        parameters: Parameters,
        reuse: Reuse | None,
    ) -> Viewer:
        limits = self._limits
        ceiling = command.runtime or limits.max_runtime
        seconds = parameters.runtime
        if seconds is None:
            seconds = limits.runtime
        return self.runs.view(invocation, take_slot, min(seconds or ceiling, ceiling), ceiling, reuse)


def _outcome_of(error: BaseException) -> Outcome:
    if not isinstance(error, Problem):
        return Outcome("failed", 500, type(error).__name__)
    limit = error.limit if isinstance(error, Refusal) else ""
    word = REFUSALS.get(error.status, "failed")
    return Outcome(word, error.status, str(error), limit or error.failure_source)


def _read_target(command: Command, text: str) -> targets.Target | None:
    if command.argument != "none":
        return targets.parse(text, command.argument)
    if text:
        raise ProtocolError("This command takes no target.")
    return None


def _read_vrf(router: Router, command: Command, parameters: Parameters) -> str:
    """Return the name as configured; a table that was not asked for would not be an answer."""
    if parameters.vrf is None:
        if command.wants("VRF"):
            raise ProtocolError("This command needs the parameter vrf.")
        return ""
    if not command.wants("VRF"):
        raise ProtocolError("This command has no vrf.")
    for vrf in router.vrfs:
        if vrf.lower() == parameters.vrf.lower():
            return vrf
    raise ProtocolError("There is no such vrf on this router.")
