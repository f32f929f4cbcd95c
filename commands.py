"""The whitelist: routers, commands, argv templates, and running one."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import ipaddress
import logging
import os
import re
import select
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from lookingglass import targets

TEXT = "text/plain"
JSON = "application/json"
EVENTS = "text/event-stream"

GRACE = 1.0  # seconds from SIGTERM to SIGKILL
TICK = 0.1  # seconds in which a Run notices that it has no viewer, or that its process has ended
RESOLVE = 3.0  # seconds for looking up a name
CHUNK = 65536  # bytes read at once
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "TERM": "dumb",
}
NO_ROOM = "This machine cannot run more commands now."
NO_RESOURCES = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}

# What a terminal or a browser might obey is shown instead: C0 as control pictures, C1, the bidirectional
# controls and the two Unicode line separators as the replacement character.
NEUTRAL = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"},
    0x7F: 0x2421,
    **dict.fromkeys([*range(0x80, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F)], 0xFFFD),
    **dict.fromkeys(range(0x2066, 0x206A), 0xFFFD),
}


PARTS = ("NETWORK", "LENGTH", "MASK")  # of a prefix, which some routers want in two words
PLACEHOLDERS = ("TARGET", "SOURCE", "VRF", *PARTS)
PLACEHOLDER = re.compile(rf"\{{\{{({'|'.join(PLACEHOLDERS)})\}}\}}")

log = logging.getLogger("tinytracer")


class CommandError(Exception):
    """A command cannot run: ``status`` is the HTTP status (400, 404, 502 or 503)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Template(NamedTuple):
    """Hold one argv with its PLACEHOLDERS, such as ``{{TARGET}}``."""

    argv: tuple[str, ...]
    stderr: bool = True  # the output includes standard error
    skip: int = 0  # lines left out at the beginning of the output

    def wants(self, *names: str) -> bool:
        """Tell whether it has one of some placeholders."""
        return any(name in names for element in self.argv for name in PLACEHOLDER.findall(element))

    def expand(self, values: Mapping[str, str]) -> tuple[str, ...]:
        """Return the argv with every placeholder replaced, within its own element."""
        return tuple(_replace(element, values) for element in self.argv)


class Command(NamedTuple):
    """Describe one whitelisted command of one router.

    ``templates`` maps a media type (always ``text/plain``, others by the command's ``formats``) to
    templates by configuration key: ``cmd4``, ``cmd6``, ``cmd``; ``prefix4``, ``prefix6`` for a target that
    is a prefix, and ``large4``, ``large6`` for one that is a large community.
    """

    name: str
    description: str
    argument: str  # host, addr, address, asn, community or none
    templates: Mapping[str, Mapping[str, Template]]
    parser: str | None = None
    runtime: float | None = None  # seconds, this command's own ceiling

    @property
    def probes(self) -> bool:
        """Tell whether it sends packets to its target, rather than looking it up in a table."""
        return self.argument == "host" or self.parser in {"ping", "traceroute", "mtr"}

    @property
    def formats(self) -> tuple[str, ...]:
        """Return the media types of RFC 8522's ``format`` that it offers, ``text/plain`` first."""
        parsed = (JSON,) if self.parser else ()
        return tuple(dict.fromkeys((*self.templates, *parsed)))

    def wants(self, name: str) -> bool:
        """Tell whether any of its templates has a placeholder."""
        return any(each.wants(name) for inner in self.templates.values() for each in inner.values())

    def families(self) -> tuple[int, ...]:
        """Return the address families it has a template for."""
        plain = self.templates[TEXT]
        return tuple(family for family in (4, 6) if f"cmd{family}" in plain or "cmd" in plain)

    def template(self, family: int, *, kind: str = "") -> Template:
        """Return the template for an address family, which is in ``families()``, and a kind of target."""
        template = self.template_of(TEXT, family, kind=kind)
        if template is None:
            raise CommandError(400, f"{self.name} is not offered for IPv{family}.")
        return template

    def template_of(self, media: str, family: int, *, kind: str = "") -> Template | None:
        """Return what a media type has for an address family and a kind of target; None: nothing."""
        offered = self.templates.get(media, {})
        own = f"{kind}{family}"
        keys = (own,) if own in {**self.templates[TEXT], **offered} else (f"cmd{family}", "cmd")
        return next((offered[key] for key in keys if key in offered), None)


