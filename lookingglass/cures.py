"""What mends an installation, as commands that work as printed: packages to install, and this program."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Mapping

from lookingglass.resources import PACKAGE, ROUTERS, SCRIPTS

# The Debian and Ubuntu packages of programs that looking glasses run.
PACKAGES: Mapping[str, str] = {
    **dict.fromkeys(("ping", "ping4", "ping6"), "iputils-ping"),
    **dict.fromkeys(("traceroute", "traceroute4", "traceroute6", "tcptraceroute"), "traceroute"),
    **dict.fromkeys(("tracepath", "tracepath6"), "iputils-tracepath"),
    **dict.fromkeys(("mtr", "mtr-packet"), "mtr-tiny"),
    **dict.fromkeys(("ip", "ss", "bridge"), "iproute2"),
    **dict.fromkeys(("dig", "host", "nslookup", "delv"), "bind9-dnsutils"),
    **dict.fromkeys(("bird", "birdc", "birdcl"), "bird2"),
    "vtysh": "frr",
    "gobgp": "gobgpd",
    **dict.fromkeys(("bgpctl", "ospfctl"), "openbgpd"),
    "ssh": "openssh-client",
    **{each: each for each in ("sudo", "fping", "whois", "nmap", "hping3", "arping", "curl", "sshpass")},
    "timeout": "coreutils",
    "redis-server": "redis-server",
    "setcap": "libcap2-bin",
}
INSTALLED = "tinytracer"  # the name of the program, where it is installed
UNPACKED = "tinytracer-files"  # the folder that a cure unpacks a zip to


def program() -> str:
    """Return the command by which this program was called, for a shell in any folder.

    Within another program, such as a WSGI server, it is the name that an installation has.
    """
    file = sys.argv[0]
    if "lookingglass.command_line" not in sys.modules or not os.path.isfile(file):
        return INSTALLED
    found = shutil.which(os.path.basename(file))
    if found and os.path.samefile(found, file):
        return shlex.quote(os.path.basename(file))
    if os.access(file, os.X_OK):
        return shlex.quote(os.path.abspath(file))
    before = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv)]
    options = [each for each in before if each != "-m"]
    return shlex.join([sys.executable, *options, os.path.abspath(file)])


def of_ends(error: OSError) -> tuple[str, str]:
    """Return what is missing where the end of a process cannot be waited for, and what mends it."""
    told = f"nobody can wait here for the end of a command: pidfd_open: {error.strerror}"
    if error.errno == errno.ENOSYS:
        kernel = os.uname().release
        return told, f"update Linux to 5.3 or newer (this is {kernel}), and what runs this container, if any"
    docker, unit = "in a container, update Docker to 20.10 or newer", "SystemCallFilter=pidfd_open"
    return told, f"have no filter of system calls forbid it: {docker}; in a unit of systemd, write {unit}"


def how_to_get(name: str) -> str:
    """Return the command that installs a program; "" when that is not known."""
    if os.path.basename(name) in SCRIPTS:
        return _how_to_copy(os.path.basename(name))
    return how_to_install([name]) if name in PACKAGES else ""


def how_to_install(names: Iterable[str]) -> str:
    """Return the command that installs programs of PACKAGES."""
    return f"apt install {' '.join(dict.fromkeys(PACKAGES[name] for name in names))}"


def how_to_import(module: str) -> str:
    """Return the command that installs a package for this Python."""
    is_managed = sys.prefix == sys.base_prefix and os.path.exists(
        os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")  # PEP 668: pip is refused there
    )
    if is_managed:
        return f"apt install python3-{module.replace('_', '-')}"
    return f"{shlex.quote(sys.executable)} -m pip install {module}"


def _how_to_copy(script: str) -> str:
    """Return the command that copies one of the SCRIPTS to where commands are looked for."""
    archive = os.path.dirname(os.path.abspath(PACKAGE))
    if os.path.isfile(archive):
        unpack = f"python3 -m zipfile -e {shlex.quote(archive)} {UNPACKED}"
        return f"{unpack} && install -m 755 {UNPACKED}/lookingglass/routers/{script} /usr/local/bin/"
    folders = (PACKAGE, os.path.dirname(PACKAGE))
    paths = [os.path.join(folder, inner, script) for folder, inner in zip(folders, ROUTERS, strict=True)]
    file = os.path.abspath(next(filter(os.path.exists, paths), paths[0]))
    return f"install -m 755 {shlex.quote(file)} /usr/local/bin/"
