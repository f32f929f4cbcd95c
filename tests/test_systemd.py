"""The units and the sudoers file that operators copy, under a real systemd that runs in namespaces."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import GENEROUS, HERE, V1, configuration, is_alive, soon, soon_gone, stat

DEPLOY = HERE / "examples" / "deploy"
UNITS = ("tinytracer.service", "tinytracer-sudo.service")
SOCKET = "tinytracer.socket"
GUNICORN = "tinytracer-gunicorn.service"
JOURNAL = "tinytracer-journal.service"  # whose log is kept apart
JOURNALD = ("systemd-journald@.service", "systemd-journald@.socket", "systemd-journald-varlink@.socket")
START = "/opt/tinytracer/.venv/bin/tinytracer"
COMMANDS = {
    "ping": {
        "cmd4": ["ping", "-4", "-n", "-c", "2", "-i", "0.2", "{{TARGET}}"],
        "cmd6": ["ping", "-6", "-n", "-c", "2", "-i", "0.2", "{{TARGET}}"],
    },
    "mtr": {"cmd": ["mtr", "--report", "-n", "-c", "1", "-G", "1", "{{TARGET}}"]},
    "traceroute": {"cmd": ["traceroute", "-n", "-q", "1", "{{TARGET}}"]},
    "icmp traceroute": {"cmd": ["traceroute", "-I", "-n", "-q", "1", "{{TARGET}}"]},
    "tcp traceroute": {"cmd": ["traceroute", "-T", "-n", "-q", "1", "{{TARGET}}"]},
    "show route": {"cmd": ["ip", "route", "get", "{{TARGET}}"], "argument": "addr"},
    "status": {"cmd": ["cat", "/proc/self/status"]},
    "write": {"cmd": ["touch", "/etc/written", "/opt/written", "/var/written"]},
    "stubborn": {"cmd": ["sh", "-c", "trap '' TERM; (trap '' TERM; exec sleep 1000) & echo $!; wait"]},
    "sudo ping": {"cmd": ["sudo", "-n", "/usr/bin/ping", "-c", "1", "{{TARGET}}"]},
    "sudo mtr": {"cmd": ["sudo", "-n", "/usr/bin/mtr", "--report", "-n", "-c", "1", "{{TARGET}}"]},
    "sudo birdc": {"cmd": ["sudo", "-n", "/usr/sbin/birdc", "-r", "show", "status"]},
    "sudo free birdc": {"cmd": ["sudo", "-n", "/usr/sbin/birdc", "show", "status"]},
    "sudo id": {"cmd": ["sudo", "-n", "/usr/bin/id"]},
}
# What the first process of the namespaces does: everything that it mounts is gone with it.
BOOT = """
set -e
mount --make-rprivate /
umount -l /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /run
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -t tmpfs tmpfs "$1/over"
mkdir "$1/over/etc" "$1/over/work"
mount -t overlay -o "lowerdir=/etc,upperdir=$1/over/etc,workdir=$1/over/work" overlay /etc
mount -t tmpfs tmpfs /var/log
mkdir -p /etc/tinytracer /run/systemd
cp "$2/journald.conf" /etc/systemd/journald@tinytracer.conf
install -m 644 "$1/config.json" /etc/tinytracer/config.json
install -m 440 "$2/tinytracer.sudoers" /etc/sudoers.d/tinytracer
echo 'tinytracer:x:64500:64500::/nonexistent:/usr/sbin/nologin' >> /etc/passwd
echo 'tinytracer:x:64500:' >> /etc/group
echo 'tinytracer:!:19000::::::' >> /etc/shadow
mount -t tmpfs -o mode=755 tmpfs /opt
mkdir /opt/python
mount --bind "$3" /opt/python
cp -r "$1/tinytracer" /opt/tinytracer
chmod -R a+rX /opt/tinytracer
ip link set lo up
export container=lxc SYSTEMD_UNIT_PATH="$1/units"
exec /lib/systemd/systemd --system --unit=test.target --log-target=console --show-status=no
"""
RUN = """#!/bin/sh
export PYTHONPATH=/opt/tinytracer/lib LD_LIBRARY_PATH=/opt/python/lib
exec /opt/python/bin/python3 -m "$(basename "$0")" "$@"
"""


def put_program_into(folder: Path) -> None:
    """Lay TinyTracer out as pip would, for a user who may read nothing of ours."""
    library = folder / "lib"
    library.mkdir(parents=True)
    for module in ("tinytracer.py", "rfc8522.py", "commands.py"):
        shutil.copy(HERE / module, library)
    shutil.copytree(HERE / "lookingglass", library / "lookingglass")
    shutil.copytree(HERE / "html", library / "lookingglass" / "html")
    for name in ("webob", "waitress", "gunicorn", "packaging"):
        spec = importlib.util.find_spec(name)
        assert spec
        assert spec.origin
        shutil.copytree(Path(spec.origin).parent, library / name)
    cgi = importlib.util.find_spec("cgi")
    if cgi and cgi.origin and "site-packages" in cgi.origin:  # from Python 3.13 on
        shutil.copy(cgi.origin, library)
    shutil.copytree(HERE / "examples", folder / "examples")
    for name in ("tinytracer", "gunicorn"):
        program = folder / ".venv" / "bin" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(RUN)
        program.chmod(0o755)


def gunicorn_unit() -> str:
    """Return the shipped unit with the lines for gunicorn that README.md puts in it."""
    text = (DEPLOY / UNITS[0]).read_text()
    lines = (DEPLOY / "README.md").read_text().partition("`ExecStart`:\n\n")[2].partition("\n\n")[0]
    return re.sub(r"^ExecStart=.*$", textwrap.dedent(lines), text, flags=re.MULTILINE)


class Machine:
    """Run systemd as the first process of namespaces, with our units and what these need."""

    def __init__(self, folder: Path) -> None:
        put_program_into(folder / "tinytracer")
        configuration(folder, commands=COMMANDS, limits=GENEROUS)
        (folder / "over").mkdir()
        self.log = folder / "log"
        self._write_units(folder / "units")
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
        hierarchy = next(fields[1] for fields in mounts if fields[2] == "cgroup2")
        self._group = Path(hierarchy) / f"tinytracer-{folder.name}"
        self._group.mkdir()
        join = f'echo $$ > "{self._group}/cgroup.procs"; exec "$@"'
        unshare = ["unshare", "--pid", "--mount", "--uts", "--ipc", "--cgroup", "--net", "--fork"]
        boot = ["sh", "-c", BOOT, "boot", str(folder), str(DEPLOY), sys.base_prefix]
        argv = ["sh", "-c", join, "join", *unshare, "--mount-proc", *boot]
        with open(folder / "console", "wb") as console:
            self._process = subprocess.Popen(argv, stdout=console, stderr=console)
        end = time.monotonic() + 20
        while self.systemctl("is-system-running", check=False).strip() != "running":
            assert time.monotonic() < end, (folder / "console").read_text()
            assert self._process.poll() is None, (folder / "console").read_text()
            time.sleep(0.05)

    def _write_units(self, folder: Path) -> None:
        folder.mkdir()
        targets = (
            *("sysinit", "basic", "shutdown", "network-online", "multi-user", "umount", "final", "test"),
            "sockets",
        )
        for name in targets:
            (folder / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")
        (folder / "system.slice").write_text("[Unit]\nDefaultDependencies=no\n")
        (folder / SOCKET).write_text((DEPLOY / SOCKET).read_text())
        units = {name: (DEPLOY / name).read_text() for name in UNITS}
        for name, text in {**units, GUNICORN: gunicorn_unit()}.items():
            (folder / name).write_text(text)
            (folder / f"{name}.d").mkdir()
            output = f"[Service]\nStandardError=append:{self.log}\n"
            (folder / f"{name}.d" / "log.conf").write_text(output)
        (folder / JOURNAL).write_text(
            units[UNITS[0]].replace("[Service]\n", "[Service]\nLogNamespace=tinytracer\n")
        )
        for name in JOURNALD:
            shutil.copy(Path("/lib/systemd/system") / name, folder)

    def _first(self) -> int:
        """Return the first process of the namespaces, as this machine counts."""
        parent = str(self._process.pid)
        return next((int(p.name) for p in Path("/proc").glob("[0-9]*") if stat(p.name)[1:2] == [parent]), 0)

    def _enter(self, *argv: str) -> list[str]:
        return ["nsenter", "--target", str(self._first()), "--all", *argv]

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        argv = self._enter("systemctl", *arguments)
        done = subprocess.run(argv, capture_output=True, text=True, check=check, timeout=60)
        return done.stdout

    def start(self, unit: str) -> None:
        self.systemctl("start", unit)
        argv = self._enter("curl", "-s", "http://127.0.0.1:8080/healthz")
        end = time.monotonic() + 20
        while subprocess.run(argv, capture_output=True, check=False, timeout=60).stdout != b"ok":
            assert time.monotonic() < end, self.systemctl("status", unit, check=False)
            time.sleep(0.05)

    def curl(self, path: str, accept: str) -> list[str]:
        url = f"http://127.0.0.1:8080{V1}/{path}"
        return self._enter("curl", "-sN", "-m", "30", "-H", f"Accept: {accept}", url)

    def ask(self, path: str) -> tuple[str, str]:
        """Return the status of a run and what it printed."""
        argv = self.curl(path, "application/json")
        done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=40)
        envelope = json.loads(done.stdout)
        return envelope["status"], "\n".join(envelope["data"]["output"])

    def stop(self) -> None:
        if first := self._first():
            os.kill(first, signal.SIGKILL)  # and with it ends all that runs in its namespace
        self._process.wait(60)
        end = time.monotonic() + 5
        folders = sorted(self._group.rglob("*/"), key=lambda path: -len(path.parts))
        for each in [*folders, self._group]:
            while each.exists() and time.monotonic() < end:
                with contextlib.suppress(OSError):  # its processes are not reaped yet
                    each.rmdir()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("machine"))
    yield machine
    machine.stop()


@pytest.fixture
def unit(machine: Machine) -> Iterator[Machine]:
    machine.start("tinytracer.service")
    yield machine
    machine.systemctl("stop", "tinytracer.service")


@pytest.fixture
def sudo_unit(machine: Machine) -> Iterator[Machine]:
    machine.start("tinytracer-sudo.service")
    yield machine
    machine.systemctl("stop", "tinytracer-sudo.service")


@pytest.mark.parametrize("name", UNITS)
def test_unit_is_valid(name: str, tmp_path: Path) -> None:
    text = (DEPLOY / name).read_text()
    assert text.count(f"ExecStart={START} ") == 1
    (tmp_path / name).write_text(text.replace(START, "/bin/true"))
    argv = ["systemd-analyze", "verify", str(tmp_path / name)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_socket_is_valid(tmp_path: Path) -> None:
    text = (DEPLOY / UNITS[0]).read_text()
    (tmp_path / UNITS[0]).write_text(text.replace(START, "/bin/true"))
    shutil.copy(DEPLOY / SOCKET, tmp_path)
    argv = ["systemd-analyze", "verify", str(tmp_path / SOCKET)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_unit_by_capability_is_hardened() -> None:
    argv = ["systemd-analyze", "security", "--offline=yes", "--threshold=20", str(DEPLOY / UNITS[0])]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout[-200:]  # an exposure of at most 2.0


def test_sudoers_file_is_valid() -> None:
    visudo = shutil.which("visudo", path="/usr/sbin:/usr/bin")
    assert visudo
    argv = [visudo, "-c", "-s", "-f", str(DEPLOY / "tinytracer.sudoers")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.lab
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("ping/127.0.0.1", " 0% packet loss"),
        ("ping/::1", " 0% packet loss"),
        ("ping/localhost", " 0% packet loss"),
        ("mtr/127.0.0.1", " 0.0%     1 "),
        ("traceroute/127.0.0.1", " 1  127.0.0.1  "),
        ("icmp/traceroute/127.0.0.1", " 1  127.0.0.1  "),
        ("tcp/traceroute/127.0.0.1", " 1  127.0.0.1  "),
        ("show/route/127.0.0.1", "dev lo"),
    ],
)
def test_commands_work_under_systemd(unit: Machine, path: str, expected: str) -> None:
    status, output = unit.ask(path)
    assert status == "success", output
    assert expected in output


@pytest.mark.lab
def test_commands_have_one_capability_and_a_user_of_their_own_under_systemd(unit: Machine) -> None:
    told = dict(line.split(":\t", 1) for line in unit.ask("status")[1].splitlines() if ":\t" in line)
    net_raw = f"{1 << 13:016x}"
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert told[name] == net_raw, name
    assert told["NoNewPrivs"] == "1"
    assert told["Seccomp"] == "2"
    assert "0" not in told["Uid"].split()
    assert unit.ask("sudo/id")[0] == "fail"
    status, output = unit.ask("write")
    assert status == "fail"
    assert output.count("Read-only file system") == 3


@pytest.mark.lab
def test_stopping_the_unit_ends_all_that_runs(machine: Machine) -> None:
    machine.start("tinytracer.service")
    argv = machine.curl("stubborn", "text/plain")
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as client:
        assert client.stdout
        inner = client.stdout.readline().split()[0].decode()  # as its namespace counts
        inside = [int(pid.name) for pid in Path("/proc").glob("[0-9]*") if _inner(pid) == inner]
        assert all(stat(pid) for pid in inside)
        assert inside
        started = time.monotonic()
        machine.systemctl("stop", "tinytracer.service")
        assert time.monotonic() - started < 10
        assert soon_gone(*inside)
    assert "watcher" not in machine.log.read_text()


@pytest.mark.lab
def test_reload_takes_the_new_file_and_keeps_what_runs(unit: Machine) -> None:
    file = "/etc/tinytracer/config.json"
    script = 'sed -i.old "s/\\"status\\": /\\"my status\\": /" $0; grep -c "my status" $0'
    with subprocess.Popen(unit.curl("stubborn", "text/plain"), stdout=subprocess.PIPE) as client:
        assert client.stdout
        client.stdout.readline()
        try:
            changed = subprocess.run(unit._enter("sh", "-c", script, file), check=True, capture_output=True)
            assert changed.stdout == b"1\n"
            unit.systemctl("reload", UNITS[0])
            assert soon(lambda: "The configuration is reloaded." in unit.log.read_text())
            assert unit.ask("my/status")[0] == "success"
            assert client.poll() is None
        finally:
            subprocess.run(unit._enter("mv", f"{file}.old", file), check=True)
            client.terminate()


@pytest.mark.lab
def test_log_is_kept_apart_and_for_a_week_by_the_journal(machine: Machine) -> None:
    machine.start(JOURNAL)
    try:
        machine.ask("status")
        machine.systemctl("stop", JOURNAL)
        argv = machine._enter("journalctl", "--namespace", "tinytracer", "--output", "cat", "--no-pager")
        found = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout
    finally:
        machine.systemctl("stop", JOURNAL, check=False)
    assert "INFO: Listening on http://127.0.0.1:8080/" in found
    assert " command=status outcome=success " in found
    assert re.search(r"System Journal \(/var/log/journal/\w+\.tinytracer\) is .*, max 100\.0M", found)


@pytest.mark.lab
def test_socket_starts_the_service_for_the_first_visitor_and_again(machine: Machine) -> None:
    try:
        machine.systemctl("start", SOCKET)
        for _ in range(2):
            assert machine.systemctl("is-active", UNITS[0], check=False) == "inactive\n"
            status, output = machine.ask("ping/127.0.0.1")
            assert status == "success", output
            assert machine.systemctl("is-active", UNITS[0]) == "active\n"
            machine.systemctl("stop", UNITS[0])
    finally:
        machine.systemctl("stop", SOCKET, UNITS[0])


def _inner(process: Path) -> str:
    with contextlib.suppress(OSError):
        for line in (process / "status").read_text().splitlines():
            if line.startswith("NSpid:") and len(line.split()) > 2 and is_alive(int(process.name)):
                return line.split()[-1]
    return ""


@pytest.mark.lab
def test_gunicorn_runs_in_the_unit(machine: Machine) -> None:
    machine.start(GUNICORN)
    status, output = machine.ask("ping/127.0.0.1")
    assert status == "success", output
    machine.systemctl("stop", GUNICORN)
    assert "Result=success" in machine.systemctl("show", GUNICORN)
    log = machine.log.read_text()
    assert "Booting worker" in log
    assert "ERROR" not in log


@pytest.mark.lab
def test_sudo_allows_what_the_sudoers_file_lists_and_nothing_else(sudo_unit: Machine) -> None:
    told = dict(line.split(":\t", 1) for line in sudo_unit.ask("status")[1].splitlines() if ":\t" in line)
    assert told["Uid"].split() == ["64500"] * 4
    for command in ("ping", "mtr"):
        status, output = sudo_unit.ask(f"sudo/{command}/127.0.0.1")
        assert status == "success", output
    assert "password is required" not in sudo_unit.ask("sudo/birdc")[1]
    for command in ("free/birdc", "id"):
        status, output = sudo_unit.ask(f"sudo/{command}")
        assert status == "fail"
        assert "password is required" in output
        assert "uid=0" not in output