class Job(NamedTuple):
    """Say what to execute on this machine; equal Jobs share one Run."""

    argv: tuple[str, ...]
    stderr: int | None = subprocess.STDOUT  # as Popen has it
    skip: int = 0  # lines left out at the beginning of the output


class Router(NamedTuple):
    """Describe one router: how to reach it, what it offers, and what visitors may know of it."""

    name: str
    number: int  # the RFC's router index, counted from 0
    commands: Mapping[str, Command]
    via: tuple[str, ...] = ()
    remote: str = "shell"  # shell: quote for a POSIX shell; cli: join with spaces
    sources: Mapping[int, str] = {}  # address family (4, 6) -> {{SOURCE}}
    vrfs: tuple[str, ...] = ()
    details: Mapping[str, Any] = {}

    def find(self, path: str, known: Iterable[str] = ()) -> tuple[Command, str]:
        """Split a path below ``…/v1/`` into the command with the longest name and the target's text.

        ``known`` are names of other routers' commands, which are no targets here; raises CommandError.
        """
        names = {*self.commands, *known}
        longest = max(name.count(" ") for name in names) + 1
        segments = path.split("/", longest)
        for length in range(min(longest, len(segments)), 0, -1):
            name = " ".join(segments[:length]).lower()
            if name in self.commands:
                return self.commands[name], "/".join(segments[length:])
            if name in names:
                break
        raise CommandError(404, "There is no such command on this router.")

    def argv(self, template: Template, family: int, target: str, vrf: str) -> tuple[str, ...]:
        """Return what to execute on this machine to run a template on this router.

        What leads there keeps its own complaints for the operator (see ``job``), so a shell there is told
        what to do with the command's standard error.
        """
        values = {"TARGET": target, "SOURCE": self.sources.get(family, ""), "VRF": vrf}
        argv = template.expand({**values, **_parts(target)})
        if not self.via:
            return argv
        if self.remote == "cli":
            return (*self.via, " ".join(argv))
        return (*self.via, f"{shlex.join(argv)} 2>{'&1' if template.stderr else '/dev/null'}")

    def job(self, template: Template, family: int, target: str, vrf: str) -> Job:
        """Return a Job; what leads to a router complains in this program's log, not to visitors."""
        stderr = None if self.via else subprocess.STDOUT if template.stderr else subprocess.DEVNULL
        return Job(self.argv(template, family, target, vrf), stderr, template.skip)


class Aim(NamedTuple):
    """Say what a command is aimed at, after a name was resolved and judged."""

    family: int  # 4 or 6
    text: str = ""  # for {{TARGET}}: the literal address, never a name
    target: targets.Target | None = None  # what the visitor has named
    network: targets.Network | None = None  # where packets would go

    @property
    def kind(self) -> str:
        """Return the kind of target that the visitor has named, "" when none."""
        return self.target.kind if self.target else ""

    @property
    def address(self) -> str | None:
        """Return what a name was resolved to; None: the visitor has named no name."""
        return self.text if self.kind == "name" else None


