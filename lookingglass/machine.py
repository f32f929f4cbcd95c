"""What this machine has: programs, routing daemons, routed address families."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from lookingglass.spawning import ENVIRONMENT

PATH = ENVIRONMENT["PATH"]  # where commands are looked for, whatever the PATH of this process is
# Addresses far away, of the root name server A; nothing is sent to them.
FAR = {4: "198.41.0.4", 6: "2001:503:ba3e::2:30"}
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
PORT = 53


class Daemon(NamedTuple):
    """Describe a routing daemon: where it listens, and who may ask it there."""

    name: str
    command_set: str
    programs: tuple[str, ...]  # that ask it
    where: tuple[str, ...]  # sockets, or HOST:PORT
    group: str  # whose members may ask it; "": everybody may
    service: str
    option: str = ""  # before the name of another socket
    others: frozenset[str] = frozenset()  # that lead elsewhere as well


DAEMONS = (
    Daemon("BIRD", "bird", ("birdc", "birdcl", "birdlg"), ("/run/bird/bird.ctl",), "bird", "bird", "-s"),
    Daemon(
        "FRR",
        "frr",
        ("vtysh",),
        ("/run/frr/bgpd.vty", "/run/frr/zebra.vty"),
        "frrvty",
        "frr",
        others=frozenset({"--vty_socket", "-N", "--pathspace"}),
    ),
    Daemon("OpenBGPD", "openbgpd", ("bgpctl",), ("/run/openbgpd/bgpd.sock",), "", "openbgpd", "-s"),
    Daemon(
        "GoBGP",
        "gobgp",
        ("gobgp", "gobgplg"),
        ("127.0.0.1:50051",),
        "",
        "gobgpd",
        others=frozenset({"-u", "--host", "-p", "--port", "--target"}),
    ),
)


class Told(NamedTuple):
    """Hold what a program has answered."""

    status: int | None  # None: it has not ended in time
    output: str
    errors: str

    @property
    def text(self) -> str:
        """Return all that it has printed."""
        return self.output + self.errors


def found(program: str) -> str | None:
    """Return where a program is that this user may execute; None: nowhere."""
    return shutil.which(program, path=PATH)


def lies(program: str) -> str | None:
    """Return where a program is, whether or not this user may execute it; None: nowhere."""
    return shutil.which(program, mode=os.F_OK, path=PATH)


def is_well(where: str) -> OSError | None:
    """Return what is wrong with asking a daemon at a socket or HOST:PORT; None: it answers there."""
    host, _, port = where.rpartition(":")
    with socket.socket(socket.AF_INET if host else socket.AF_UNIX) as connection:
        connection.settimeout(2.0)
        try:
            connection.connect((host, int(port)) if host else where)
        except OSError as error:
            return error
    return None


def source(family: int) -> str | None:
    """Return the address that packets of a family would leave this machine from; None: it has no route."""
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    with contextlib.suppress(OSError), socket.socket(kind, socket.SOCK_DGRAM) as probe:
        probe.connect((FAR[family], PORT))  # which sends nothing
        return str(probe.getsockname()[0])
    return None


def attempt(argv: Sequence[str], seconds: float) -> Told:
    """Run a program as commands are run, and end it with its process group when it takes too long."""
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env=ENVIRONMENT,
            start_new_session=True,
        )
    except OSError as error:
        return Told(127, "", f"{argv[0]}: {error.strerror}")
    with process:
        try:
            told = [each.decode(errors="replace") for each in process.communicate(timeout=seconds)]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            told = [each.decode(errors="replace") for each in process.communicate()]
            return Told(None, *told)
    return Told(process.returncode, *told)
