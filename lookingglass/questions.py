"""What a visitor asks: as it came, checked as far as one can without running, and planned."""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from typing import NamedTuple

import rfc8522
from commands import Command, Invocation, Router
from lookingglass import targets
from lookingglass.aiming import Aimer
from lookingglass.facts import PARSERS
from lookingglass.journal import Record
from lookingglass.problems import HTTPProblem
from rfc8522 import Parameters, ProtocolError, Subject, Vocabulary

KEPT_PLANS = 256  # questions that need not be checked and planned again; each takes about 4 KiB


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

    def __hash__(self) -> int:  # of this object, for a Router has none
        return object.__hash__(self)

    def note(self, record: Record) -> None:
        """Note in the record what is asked."""
        record.router, record.command = self.router.name, self.command.name
        record.target, record.asked = self.target.text if self.target else "", ""


class Plan(NamedTuple):
    """Say what is executed for a question, and what its answer is about."""

    invocation: Invocation
    network: targets.Network | None  # where packets would go
    subject: Subject


class Planner:
    """Check and plan questions to some routers; equal ones come to the same, which is worked out once."""

    def __init__(self, routers: Sequence[Router], aimer: Aimer, output_kib: int) -> None:
        self.vocabulary = Vocabulary.of(routers)
        self._routers = routers
        self._aimer = aimer
        self._output_kib = output_kib
        self._lock = threading.Lock()
        self._known: dict[Question, Checked] = {}
        self._planned = functools.lru_cache(KEPT_PLANS)(self._plan)

    def check(self, question: Question, record: Record) -> Checked:
        """Check a question, and note in the record what it asks; raises Problem."""
        checked = self._known.get(question)
        if checked is None:
            checked = self._check(question, record)
            with self._lock:
                self._known[question] = checked
                if len(self._known) > KEPT_PLANS:
                    del self._known[next(iter(self._known))]
        checked.note(record)
        return checked

    def plan(self, checked: Checked, found: tuple[targets.Address, ...] = ()) -> Plan:
        """Aim, at one of the addresses that were ``found`` where the target is a name; raises Problem."""
        return self._plan(checked, found) if found else self._planned(checked)

    def _check(self, question: Question, record: Record) -> Checked:
        parameters = Parameters.read(question.parameters)
        router = rfc8522.choose(self._routers, parameters)
        record.router = router.name
        command, text = self.vocabulary.split(question.path, router)
        record.command = command.name
        if question.wants_picture and not (command.parser and PARSERS[command.parser].has_picture):
            raise HTTPProblem(406, "There is no picture of this; JSON, text and events are offered.")
        target = _read_target(command, text)
        record.target, record.asked = target.text if target else "", ""
        families = self._aimer.families(command, target, parameters.protocol)
        vrf = rfc8522.choose_vrf(router, command, parameters)
        return Checked(router, command, target, families, vrf, parameters)

    def _plan(self, checked: Checked, found: tuple[targets.Address, ...] = ()) -> Plan:
        router, command, target, families, vrf, parameters = checked
        aim = self._aimer.aim(command, target, families, found)
        media, template = rfc8522.choose_format(command, parameters, aim.family, aim.kind)
        invocation = router.invocation(template, aim.family, aim.text, vrf, command.parser)
        named = target.text if target else None
        subject = Subject(router, command, named, aim.address, vrf, media, self._output_kib)
        return Plan(invocation, aim.network, subject)


def _read_target(command: Command, text: str) -> targets.Target | None:
    if command.argument != "none":
        return targets.parse(text, command.argument)
    if text:
        raise ProtocolError("This command takes no target.")
    return None