class Aimer:
    """Turn a visitor's target into an Aim, by what this looking glass is capable of and denies."""

    def __init__(self, families: Sequence[int], deny: targets.DenyTable) -> None:
        self._families = families
        self._deny = deny
        self._resolver = targets.Resolver()

    def families(self, command: Command, target: targets.Target | None, protocol: int | None) -> list[int]:
        """Return the IP versions that can be used, the preferred one first.

        Raises CommandError when the command or this looking glass does not offer the one asked for.
        """
        wanted = protocol
        if target is not None and target.family is not None:
            if protocol not in {None, target.family}:
                raise CommandError(
                    400, f"The target is IPv{target.family}, but protocol means IPv{protocol}."
                )
            wanted = target.family
        offered = [family for family in command.families() if family in self._families]
        if wanted is None and offered:
            return offered
        if wanted in offered:
            return [wanted]
        raise CommandError(400, f"This command is not offered for IPv{wanted or command.families()[0]}.")

    def aim(self, command: Command, target: targets.Target | None, protocol: int | None) -> Aim:
        """Resolve a name once, judge every address, choose one; raises CommandError and TargetError."""
        families = self.families(command, target, protocol)
        if target is None or target.kind in {"asn", "community", "large"}:
            return Aim(families[0], target.text if target else "", target)
        if target.kind == "name":
            addresses = self._resolver.resolve(target.text, RESOLVE)
        else:
            addresses = (ipaddress.ip_network(target.text).network_address,)
        usable = [address for family in families for address in addresses if address.version == family]
        if not usable:
            raise CommandError(400, f"The name has no IPv{families[0]} address.")
        networks = [ipaddress.ip_network(target.text if target.family else each) for each in addresses]
        if command.probes and any(map(self._deny.denies_some, networks)):
            raise CommandError(400, "Targets in this network are not allowed.")
        text = target.text if target.kind == "prefix" else str(usable[0])
        return Aim(usable[0].version, text, target, targets.network_of(usable[0]) if command.probes else None)


class End(NamedTuple):
    """Tell how a Run ended, or how a viewer's time with it did."""

    reason: str  # exit, time, full or left
    status: int | None  # the exit status; None: not known
    runtime: float  # seconds
    performed_at: float  # seconds since the epoch


