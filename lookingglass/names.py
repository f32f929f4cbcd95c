"""Names in, addresses out: shared, bounded, with a deadline."""

from __future__ import annotations

import _thread
import collections
import contextlib
import ipaddress
import math
import os
import socket
import threading
import time
from collections.abc import Callable

from lookingglass.loop import Loop
from lookingglass.problems import SOON, Busy, Refusal, TargetError, counted
from lookingglass.tallies import tally
from lookingglass.targets import Address, read_address, unmapped

PLACES = 160  # look-ups under way, abandoned ones included
FOR_ALL = 5  # one of so many places is for everybody; the others are for networks that hold none
DEADLINE = 3.0  # seconds that a look-up may take
SLOW = 1.0  # seconds after which a failure means that nobody has answered
REUSE = 2.0  # seconds in which an outcome answers others as well
HUNG = 30.0  # seconds in which a name that hung is not looked up again
ANSWERED = 60.0  # seconds for which an answer proves that the resolver works
KEPT_NAMES = 256  # names with an outcome; the same number of names that hung
MOST = 100  # addresses of a name; each is judged, and a hostile name has thousands
HOSTS = "/etc/hosts"
# resolv.conf(5), for each server; by default five seconds, and twice.
RES_OPTIONS = "timeout:1 attempts:2"

# POSIX getaddrinfo(): failures that say nothing about the name.
TEMPORARY = {socket.EAI_AGAIN, socket.EAI_FAIL}


class NoAddress(TargetError):
    """A name leads nowhere; why is not told, for it would tell which names the operator's network has."""

    def __init__(self) -> None:
        super().__init__(
            "This name has no address that can be used here: it does not exist, has none of the address"
            " family asked for, or leads to a network that is not allowed."
        )


class Unresolved(TargetError):
    """A name could not be looked up; it may exist.

    ``is_ours``: as far as we know no name can be, so that the visitor's has nothing to do with it.
    """

    failure_source = "resolver"

    def __init__(self, message: str, is_ours: bool = False) -> None:
        super().__init__(message)
        self.is_ours = is_ours


class ResolutionTimeout(Unresolved):
    """A name's servers, or our resolver, do not answer."""

    status = 504


class ResolutionFailure(Unresolved):
    """A name's servers, or our resolver, answer with an error."""

    status = 503
    retry_after = SOON


Resolution = tuple[Address, ...] | TargetError


class Places:
    """Count who looks names up; not for several threads.

    A network's first place may be any. Further ones are a share of what others leave of the places for
    everybody. So a network that holds none is kept out only by as many networks as there are other places.
    """

    def __init__(self, per_client: int, share: float, places: int = PLACES) -> None:
        """Give a client some places, and a network a share of those for everybody."""
        self.adjust(per_client, share)
        self._places = places
        self._clients: collections.Counter[str] = collections.Counter()
        self._networks: collections.Counter[str] = collections.Counter()

    def adjust(self, per_client: int, share: float) -> None:
        """Give more or less from now on; what is held counts."""
        self._per_client = per_client
        self._share = share

    @property
    def taken(self) -> int:
        """Return how many places are held."""
        return self._networks.total()

    def take(self, client: str, network: str) -> None:
        """Take one place; raises Refusal."""
        near = self._networks[network]
        further = self.taken - len(self._networks)  # beyond each network's first
        free = self._places // FOR_ALL - further
        if self.taken >= self._places or (near and free <= 0):
            raise Refusal(503, SOON, "All places for looking up names are taken.")
        if self._clients[client] >= self._per_client:
            raise Refusal(429, SOON, f"You have {counted(self._per_client, 'name')} being looked up already.")
        if near and near - 1 >= int(self._share * (free + near - 1)):
            raise Refusal(429, SOON, f"Your network has {counted(near, 'name')} being looked up already.")
        tally(self._clients, client, 1)
        tally(self._networks, network, 1)

    def give(self, client: str, network: str) -> None:
        """Give one place back."""
        tally(self._clients, client, -1)
        tally(self._networks, network, -1)


