"""Check this machine: programs and rights, routing daemons, routes, names, files."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pwd
import queue
import re
import resource
import shlex
import shutil
import socket
import stat
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from lookingglass import cures, machine, reloading, serving
from lookingglass.findings import ERROR, NOTE, Finding, Situation, argvs, user
from lookingglass.kernel import end_of
from lookingglass.store import Gone, Share
from lookingglass.stores import MEMORY, SQLITE, open_store

# What asks loopback for an answer, by program: {} is the family. mtr-packet opens mtr's sockets.
TRIALS = {
    "ping": ("-{}", "-n", "-c", "1", "-W", "2"),
    "mtr": ("-{}", "--report", "-n", "-c", "1", "-G", "1"),
}
OPENERS = {"mtr": "mtr-packet"}
TRIAL = 10.0  # seconds
REFUSED = re.compile(r"not permitted|cap_net_raw|[Pp]rivilege|Permission denied|Failure to open")
ALL_LOST = re.compile(r"100% packet loss|100\.0%")
UNREACHABLE = re.compile(rf"unreachable|[Cc]annot assign|not supported|{ALL_LOST.pattern}")
RANGE = 'sysctl -w net.ipv4.ping_group_range="0 2147483647"'
NAME = "a.root-servers.net."  # whose look-up gets a definite answer wherever names are resolved, if only no
LOOK_UP = 4.0  # seconds
SIOCGIFFLAGS, IFF_UP = 0x8913, 1  # linux/sockios.h, linux/if.h
RESOLV_CONF = "/etc/resolv.conf"
ROOT_NAME = "root"
SERVICE_USERS = ("tinytracer", "nobody")  # that of our units, else one that may do nothing


# --- programs, and what they may do


def programs(situation: Situation) -> Iterator[Finding]:
    """Find programs that are not there, or that this user may not execute."""
    paths: dict[str, list[str]] = {}
    for path, name in situation.configuration.programs:
        paths.setdefault(name, []).append(path)
    for name, places in paths.items():
        if machine.found(name):
            continue
        more = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
        yield Finding(places[0], *_why_not(name, more, situation))


def _why_not(name: str, more: str, situation: Situation) -> tuple[str, str]:
    """Return cause and cure of a program that cannot be executed."""
    if there := machine.lies(name):
        return f"{there} may not be executed by {user()}{more}", f"chmod 755 {shlex.quote(there)}"
    elsewhere = shutil.which(name)
    if elsewhere:
        told = f"{name!r} is {elsewhere}, which is in none of the folders {machine.PATH}{more}"
        return told, f"ln -s {shlex.quote(os.path.abspath(elsewhere))} /usr/local/bin/"
    where = "" if "/" in name else f" in any of {machine.PATH}"
    cure = cures.how_to_get(name) or f"install it, or change this in {situation.file or 'config.json'}"
    return f"there is no program {name!r}{where}{more}", cure


def ends(situation: Situation) -> Iterator[Finding]:
    """Find that the end of a command cannot be waited for, in which case none is run."""
    try:
        os.close(end_of(os.getpid()))
    except OSError as error:
        yield Finding("", *cures.of_ends(error), ERROR)


def loopback(situation: Situation) -> Iterator[Finding]:
    """Find what keeps ping and mtr from sending packets, by sending some to this machine."""
    asked = {name: path for path, name in reversed(situation.configuration.programs)}
    trials = [
        (path, program, family)
        for name, path in asked.items()
        if os.path.basename(name) in TRIALS and (program := machine.found(name))
        for family in situation.configuration.families
    ]
    if not trials:
        return
    with ThreadPoolExecutor(len(trials)) as pool:
        answers = pool.map(lambda trial: _ask_loopback(*trial[1:]), trials)
        for (path, program, family), told in zip(trials, answers, strict=True):
            if told.status != 0 or ALL_LOST.search(told.output):
                yield Finding(path, *_why_no_answer(program, family, told, situation))


def _ask_loopback(program: str, family: int) -> machine.Told:
    options = [each.format(family) for each in TRIALS[os.path.basename(program)]]
    return machine.attempt([program, *options, machine.LOOPBACK[family]], TRIAL)


def _why_no_answer(program: str, family: int, told: machine.Told, situation: Situation) -> tuple[str, str]:
    words = next(iter(reversed(told.text.strip().splitlines())), f"exit status {told.status}")
    cause = f"{program} gets no answer from {machine.LOOPBACK[family]}: {words[:200]}"
    if not _is_up():
        return f"{cause} (the interface lo is down)", "ip link set lo up"
    if REFUSED.search(told.text):
        if "NoNewPrivs:\t1" in Path("/proc/self/status").read_text():
            rights = f"{cause} (a process without new privileges gets no file capabilities)"
            unit = "write AmbientCapabilities=CAP_NET_RAW in the unit"
            return rights, RANGE if os.path.basename(program) == "ping" else unit
        opener = machine.found(OPENERS.get(os.path.basename(program), program)) or program
        first = "" if machine.found("setcap") else f"{cures.how_to_get('setcap')} && "
        return (
            f"{cause} ({user()} may not open raw sockets)",
            f"{first}setcap cap_net_raw+ep {shlex.quote(os.path.realpath(opener))}",
        )
    if family == 6 and UNREACHABLE.search(told.text):
        return f"{cause} (this machine has no IPv6)", situation.key("capabilities", '{"ipv6": false}')
    return cause, f"find out with: {program} {machine.LOOPBACK[family]}"


def _is_up() -> bool:
    """Tell whether loopback is up; netdevice(7): struct ifreq. /sys may be another network namespace's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0))
    return bool(struct.unpack("16sH14x", answer)[1] & IFF_UP)


