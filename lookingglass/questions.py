"""What a visitor asks: as it came, and checked as far as one can without running."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import rfc8522
from commands import Command, Router
from lookingglass import targets
from lookingglass.aiming import Aimer
from lookingglass.facts import PARSERS
from lookingglass.journal import Record
from lookingglass.problems import HTTPProblem
from rfc8522 import Parameters, ProtocolError, Vocabulary


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


def check(
    question: Question, record: Record, routers: Sequence[Router], vocabulary: Vocabulary, aimer: Aimer
) -> Checked:
    """Check a question to one of some routers, and note in the record what it asks; raises Problem."""
    parameters = Parameters.read(question.parameters)
    router = rfc8522.choose(routers, parameters)
    record.router = router.name
    command, text = vocabulary.split(question.path, router)
    record.command = command.name
    if question.wants_picture and not (command.parser and PARSERS[command.parser].has_picture):
        raise HTTPProblem(406, "There is no picture of this; JSON, text and events are offered.")
    target = _read_target(command, text)
    record.target = target.text if target else ""
    record.asked = ""
    families = aimer.families(command, target, parameters.protocol)
    vrf = rfc8522.choose_vrf(router, command, parameters)
    return Checked(router, command, target, families, vrf, parameters)


def _read_target(command: Command, text: str) -> targets.Target | None:
    if command.argument != "none":
        return targets.parse(text, command.argument)
    if text:
        raise ProtocolError("This command takes no target.")
    return None