class LookUp:
    """Follow the look-up of one name, on behalf of everybody who has asked for it meanwhile."""

    def __init__(self, name: str, holder: tuple[str, str], is_ours: Callable[[], bool]) -> None:
        self.name = name
        self.holder = holder  # the client and the network that are charged with its place
        self.began = time.monotonic()
        self.deadline = self.began + DEADLINE
        self._is_ours = is_ours  # the fault, if nobody answers
        self.outcome: Resolution | None = None
        self._listeners: list[Callable[[], None]] = []

    @property
    def is_overdue(self) -> bool:
        """Tell whether nobody waits for it any more."""
        return time.monotonic() >= self.deadline

    def addresses(self) -> tuple[Address, ...] | None:
        """Return all addresses in the resolver's order, an IPv4-mapped one as IPv4; None: not known yet.

        Raises NoAddress, and Unresolved at the latest after the deadline.
        """
        if isinstance(self.outcome, TargetError):
            raise self.outcome.again()  # several raise the same one
        if self.outcome is None and self.is_overdue:
            raise ResolutionTimeout(f"The name was not resolved within {DEADLINE:g} s.", self._is_ours())
        return self.outcome

    def listen(self, notify: Callable[[], None]) -> None:
        """Have ``notify`` called, in any thread, when ``addresses`` has something else to say than None."""
        self._listeners.append(notify)
        self._forget_listeners()

    def tell(self) -> None:
        """Notify all who listen."""
        for notify in self._listeners[:]:
            notify()
        self._forget_listeners()

    def _forget_listeners(self) -> None:
        """Keep no answer alive when there is no more to tell."""
        if self.outcome is not None:
            self._listeners = []


class Recent:
    """Keep look-ups for some seconds, and the newest ones when there are too many."""

    def __init__(self, seconds: float, size: int) -> None:
        self._seconds = seconds
        self._size = size
        self._kept: dict[str, tuple[float, LookUp]] = {}  # until when; the first to go comes first

    def get(self, name: str) -> tuple[float, LookUp] | None:
        """Return the seconds for which the look-up of a name will be kept, and the look-up."""
        self._forget(self._size)
        until, look_up = self._kept.get(name, (0.0, None))
        return (until - time.monotonic(), look_up) if look_up else None

    def put(self, look_up: LookUp) -> None:
        """Keep a look-up."""
        self._kept.pop(look_up.name, None)
        self._forget(self._size - 1)
        self._kept[look_up.name] = (time.monotonic() + self._seconds, look_up)

    def _forget(self, size: int) -> None:
        now = time.monotonic()
        while self._kept:
            name, (until, _) = next(iter(self._kept.items()))
            if until > now and len(self._kept) <= size:
                return
            del self._kept[name]