def daemons(situation: Situation) -> Iterator[Finding]:
    """Find routing daemons that do not run, or that this user may not ask."""
    asked: dict[tuple[machine.Daemon, str], str] = {}
    for router in situation.here:
        for name, template in argvs(router):
            for daemon in machine.DAEMONS:
                if os.path.basename(template.argv[0]) in daemon.programs and machine.found(template.argv[0]):
                    asked.setdefault((daemon, _where(daemon, template.argv)), f"{router.name}: {name}")
    for (daemon, where), path in asked.items():
        error = machine.is_well(where) if where else None
        if error is None:
            continue
        if error.errno == errno.EACCES:
            cure = _how_to_join(daemon.group) if daemon.group else f"chmod o+rw {shlex.quote(where)}"
            yield Finding(path, f"{user()} may not ask {daemon.name} at {where}", cure)
        else:
            told = f"{daemon.name} does not listen at {where}: {error.strerror or error}"
            yield Finding(path, told, f"systemctl start {daemon.service}")


def _how_to_join(group: str) -> str:
    """Return how this user joins a group."""
    names = {line.partition(":")[0] for line in Path("/etc/passwd").read_text().splitlines()}
    if user() in names:
        return f"usermod -a -G {group} {user()}  # and restart the service"
    return f"in the unit write: SupplementaryGroups={group}"  # systemd has made the user, for the unit alone


def _where(daemon: machine.Daemon, argv: tuple[str, ...]) -> str:
    """Return where an argv asks its daemon; "" where it says so in a way of its own."""
    if daemon.option in argv[:-1]:
        return argv[argv.index(daemon.option) + 1]
    if daemon.others & set(argv):
        return ""
    return next((each for each in daemon.where if os.path.exists(each)), daemon.where[0])


# --- the network


def routes(situation: Situation) -> Iterator[Finding]:
    """Find address families that are offered, and that this machine has no route for."""
    if not situation.here:
        return
    missing = [family for family in situation.configuration.families if machine.source(family) is None]
    for family in missing:
        cure = situation.key("capabilities", f'{{"ipv{family}": false}}')
        if len(missing) == len(situation.configuration.families):
            cure = "give this machine an address and a default route"
        yield Finding(f"capabilities.ipv{family}", f"this machine has no default route for IPv{family}", cure)


def names(situation: Situation) -> Iterator[Finding]:
    """Find that names are not resolved, where visitors may give some."""
    takes_names = [
        f"{router.name}: {command.name}"
        for router in situation.configuration.routers
        for command in router.commands.values()
        if command.argument == "host"
    ]
    if not takes_names:
        return
    answers: queue.SimpleQueue[OSError | None] = queue.SimpleQueue()
    threading.Thread(target=_look_up, args=(answers,), daemon=True).start()
    try:
        error = answers.get(timeout=LOOK_UP)
    except queue.Empty:
        error = OSError(errno.ETIMEDOUT, f"no answer within {LOOK_UP:g} s")
    if error:
        told = f"names are not resolved: {error.strerror}; {RESOLV_CONF} has {_servers() or 'no nameserver'}"
        yield Finding(
            takes_names[0], told, f"in {RESOLV_CONF} write: nameserver ADDRESS, of one that answers"
        )


