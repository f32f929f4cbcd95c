"""Ask every command of every router something harmless, and say whether it answers."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from commands import TEXT, Command, Router
from lookingglass import machine, targets
from lookingglass.configuration import Configuration
from lookingglass.glass import Answer, Glass
from lookingglass.guard import Rate
from lookingglass.problems import Problem
from lookingglass.questions import Question
from lookingglass.stores import MEMORY
from lookingglass.visitors import Visitor
from rfc8522 import path_of

VISITOR = Visitor("127.0.0.1", "127.0.0.1")
# Targets that harm nobody, by argument; those of a family are the router's own addresses, else loopback.
HARMLESS = {"asn": "64496", "community": "64496:1", "none": ""}
# What a table says that does not have the target; then the command works.
NOT_THERE = re.compile(
    r"not (?:found|in table)|no such (?:network|route|process)|unreachable|No entr", re.IGNORECASE
)
PLENTY = Rate(1_000_000, 1.0)


class Tried(NamedTuple):
    """Say how a command has answered."""

    router: str
    command: str
    family: int
    passed: bool
    argv: tuple[str, ...]
    why: str

    def __str__(self) -> str:
        """Return a line for people."""
        verdict = "PASS" if self.passed else "FAIL"
        why = f"  {self.why}" if self.why else ""
        return f"{verdict} {self.router} {self.command} IPv{self.family}: {shlex.join(self.argv)}{why}"


def try_all(configuration: Configuration) -> Iterator[Tried]:
    """Yield how each command of each router answers in each family: one after the other, without limits."""
    limits = configuration.limits._replace(
        rate=PLENTY, burst=PLENTY.runs, target_rate=PLENTY, global_rate=PLENTY, slot_seconds=PLENTY
    )
    glass = Glass(configuration._replace(limits=limits, deny=targets.DenyTable(()), store=MEMORY))
    try:
        for router in configuration.routers:
            for command in router.commands.values():
                for family in command.families():
                    if family in configuration.families:
                        yield _try(glass, router, command, family)
    finally:
        glass.close()


def _try(glass: Glass, router: Router, command: Command, family: int) -> Tried:
    target = HARMLESS.get(command.argument, router.sources.get(family, machine.LOOPBACK[family]))
    parameters = [("router", router.name), ("protocol", "1" if family == 4 else "2")]
    if command.wants("VRF"):
        parameters.append(("vrf", router.vrfs[0]))
    argv: tuple[str, ...] = ()
    try:
        answer = glass.ask(Question(path_of(command.name, target), tuple(parameters)), VISITOR)
        try:
            passed, why = _read(answer, command)
            argv = answer.viewer.run.invocation.argv
        finally:
            answer.close()
    except Problem as problem:
        passed, why = False, str(problem)
        template = command.template_of(TEXT, family)
        argv = template.argv if template else ()
    return Tried(router.name, command.name, family, passed, argv, why)


def _read(answer: Answer, command: Command) -> tuple[bool, str]:
    """Read an answer to its end; tell whether the command works, else why it does not."""
    while answer.read() is not None:
        answer.wait(0.1)
    _, envelope = answer.outcome()
    if envelope["status"] == "success":
        return True, ""
    output = envelope.get("data", {}).get("output", [])
    text = "\n".join(map(str, output)) if isinstance(output, list) else str(output)
    if envelope["status"] == "fail" and not command.probes and NOT_THERE.search(text):
        return True, ""
    last = next((line for line in reversed(text.splitlines()) if line.strip()), "no output")
    return False, envelope.get("message") or last[:200]
