"""Ask a question without HTTP: check, admit, aim, run, answer."""

from __future__ import annotations

from typing import Any, NamedTuple

import rfc8522
from commands import JSON, Command, Router
from lookingglass import targets
from lookingglass.aiming import Aim, Aimer
from lookingglass.configuration import Configuration
from lookingglass.facts.common import find_json
from lookingglass.guard import Guard, Lease
from lookingglass.journal import Journal, Outcome, Record
from lookingglass.problems import Problem, Refusal
from lookingglass.runs import Runs, Task, Viewer
from lookingglass.visitors import Visitor
from rfc8522 import Parameters, ProtocolError, Subject, Vocabulary

# The journal's words: for why a Run has ended when not by itself, and for a Problem by its HTTP status.
WORDS = {"time": "timeout", "full": "cut", "left": "left", "closing": "stopped"}
REFUSALS = {**dict.fromkeys((400, 404, 429, 503), "refused"), 502: "unreachable", 504: "timeout"}


class Question(NamedTuple):
    """Hold what a visitor asks, as it came: nothing of it is checked."""

    path: str  # below …/v1/: the words of a command and its target, see ``rfc8522.path_of``
    parameters: tuple[tuple[str, str], ...] = ()  # RFC 8522 section 2.2


class Checked(NamedTuple):
    """Hold a question that could be run, as far as one can tell without running."""

    router: Router
    command: Command
    target: targets.Target | None
    vrf: str  # as configured; "" for none
    parameters: Parameters


class Answer:
    """Follow a Run for one visitor, and give everything back at the end.

    ``close`` has to be called, whatever happens; it leaves the Run and writes the record.
    """

    def __init__(
        self, viewer: Viewer, subject: Subject, place: Lease, record: Record, journal: Journal
    ) -> None:
        self.viewer = viewer
        self.has_left = False  # the visitor
        self.record = record
        self._subject = subject
        self._place = place
        self._journal = journal
        self._outcome: tuple[int, rfc8522.Envelope] | None = None

    def read(self) -> str | None:
        """Return new text, "" when there is none now, None at the end or when the visitor has left.

        Raises the Problem that has kept the Run from starting.
        """
        return None if self.has_left else self.viewer.read()

    def wait(self, seconds: float) -> None:
        """Wait until ``read`` has something to return, at most ``seconds``."""
        self.viewer.wait(seconds)

    def leave(self) -> None:
        """Let ``read`` end: the visitor has gone."""
        self.has_left = True
        self.viewer.notify()

    def facts(self) -> dict[str, Any]:
        """Return what is known from the output so far; the same object as before when nothing is new."""
        return self.viewer.run.facts()

    def outcome(self) -> tuple[int, rfc8522.Envelope]:
        """Return the HTTP status and the envelope, after ``read`` gave None."""
        if self._outcome is None:
            text, end = self.viewer.result()
            facts = self.viewer.run.facts(is_last=True)
            document = find_json(text) if self._subject.media == JSON else None
            self._outcome = rfc8522.outcome(self._subject, text, end, facts, document)
        return self._outcome

    def close(self) -> None:
        """Leave the Run, give the place back and write the record; more than once does no harm."""
        self.viewer.close()
        if self._place.end():
            self.record.shared = self.viewer.run.shared
            self._journal.close(self.record, self._ending())

    def _ending(self) -> Outcome:
        problem = self.viewer.run.problem
        if problem is not None:
            return _refused(problem)
        if self._outcome is None:
            return Outcome("left", 0)
        status, envelope = self._outcome
        reason = self.viewer.result()[1].reason
        word = WORDS.get(reason) or ("unreachable" if status == 502 else envelope["status"])
        return Outcome(word, status)


class Glass:
    """Answer questions for one configuration; knows no HTTP."""

    def __init__(self, configuration: Configuration) -> None:
        self.routers = configuration.routers
        self.journal = Journal(configuration.log, configuration.log_clients)
        self.runs = Runs(configuration.limits.output_kib * 1024)
        self._limits = configuration.limits
        self._vocabulary = Vocabulary.of(self.routers)
        self._guard = Guard(configuration.limits)
        families = [family for family in (4, 6) if configuration.capabilities[f"ipv{family}"]]
        self._aimer = Aimer(families, configuration.deny)

    def check(self, question: Question) -> None:
        """Raise the Problem of a question that cannot be run, as far as one can tell without running."""
        self._check(question, Record(Visitor("", ""), question.path))

    def ask(self, question: Question, visitor: Visitor) -> Answer:
        """Run a question for a visitor, or share a Run of it; raises a Problem and writes its record."""
        record = Record(visitor, question.path)
        try:
            return self._run(self._check(question, record), visitor, record)
        except Problem as problem:
            self.journal.close(record, _refused(problem))
            raise
        except Exception as error:
            self.journal.close(record, Outcome("failed", 500, type(error).__name__))
            raise

    def refuse(self, question: Question, visitor: Visitor, problem: Problem) -> Problem:
        """Write the record of a question that somebody else refuses, and return the Problem."""
        self.journal.close(Record(visitor, question.path), _refused(problem))
        return problem

    def check_health(self) -> None:
        """Raise the Problem that keeps every command from being run."""
        self.runs.check_health()

    def close(self) -> None:
        """End what runs and start nothing more; waits for at most two seconds."""
        self.runs.close()

    def _check(self, question: Question, record: Record) -> Checked:
        parameters = Parameters.read(question.parameters)
        router = rfc8522.choose(self.routers, parameters)
        record.router = router.name
        command, text = self._vocabulary.split(question.path, router)
        record.command = command.name
        target = _read_target(command, text)
        record.target = target.text if target else ""
        record.asked = ""
        self._aimer.families(command, target, parameters.protocol)
        return Checked(router, command, target, _read_vrf(router, command, parameters), parameters)

    def _run(self, checked: Checked, visitor: Visitor, record: Record) -> Answer:
        router, command, target, vrf, parameters = checked
        place = self._guard.place(visitor.key)
        aim = None
        try:
            aim = self._aimer.aim(command, target, parameters.protocol)
            media, template = rfc8522.choose_format(command, parameters, aim.family, aim.kind)
            invocation = router.invocation(template, aim.family, aim.text, vrf)
            viewer = self._view(Task(invocation, command.parser), aim, command, parameters)
        except BaseException as error:
            # a look-up has cost something, so its token is not given back
            place.end(refund=isinstance(error, Refusal) and aim is not None and aim.address is None)
            raise
        named = target.text if target else None
        subject = Subject(router, command, named, aim.address, vrf, media, self._limits.output_kib)
        return Answer(viewer, subject, place, record, self.journal)

    def _view(self, task: Task, aim: Aim, command: Command, parameters: Parameters) -> Viewer:
        limits = self._limits
        ceiling = command.runtime or limits.max_runtime
        seconds = parameters.runtime
        if seconds is None:
            seconds = limits.runtime
        return self.runs.view(
            task, lambda: self._guard.slot(aim.network), min(seconds or ceiling, ceiling), ceiling
        )


def _refused(problem: Problem) -> Outcome:
    return Outcome(REFUSALS.get(problem.status, "failed"), problem.status, str(problem))


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
