"""Answer by the newest configuration, and show which one that is to who may look into this process."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

from lookingglass.configuration import Configuration, ConfigurationError
from lookingglass.documents import is_pipe_of_shell
from lookingglass.guard import Limits
from lookingglass.kernel import file_in_memory

MIRROR = "tinytracer-configuration"  # the name of a file in memory, as /proc/PID/fd shows it
LINK = f"/memfd:{MIRROR} (deleted)"
FIXED = ("store", "results")  # keys whose values hold as long as the server runs
KEPT = "it cannot change while the server runs; restart the server, or write what it was"
READ_ONCE = "a pipe can be read only once, at the start; name a regular file, or restart the server"
SHOWN = 12  # changed keys in one line

log = logging.getLogger("tinytracer")

Summary = Mapping[str, str]  # the path of a key -> a digest of what it means


class Replaceable(Protocol):
    """What can be replaced: a WSGI application for one configuration."""

    @property
    def configuration(self) -> Configuration: ...

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]: ...

    def is_proxy(self, peer: str) -> bool: ...

    def close(self) -> object: ...


A = TypeVar("A", bound=Replaceable)


class Newest:
    """Answer by an application that a newer one can replace; answers in progress end as they began.

    ``load`` reads the configuration again, and ``renew`` makes an application of it that takes over what runs
    and what is counted. ``file`` is where it is read from, "" for no file.
    """

    def __init__(
        self, first: A, load: Callable[[], Configuration], renew: Callable[[Configuration, A], A], file: str
    ) -> None:
        self._application: Replaceable = first
        self._load = load
        self._renew: Callable[[Configuration, Any], Replaceable] = renew
        self._one_by_one = threading.Lock()
        self._is_next = threading.Lock()  # held by the one that waits for the one under way
        self._file = file
        self._mirror = Mirror(file)
        self._mirror.show(first.configuration)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        return self._application(environ, start_response)

    @property
    def limits(self) -> Limits:
        """Return the newest limits."""
        return self._application.configuration.limits

    def is_proxy(self, peer: str) -> bool:
        """Tell whether many visitors may come from a peer's address."""
        return self._application.is_proxy(peer)

    def close(self) -> None:
        """End what runs; afterwards nothing is started."""
        self._application.close()

    def reload(self) -> None:
        """Take a new configuration, or log every mistake in it and go on as before.

        One call waits while another is under way; more have nothing to do, for it reads what there is then.
        """
        if not self._is_next.acquire(blocking=False):
            return
        with self._one_by_one:
            self._is_next.release()
            old = self._application.configuration
            try:
                if is_pipe_of_shell(self._file):
                    raise ConfigurationError([f"{self._file}: {READ_ONCE}"])
                new = self._load()
                if fixed := [key for key in FIXED if getattr(new, key) != getattr(old, key)]:
                    raise ConfigurationError(f"{key}: {KEPT}" for key in fixed)
                self._application = self._renew(new, self._application)
            except ConfigurationError as error:
                log.error("The configuration is not reloaded; what is wrong with it:")
                for line in error.errors:
                    log.error(line)
                return
            except Exception:
                log.exception("The configuration is not reloaded")
                return
            self._mirror.show(new)
            log.info("The configuration is reloaded. %s", told(changes(summary(old), summary(new))))


# --- what differs


def summary(configuration: Configuration) -> Summary:
    """Return a digest of what each key of a configuration means, by its path."""
    values = configuration._asdict()
    routers = values.pop("routers")
    for section in ("info", "limits", "capabilities", "theme"):
        inner = values.pop(section)
        values.update({f"{section}.{key}": value for key, value in _items(inner)})
    for router in routers:
        values[f"routers.{router.name}"] = router._replace(commands={})
        values.update(
            {f"routers.{router.name}.commands.{name}": each for name, each in router.commands.items()}
        )
    for path in ("programs", "title", "blurb"):  # which follow from others
        del values[path]
    return {path: _digest(value) for path, value in values.items()}


def changes(old: Summary, new: Summary) -> list[str]:
    """Return the paths of the keys that mean something else, sorted."""
    return sorted(path for path in {*old, *new} if old.get(path) != new.get(path))


def told(changed: list[str]) -> str:
    """Return what to say of changed keys."""
    if not changed:
        return "Nothing has changed."
    more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
    return f"Changed: {', '.join(changed[:SHOWN])}{more}."


def _items(section: Any) -> Iterable[tuple[str, Any]]:
    found: Mapping[str, Any] = section._asdict() if hasattr(section, "_asdict") else section
    return found.items()


def _digest(value: object) -> str:
    return hashlib.sha256(repr(_ordered(value)).encode()).hexdigest()[:16]


def _ordered(value: Any) -> Any:
    """Return a value whose repr() does not depend on the order of sets."""
    return sorted(value) if isinstance(value, set | frozenset) else value


# --- what a running server has


class Mirror:
    """Hold the summary of the configuration in memory that others of this user, and root, can read.

    It is a descriptor without a name in any folder: it is gone with the process, and is never out of date.
    """

    def __init__(self, file: str) -> None:
        self._file = os.path.abspath(file) if file else ""
        self._descriptor = -1

    def __del__(self) -> None:
        """Close it."""
        self._put(-1)

    def show(self, configuration: Configuration) -> None:
        """Show another configuration from now on."""
        document = {"file": self._file, "summary": summary(configuration)}
        with contextlib.suppress(OSError):  # a kernel that has none, or lets nobody have one
            descriptor = file_in_memory(MIRROR)
            with open(descriptor, "w", closefd=False) as file:
                json.dump(document, file)
            self._put(descriptor)

    def _put(self, descriptor: int) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = descriptor


class Running(NamedTuple):
    """Tell of a server that runs."""

    pid: int
    summary: Summary


def running(file: str) -> Iterator[Running]:
    """Yield the servers that run with a configuration file, as far as this user may look into them."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        folder = f"/proc/{pid}/fd"
        # It may be another user's, have gone, or be something else with this name.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            for descriptor in os.listdir(folder):
                if os.readlink(f"{folder}/{descriptor}") == LINK:
                    with open(f"{folder}/{descriptor}") as mirror:
                        found = json.load(mirror)
                    if found["file"] == os.path.abspath(file):
                        yield Running(int(pid), found["summary"])
