"""The root of every error that a visitor is told, which the protocol defines, and the kinds of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from rfc8522 import Problem

SOON = 5  # seconds after which there may be room again; a guess, for runs are short
ROUNDING = 1e-6  # seconds, so that a visitor who waits as long as the message says is admitted
NO_PATH = "There is nothing at this path."

__all__ = [
    "Busy",
    "HTTPProblem",
    "NotFound",
    "Problem",
    "Quota",
    "Refusal",
    "RouterFailure",
    "TargetError",
    "Unwanted",
    "counted",
]


class TargetError(Problem):
    """A target is not what the command takes; the message says what is expected."""

    status = 400
    failure_source = "visitor"


class NotFound(Problem):
    """There is nothing at this path, or no such command, router or file."""

    status = 404
    failure_source = "visitor"


class Quota(NamedTuple):
    """Say how much of a limit is left to a client (draft-ietf-httpapi-ratelimit-headers)."""

    policy: str  # the limit's name
    quota: int  # what may be spent in a window
    window: int  # seconds
    left: int  # what may be spent now
    reset: int  # seconds until nothing of it is spent any more


class Refusal(Problem):
    """A limit of the visitor (429) or of this looking glass (503) is reached; asking later may succeed."""

    retry_after: int

    # For the queue: the key of what is lacking, "" when nobody else has to wait for it; None: do not wait.
    awaited: str | None = None
    refill: float = math.inf  # seconds in which it comes back; infinity: somebody has to give it back
    interval: float = math.inf  # seconds from the turn of one who waits for it to that of the next

    def __init__(
        self, status: int, seconds: float, message: str, limit: str = "", quotas: tuple[Quota, ...] = ()
    ) -> None:
        self.status = status
        self.limit = limit  # the name of the one that is reached, as the configuration has it
        self.quotas = quotas
        self.failure_source = "visitor" if status == 429 else "glass"
        self.why = message
        self.retry_after = max(1, math.ceil(seconds - ROUNDING))
        super().__init__(f"{message} Try again in {self.retry_after} s.")


class Busy(Problem):
    """This machine has no room for more now."""

    status = 503
    retry_after = SOON


class Unwanted(Problem):
    """The visitor does not want what was asked any more."""

    status = 503
    failure_source = "visitor"


class RouterFailure(Problem):
    """A router could not be reached, or has no program for the command."""

    status = 502
    failure_source = "router"


class HTTPProblem(Problem):
    """A request is not what HTTP allows here; ``headers`` go with the answer."""

    failure_source = "visitor"

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})


def counted(number: int, word: str, words: str = "") -> str:
    """Return a number and the word for so many."""
    return f"{number} {word if number == 1 else words or f'{word}s'}"