class Run:
    """Run one argv once: a process, its reader, a buffer of decoded text, and viewers.

    It ends when its process ends, the time of its viewers is up, its output is full, or the last viewer
    has left; the whole process group then gets SIGTERM, after GRACE SIGKILL, and the process is reaped.
    """

    def __init__(self, output_limit: int, ended: Callable[[], None]) -> None:
        self.pieces: list[str] = []
        self.end: End | None = None
        self.changed = threading.Condition()
        self.started = time.monotonic()
        self._viewers: set[Viewer] = set()
        self._cancelled = False
        self._room = output_limit  # bytes
        self._ended = ended
        utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._decode = io.IncrementalNewlineDecoder(utf8, translate=True).decode

    def start(self, job: Job) -> None:
        """Start the process and its reader; the first viewer has joined already.

        Raises CommandError: 502 when there is no such program, 503 when the machine has no room for it.
        """
        self._skip = job.skip
        self._pipe, self._process = _spawn(job)
        try:
            threading.Thread(target=self._follow, name="run", daemon=True).start()
        except RuntimeError as error:
            self._signal(signal.SIGKILL)
            os.close(self._pipe)
            if self._exits_within(GRACE):
                self._process.wait()
            raise CommandError(503, NO_ROOM) from error

    def join(self, seconds: float, ceiling: float) -> Viewer | None:
        """Admit one more viewer; None: the Run has ended, or is being stopped."""
        with self.changed:
            if self.end is not None or self._cancelled or not self._viewers:
                return None
            return self.admit(seconds, ceiling)

    def admit(self, seconds: float, ceiling: float) -> Viewer:
        """Admit a viewer for ``seconds``, but at most until the Run is ``ceiling`` seconds old."""
        viewer = Viewer(self, min(time.monotonic() + seconds, self.started + ceiling))
        self._viewers.add(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Forget a viewer; when it was the last one, the Run ends."""
        with self.changed:
            self._viewers.discard(viewer)

    def cancel(self) -> None:
        """End the Run whoever is watching."""
        with self.changed:
            self._cancelled = True

    def wait(self, seconds: float) -> None:
        """Wait until the Run has ended, at most ``seconds``."""
        with self.changed:
            self.changed.wait_for(lambda: self.end, max(0.0, seconds))

    def last_deadline(self) -> float:
        """Return when the last of the viewers has to leave, by the monotonic clock."""
        return max((viewer.deadline for viewer in self._viewers), default=0.0)

    def _follow(self) -> None:
        reason = "left"
        try:
            reason = self._read()
        finally:
            self._finish(reason)

    def _read(self) -> str:
        """Append what the process prints until it ends or is to be stopped, and return the reason."""
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        pause = 0.000001  # seconds; grows while a process lives on that has closed its output
        is_open = True
        while True:
            reason, left = self._verdict()
            if reason:
                return reason
            if is_open and poll.poll(1000 * left):
                is_open = self._append(os.read(self._pipe, CHUNK))
            elif self._has_exited():
                return "exit"
            elif not is_open:
                time.sleep(pause)
                pause = min(2 * pause, TICK)

    def _verdict(self) -> tuple[str, float]:
        """Return why to stop ("": go on; else nobody joins any more), and for how many seconds not to ask."""
        with self.changed:
            left = self.last_deadline() - time.monotonic()
            if not self._viewers or self._cancelled:
                reason = "left"
            elif left <= 0:
                reason = "time"
            else:
                reason = "full" if self._room < 0 else ""
            self._cancelled = bool(reason)
        return reason, max(0.0, min(TICK, left))

    def _append(self, data: bytes) -> bool:
        """Add bytes to the text, as far as there is room; empty ``data`` is the end and returns False."""
        text = self._decode(data[: max(0, self._room)], final=not data).translate(NEUTRAL)
        self._room -= len(data)
        while self._skip and text:
            _, newline, text = text.partition("\n")
            self._skip -= len(newline)
        if text:
            with self.changed:
                self.pieces.append(text)
                self.changed.notify_all()
        return bool(data)

    def _finish(self, reason: str) -> None:
        """Leave no process of the group, reap ours, tell the viewers."""
        if reason != "exit":
            self._signal(signal.SIGTERM)
            self._exits_within(GRACE)
        self._signal(signal.SIGKILL)
        exited = self._exits_within(GRACE / 4)
        try:
            self._drain()
        finally:
            if reason == "exit" and self._room < 0:
                reason = "full"
            status = self._process.wait() if exited else None
            self._ended()
            with self.changed:
                self.end = End(reason, status, time.monotonic() - self.started, time.time())
                self.changed.notify_all()
        self._process.wait()  # what became root may live on; nobody waits for this thread

    def _drain(self) -> None:
        """Take what is in the pipe and close it, whoever else holds its other end."""
        os.set_blocking(self._pipe, False)
        try:
            with contextlib.suppress(BlockingIOError):
                while self._room >= 0 and (data := os.read(self._pipe, CHUNK)):
                    self._append(data)
            self._append(b"")
        finally:
            os.close(self._pipe)

    def _has_exited(self) -> bool:
        """Look without reaping: as long as the leader is not reaped, its group's number is not reused."""
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        try:
            return os.waitid(os.P_PID, self._process.pid, flags) is not None
        except ChildProcessError:
            return True  # the host process reaps for itself

    def _exits_within(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        pause = 0.0005
        while not self._has_exited():
            if time.monotonic() >= end:
                return False
            time.sleep(pause)
            pause = min(2 * pause, 0.02)
        return True

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # gone, or became another user
            os.killpg(self._process.pid, number)


class Viewer:
    """Follow a Run for one client, from its beginning to its end or to the viewer's own deadline."""

    def __init__(self, run: Run, deadline: float) -> None:
        self.run = run
        self.deadline = deadline  # by the monotonic clock
        self._seen = 0
        self._over: End | None = None  # judged once, together with the last text

    def read(self, seconds: float) -> str | None:
        """Return new text, "" when there was none for ``seconds``, None at the end."""
        run = self.run
        with run.changed:
            if self._over:
                return None
            if len(run.pieces) == self._seen and self._end() is None:
                left = self.deadline - time.monotonic()  # when over, it is the Run's end that is waited for
                run.changed.wait(min(seconds, left) if left > 0 else seconds)
            new = run.pieces[self._seen :]
            self._seen += len(new)
            self._over = self._end()
            return None if self._over and not new else "".join(new)

    def result(self) -> tuple[str, End]:
        """Return all the text so far, and how it ended; call it after ``read`` gave None."""
        return "".join(self.run.pieces[: self._seen]), self._over or self._end_now("left")

    def close(self) -> None:
        """Leave the Run."""
        self.run.leave(self)

    def _end(self) -> End | None:
        if self.run.end is not None or time.monotonic() < self.deadline:
            return self.run.end
        if self.run.last_deadline() <= self.deadline:
            return None  # the Run itself is about to end, and leaves no process behind
        return self._end_now("time")

    def _end_now(self, reason: str) -> End:
        return End(reason, None, time.monotonic() - self.run.started, time.time())


class Runs:
    """Keep the Runs under way, so that who asks the same question shares one."""

    def __init__(self, output_limit: int) -> None:
        self._output_limit = output_limit  # bytes
        self._lock = threading.Lock()
        self._runs: dict[Job, Run] = {}  # that can be joined, as far as is known
        self._alive: set[Run] = set()  # also those that are being stopped
        self._closed = False

    def view(
        self,
        job: Job,
        slot: Callable[[], Callable[[], None]],
        seconds: float,
        ceiling: float,
    ) -> Viewer:
        """Return a viewer of the Run of ``job`` for ``seconds``; start it when it does not run yet.

        ``slot`` admits a new process and returns what gives its slot back; its Refusal passes through.
        Raises CommandError: 502 when there is no such program, 503 when the machine has no room for it.
        """
        with self._lock:
            if self._closed:
                raise CommandError(503, "This looking glass is stopping.")
            run = self._runs.get(job)
            viewer = run.join(seconds, ceiling) if run else None
            if viewer is None:
                viewer = self._start(job, slot(), seconds, ceiling)
            return viewer

    def close(self) -> None:
        """Start no more Runs, end those under way, and wait until they are gone (at most 2 GRACE)."""
        with self._lock:
            self._closed = True
            under_way = list(self._alive)
        for run in under_way:
            run.cancel()
        end = time.monotonic() + 2 * GRACE
        for run in under_way:
            run.wait(end - time.monotonic())

    def _start(self, job: Job, release: Callable[[], None], seconds: float, ceiling: float) -> Viewer:
        run = Run(self._output_limit, lambda: self._forget(job, run, release))
        viewer = run.admit(seconds, ceiling)
        try:
            run.start(job)
        except BaseException:
            release()
            raise
        self._runs[job] = run
        self._alive.add(run)
        return viewer

    def _forget(self, job: Job, run: Run, release: Callable[[], None]) -> None:
        with self._lock:
            self._alive.discard(run)
            if self._runs.get(job) is run:
                del self._runs[job]
        release()


def _parts(target: str) -> dict[str, str]:
    if "/" not in target:
        return {}
    prefix = ipaddress.ip_network(target)
    values = (prefix.network_address, prefix.prefixlen, prefix.netmask)
    return dict(zip(PARTS, map(str, values), strict=True))


def _replace(element: str, values: Mapping[str, str]) -> str:
    return PLACEHOLDER.sub(lambda match: values[match[1]], element)


def _spawn(job: Job) -> tuple[int, subprocess.Popen[bytes]]:
    """Start a Job in a session of its own; return the reading end of its output, and the process.

    It has an empty standard input and a minimal environment.
    """
    try:
        reader, writer = os.pipe()
        try:
            process = subprocess.Popen(
                job.argv,
                stdin=subprocess.DEVNULL,
                stdout=writer,
                stderr=job.stderr,
                cwd="/",
                env=ENVIRONMENT,
                start_new_session=True,
            )
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
    except OSError as error:
        log.error("cannot run %r: %s", job.argv[0], error)
        if error.errno in NO_RESOURCES:
            raise CommandError(503, NO_ROOM) from error
        raise CommandError(502, "The router has no program for this command.") from error
    return reader, process