def _look_up(answers: queue.SimpleQueue[OSError | None]) -> None:
    try:
        socket.getaddrinfo(NAME.encode(), None, type=socket.SOCK_STREAM)
        answers.put(None)
    except socket.gaierror as error:
        answers.put(error if error.errno in {socket.EAI_AGAIN, socket.EAI_FAIL} else None)
    except OSError as error:
        answers.put(error)


def _servers() -> str:
    try:
        lines = Path(RESOLV_CONF).read_text().splitlines()
    except OSError:
        return ""
    return ", ".join(line for line in lines if line.startswith("nameserver"))


# --- files and processes


def files(situation: Situation) -> Iterator[Finding]:
    """Find files that others may change, or that this user may not read."""
    if situation.file and os.stat(situation.file).st_mode & stat.S_IWOTH:
        told = "everybody may write this file, and with it name any program"
        yield Finding(situation.file, told, f"chmod o-w {shlex.quote(situation.file)}")
    folder = situation.configuration.testfiles
    if folder and not os.access(folder, os.R_OK | os.X_OK):
        yield Finding("testfiles", f"{user()} may not read {folder}", f"chmod o+rx {shlex.quote(folder)}")


def descriptors(situation: Situation) -> Iterator[Finding]:
    """Find that fewer files may be open than there may be viewers and connections."""
    wanted = serving.files_for(situation.configuration.limits.viewers)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if resource.RLIM_INFINITY != hard < wanted:
        told = f"{hard} files may be open, and {wanted} are needed; visitors will be turned away"
        yield Finding("limits.viewers", told, f"ulimit -n {wanted}  # under systemd: LimitNOFILE={wanted}")


def store(situation: Situation) -> Iterator[Finding]:
    """Find that limits cannot be counted, in which case every run is refused."""
    name = situation.configuration.store
    if name == MEMORY:
        return
    opened = open_store(name)
    try:
        claims = (Share("check", 1000),)
        opened.take(claims)
        opened.give(claims)
    except Gone as error:
        yield Finding("store", *_why_gone(name, error), ERROR)
    finally:
        opened.close()


def _why_gone(name: str, error: Gone) -> tuple[str, str]:
    why = error.__cause__ or error.__context__ or error
    if not name.startswith(SQLITE):
        return f"the server of limits does not answer: {type(why).__name__}", _how_to_start(name)
    path = name[len(SQLITE) :]
    folder = os.path.dirname(path)
    told = f"limits cannot be counted in {path}: {why}"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"{told} ({user()} may not write there)", f"chown {user()} {shlex.quote(folder)}"
    if os.path.exists(path) and not os.access(path, os.R_OK | os.W_OK):
        return f"{told} ({user()} may not write it)", f"chown {user()} {shlex.quote(path)}"
    return told, f"rm {shlex.quote(path)}"


def _how_to_start(store: str) -> str:
    """Return the command that starts the server of a store, which may have a password in its name."""
    host = urlsplit(store).hostname
    if host not in {None, "localhost", *machine.LOOPBACK.values()}:
        return f"systemctl start redis-server  # on {host}"
    return (
        "systemctl start redis-server" if machine.found("redis-server") else cures.how_to_get("redis-server")
    )


def who(situation: Situation) -> Iterator[Finding]:
    """Tell that all this is so for root, where the service may be another user's."""
    if os.geteuid() != 0:
        return
    name = _service_user(situation.file)
    if name != ROOT_NAME:
        option = f" --config {shlex.quote(os.path.abspath(situation.file))}" if situation.file else ""
        told = f"this was checked as root; a service of another user, such as {name}, may lack rights"
        yield Finding("", told, f"runuser -u {name} -- {cures.program()} check{option}", NOTE)


def _service_user(file: str) -> str:
    """Return the user whose server runs with a file, else that of our units, else one without rights."""
    for each in reloading.running(file) if file else ():
        with contextlib.suppress(OSError, KeyError):  # it has ended, or its user has no name
            return pwd.getpwuid(os.stat(f"/proc/{each.pid}").st_uid).pw_name
    for name in SERVICE_USERS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    return ROOT_NAME
