"""What a check has found: a cause, and the cure."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from typing import Any, NamedTuple

from commands import Router, Template
from lookingglass.configuration import Configuration

ERROR = "error"  # nothing works, or nobody may run anything
WARNING = "warning"  # something that is offered does not work, or not as one thinks
NOTE = "note"  # good to know


class Finding(NamedTuple):
    """Say what is wrong, where, and what mends it: a command, or what to write in which file."""

    path: str  # of a key of the configuration, or a file
    cause: str
    cure: str = ""
    severity: str = WARNING

    def as_json(self, check: str) -> dict[str, Any]:
        """Return it for programs, with the name of the check."""
        return {"check": check, **self._asdict()}


class Situation(NamedTuple):
    """Hold what is checked."""

    configuration: Configuration
    file: str  # "" where there is none

    @property
    def here(self) -> list[Router]:
        """Return the routers whose commands run on this machine."""
        return [router for router in self.configuration.routers if not router.via]

    def key(self, key: str, value: str) -> str:
        """Return what to write in the configuration's file."""
        return f'in {self.file or "config.json"} write "{key}": {value}'


def argvs(router: Router) -> Iterator[tuple[str, Template]]:
    """Yield each template of a router with the name of its command."""
    for command in router.commands.values():
        for templates in command.templates.values():
            for template in templates.values():
                yield command.name, template


def user() -> str:
    """Return the name of the user that this process runs as."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
