"""A guard whose clock the test moves, and what it admits and refuses."""

from __future__ import annotations

from collections.abc import Callable

from lookingglass.guard import Guard, Lease, Limits
from lookingglass.problems import Refusal
from lookingglass.store import Memory
from lookingglass.targets import Network


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class House:
    """A guard with a clock of its own, and ways to ask it."""

    def __init__(self, **limits: object) -> None:
        self.clock = Clock()
        self.memory = Memory(self.clock)
        self.limits = Limits()._replace(**limits)  # type: ignore[arg-type]
        self.guard = Guard(self.limits, self.memory, self.clock)

    def place(self, client: str = "192.0.2.1", weight: float = 1) -> Lease | Refusal:
        return attempt(lambda: self.guard.place(client, weight))

    def slot(
        self, client: str = "192.0.2.1", target: Network | None = None, router: str = "r1"
    ) -> Lease | Refusal:
        return attempt(lambda: self.guard.slot(target, client, router))

    def run(self, client: str, seconds: float, target: Network | None = None) -> Refusal | None:
        """Run something for some seconds, one viewer, one process; return what has refused it."""
        place = self.place(client)
        if isinstance(place, Refusal):
            return place
        slot = self.slot(client, target)
        if isinstance(slot, Lease):
            self.clock.now += seconds
            slot.end()
        place.end()
        return slot if isinstance(slot, Refusal) else None


def attempt(take: Callable[[], Lease]) -> Lease | Refusal:
    try:
        return take()
    except Refusal as refusal:
        return refusal


def admitted(given: object) -> Lease:
    """Check that something was admitted, and return its lease."""
    assert isinstance(given, Lease), str(given)
    return given


def refused(given: object, status: int, *words: str) -> Refusal:
    assert isinstance(given, Refusal)
    assert given.status == status
    assert f"Try again in {given.retry_after} s." in str(given)
    assert all(word in str(given) for word in words), str(given)
    return given