class Resolver:
    """Look up names for clients who each have a share of the places; waits for nothing.

    getaddrinfo() has no deadline and cannot be stopped. So each look-up has a thread, which holds its place
    until the look-up has really ended, long after everybody has given it up.
    """

    def __init__(self, loop: Loop, per_client: int, share: float, places: int = PLACES) -> None:
        """Give a client some places, and a network a share of those for everybody."""
        self._loop = loop  # which calls at the deadlines
        self._places = Places(per_client, share, places)
        self.adjust = self._places.adjust
        self._lock = threading.Lock()
        self._under_way: dict[str, LookUp] = {}
        self._ended = Recent(REUSE, KEPT_NAMES)
        self._hung = Recent(HUNG, KEPT_NAMES)
        self._answered = -math.inf  # when the resolver has said something definite last

    def ask(self, name: str, client: str, network: str) -> LookUp:
        """Return the look-up of a name that was parsed: a new one, or one that others began.

        The hosts file comes first, then the name as an absolute one: search domains do not apply. Raises,
        and then nothing was looked up: ResolutionTimeout for a name that hung, Refusal when the client or
        its network has its share or all places are taken, Busy when this machine has no thread for it.
        """
        with self._lock:
            known = self._known(name)
            if known:
                return known
            self._places.take(client, network)
            look_up = LookUp(name, (client, network), self._is_silent)
            self._under_way[name] = look_up
        self._loop.call_at(look_up.deadline, look_up.tell)
        try:
            # not a Thread, whose start() waits for ever where the new thread finds no memory
            _thread.start_new_thread(self._look_up, (look_up,))
        except (RuntimeError, MemoryError) as error:
            busy = Busy("This machine cannot look up more names now.")
            self._end(look_up, ResolutionFailure(str(busy), is_ours=True))
            raise busy from error
        return look_up

    def _known(self, name: str) -> LookUp | None:
        under_way = self._under_way.get(name)
        if under_way and not under_way.is_overdue:
            return under_way
        seconds, _ = self._hung.get(name) or (HUNG if under_way else 0.0, None)
        if seconds:
            wait = math.ceil(seconds)
            hung = ResolutionTimeout(f"This name's servers did not answer just now. Try again in {wait} s.")
            hung.retry_after = wait
            raise hung
        _, ended = self._ended.get(name) or (0.0, None)
        return ended

    def _is_silent(self) -> bool:
        """Tell whether the resolver has not answered for any name lately, as far as we have asked."""
        return time.monotonic() - self._answered > ANSWERED

    def _look_up(self, look_up: LookUp) -> None:
        """Do the work: the whole life of a thread."""
        outcome: Resolution = ResolutionFailure("The name cannot be looked up now.", is_ours=True)
        try:
            outcome = _find(look_up.name)
        except socket.gaierror as error:
            if error.errno in TEMPORARY:
                is_slow = time.monotonic() - look_up.began >= SLOW
                kind = ResolutionTimeout if is_slow else ResolutionFailure
                outcome = kind("The name cannot be looked up now.", self._is_silent())
            elif error.errno != socket.EAI_MEMORY:
                outcome = NoAddress()
        except (OSError, MemoryError):
            pass  # it says nothing about the name
        finally:
            self._end(look_up, outcome)

    def _end(self, look_up: LookUp, outcome: Resolution) -> None:
        self._loop.cancel(look_up.tell)
        with self._lock:
            look_up.outcome = outcome
            del self._under_way[look_up.name]
            self._places.give(*look_up.holder)
            if not isinstance(outcome, Unresolved):
                self._answered = time.monotonic()
                self._ended.put(look_up)
            elif isinstance(outcome, ResolutionTimeout):
                self._hung.put(look_up)
            elif not outcome.is_ours:
                self._ended.put(look_up)
        look_up.tell()


def hasten() -> None:
    """Have the C library of this process, and of no child, give up silent servers about when we do."""
    os.environ.setdefault("RES_OPTIONS", RES_OPTIONS)


def _find(name: str) -> tuple[Address, ...]:
    """Return a name's addresses, none when there are more than MOST; raises OSError."""
    texts = _in_hosts_file(name) or _in_dns(name)
    if len(texts) > MOST:
        return ()
    addresses = (ipaddress.ip_address(text.partition("%")[0]) for text in texts)
    return tuple(dict.fromkeys(map(unmapped, addresses)))


def _in_hosts_file(name: str) -> list[str]:
    """Return the addresses that the hosts file has for a name, none where it cannot be read.

    The C library does not find them there by an absolute name.
    """
    found = []
    with contextlib.suppress(OSError), open(HOSTS, encoding="latin-1") as lines:
        for line in lines:
            if name in line.lower():  # which spares the work on nearly all lines
                address, *names = line.lower().partition("#")[0].split() or [""]
                if name in (each.removesuffix(".") for each in names) and read_address(address):
                    found.append(address)
    return found


def _in_dns(name: str) -> list[str]:
    # Bytes, for a string would load the tables of internationalised names, which never come here.
    answers = socket.getaddrinfo(f"{name}.".encode("ascii"), None, type=socket.SOCK_STREAM)
    return [str(where[0]) for *_, where in answers]
