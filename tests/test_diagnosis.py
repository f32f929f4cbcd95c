"""Broken set-ups, made for real: the first finding names the cause, and with its cure all is well."""

from __future__ import annotations

import errno
import json
import os
import pwd
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import webob

from lookingglass import cures, diagnosis, machine
from tests.ssh_server import SshServer
from tests.support import HERE, V1, Server, configuration, free_port, soon
from tests.test_watcher import NOBODY, nobodys_python

PROGRAM = [sys.executable, "-W", "ignore", str(HERE / "tinytracer.py")]
FAMILIES = {f"ipv{family}": machine.source(family) is not None for family in (4, 6)}
TRUE = {"true": {"cmd": ["true"]}}
PING = {"cmd4": ["ping", "-4", "-c", "1", "{{TARGET}}"], "cmd6": ["ping", "-6", "-c", "1", "{{TARGET}}"]}


class Report(NamedTuple):
    """Hold what a check has found, notes apart."""

    status: int
    findings: list[dict[str, str]]
    notes: list[dict[str, str]]
    runs: list[dict[str, Any]]

    @property
    def first(self) -> dict[str, str]:
        return self.findings[0]


def check(
    config: Path, *options: str, within: Sequence[str] = (), program: Sequence[str] = PROGRAM
) -> Report:
    argv = [*within, *program, "check", "--json", "--config", str(config), *options]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, cwd=HERE)
    assert "Traceback" not in done.stderr, done.stderr
    document = json.loads(done.stdout)
    found = document["findings"]
    assert done.returncode == document["status"]
    notes = [each for each in found if each["severity"] == "note"]
    return Report(
        done.returncode, [each for each in found if each["severity"] != "note"], notes, document["runs"]
    )


def write(folder: Path, **document: Any) -> Path:
    return configuration(folder, **{"capabilities": FAMILIES, "commands": TRUE, **document})


def told_to_write(config: Path, cure: str) -> None:
    """Edit the file as a cure says."""
    match = re.match(rf'in {re.escape(str(config))} write ("\w+": (?:"[^"]*"|[\w{{}}": ,]+))', cure)
    assert match, cure
    document = json.loads(config.read_text())
    new = json.loads(f"{{{match[1].rstrip(', ')}}}")
    for key, value in new.items():
        document[key] = {**document.get(key, {}), **value} if isinstance(value, dict) else value
    config.write_text(json.dumps(document))


def sh(command: str, *within: str) -> None:
    subprocess.run([*within, "sh", "-ec", command], check=True, timeout=60, capture_output=True)


def well(report: Report) -> bool:
    assert report.findings == []
    return report.status == 0


def test_what_is_well_is_said_to_be(tmp_path: Path) -> None:
    assert well(check(write(tmp_path)))
    done = subprocess.run(
        [*PROGRAM, "check", "--config", str(write(tmp_path))], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("nothing is wrong with this machine.\n")


def test_what_is_wrong_is_marked_and_notes_are_not(tmp_path: Path) -> None:
    config = write(tmp_path, trustproxy=True)
    config.chmod(0o666)
    done = subprocess.run(
        [*PROGRAM, "check", "--config", str(config)], capture_output=True, text=True, check=False
    )
    assert [line.startswith("WARNING: ") for line in done.stderr.splitlines()] == [True, False] * 2
    assert done.stdout.startswith("store: ")
    assert "WARNING: " not in done.stdout.removesuffix(f"{diagnosis.NOT_WELL}\n")
    config.write_text("{")
    done = subprocess.run(
        [*PROGRAM, "check", "--config", str(config)], capture_output=True, text=True, check=False
    )
    assert done.stderr.startswith(f"ERROR: {config}: line 1 column 2: ")
    assert done.stdout == f"{diagnosis.NOT_WELL}\n"


def test_reader_of_a_check_who_leaves_early_sees_no_traceback(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    argv = [*PROGRAM, "check", "--config", str(write(tmp_path))]
    done = subprocess.run(argv, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


# --- the file itself


@pytest.mark.parametrize(
    ("wrong", "told", "mend"),
    [
        (b'{"commands": {"true": {"cmd": ["true"],}}}', "line 1 column 39: the comma", (b",}}", b"}}")),
        (
            b'{\n// why\n"commands": {"true": {"cmd": ["true"]}}}',
            "line 2 column 1: JSON has no comments",
            (b"// why", b""),
        ),
        (b'\xef\xbb\xbf{"commands": {"true": {"cmd": ["true"]}}}', "byte order mark", (b"\xef\xbb\xbf", b"")),
        (b'{"commands": {"true": {"cmd": ["true"]}}', "a bracket is not closed", (b"]}}", b"]}}}")),
        (b'{"commandz": {"true": {"cmd": ["true"]}}}', "did you mean commands?", (b"commandz", b"commands")),
        (b'{"commands": {"true": {"cmd": "true; id"}}}', "';' needs a shell", (b"; id", b"")),
    ],
)
def test_mistake_in_the_file_is_an_error(
    tmp_path: Path, wrong: bytes, told: str, mend: tuple[bytes, bytes]
) -> None:
    config = tmp_path / "config.json"
    config.write_bytes(wrong)
    report = check(config)
    assert report.status == 2
    assert told in report.first["cause"]
    config.write_bytes(wrong.replace(*mend))
    assert check(config).status != 2


def test_file_that_everybody_may_write(tmp_path: Path) -> None:
    config = write(tmp_path)
    config.chmod(0o666)
    report = check(config)
    assert report.status == 1
    assert report.first["path"] == str(config)
    sh(report.first["cure"])
    assert well(check(config))


def test_file_that_is_not_there(tmp_path: Path) -> None:
    report = check(tmp_path / "none.json")
    assert report.status == 2
    assert "No such file" in report.first["cause"]
    sh(report.first["cure"])
    assert check(tmp_path / "none.json").status < 2


# --- programs


def test_program_that_may_not_be_executed(tmp_path: Path) -> None:
    program = tmp_path / "tool"
    program.write_text("#!/bin/sh\n")
    config = write(tmp_path, commands={"x": {"cmd": [str(program)]}, "y": {"cmd": [str(program), "y"]}})
    report = check(config)
    assert report.status == 1
    assert report.first["path"] == "commands.x.cmd"
    assert f"{program} may not be executed by " in report.first["cause"]
    sh(report.first["cure"])
    assert well(check(config))


class Space:
    """Namespaces of mounts and network, which commands can be run in one after the other."""

    def __init__(self, *kinds: str) -> None:
        self._holder = subprocess.Popen(["unshare", *(f"--{kind}" for kind in kinds), "sleep", "600"])
        pid = self._holder.pid
        assert soon(lambda: all(self._is_other(kind) for kind in kinds))
        self.enter = ["nsenter", "-t", str(pid), *(f"--{kind}" for kind in kinds)]

    def _is_other(self, kind: str) -> bool:
        name = {"mount": "mnt"}.get(kind, kind)
        ours, theirs = (os.readlink(f"/proc/{pid}/ns/{name}") for pid in ("self", self._holder.pid))
        return ours != theirs

    def end(self) -> None:
        self._holder.kill()
        self._holder.wait()


@pytest.fixture
def space() -> Iterator[Callable[..., Space]]:
    made: list[Space] = []

    def make(*kinds: str) -> Space:
        made.append(Space(*kinds))
        return made[-1]

    yield make
    for each in made:
        each.end()


@pytest.mark.lab
def test_program_that_is_missing_comes_with_its_package(tmp_path: Path, space: Callable[..., Space]) -> None:
    config = write(
        tmp_path, commands={"mtr": {"cmd": ["mtr", "-c", "1", "{{TARGET}}"], "argument": "address"}}
    )
    enter = space("mount").enter
    (tmp_path / "up").mkdir()
    (tmp_path / "work").mkdir()
    sh(f"mount -t tmpfs none {tmp_path}/work && mkdir {tmp_path}/work/up {tmp_path}/work/work", *enter)
    sh(f"cp -a /usr/bin/mtr {tmp_path}/work/", *enter)
    options = f"lowerdir=/usr/bin,upperdir={tmp_path}/work/up,workdir={tmp_path}/work/work"
    sh(f"mount -t overlay -o {options} none /usr/bin && rm /usr/bin/mtr", *enter)
    report = check(config, within=enter)
    assert report.status == 1
    assert report.first["path"] == "commands.mtr.cmd"
    assert "there is no program 'mtr' in any of /usr/local/sbin:" in report.first["cause"]
    package = report.first["cure"].removeprefix("apt install ")
    listed = subprocess.run(["dpkg", "-L", package], capture_output=True, text=True, check=True).stdout
    assert "/usr/bin/mtr" in listed.splitlines()  # so it is what the cure brings back
    sh(f"cp -a {tmp_path}/work/mtr /usr/bin/", *enter)
    assert well(check(config, within=enter))


@pytest.mark.lab
def test_program_that_is_elsewhere(
    tmp_path: Path, space: Callable[..., Space], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{tmp_path}")
    config = write(tmp_path, commands={"x": {"cmd": ["tool"]}})
    enter = space("mount").enter
    sh("mount -t tmpfs none /usr/local/bin", *enter)
    report = check(config, within=enter)
    assert f"'tool' is {tmp_path}/tool, which is in none of the folders" in report.first["cause"]
    sh(report.first["cure"], *enter)
    assert well(check(config, within=enter))


@pytest.mark.lab
def test_script_that_a_command_set_needs(tmp_path: Path, space: Callable[..., Space]) -> None:
    commands = {"bgp": {"cmd": ["birdlg", "-s", "", "x"], "argument": "none"}}
    config = write(tmp_path, commands=commands)
    enter = space("mount").enter
    sh("mount -t tmpfs none /usr/local/bin", *enter)
    report = check(config, within=enter)
    assert "there is no program 'birdlg'" in report.first["cause"]
    sh(report.first["cure"], *enter)
    assert well(check(config, within=enter))


def test_packages_are_those_that_have_the_programs() -> None:
    known = 0
    for program, package in cures.PACKAGES.items():
        if machine.found(program):
            argv = ["dpkg", "-S", f"*bin/{program}"]
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                known += 1
                owners = {line.partition(":")[0] for line in done.stdout.splitlines()}
                assert package in owners, program
    assert known >= 10


# --- rights


class Anybody(NamedTuple):
    """A user without rights, and TinyTracer as that user runs it."""

    folder: Path
    within: list[str]
    program: list[str]


@pytest.fixture
def anybody() -> Iterator[Anybody]:
    """Yield an ordinary user with a folder that is readable."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        packages = str(Path(webob.__file__).parent.parent)
        environ = ["env", f"PYTHONPATH={packages}", "PYTHONDONTWRITEBYTECODE=1"]
        within = [*NOBODY, *environ]
        yield Anybody(folder, within, [nobodys_python(), "-W", "ignore", str(HERE / "tinytracer.py")])


@pytest.fixture
def ping(anybody: Anybody) -> Path:
    """Return the configuration of a ping that has lost its capability."""
    shutil.copy(shutil.which("ping", path=machine.PATH) or "", anybody.folder / "ping")
    argv = [str(anybody.folder / "ping"), "-c", "1", "{{TARGET}}"]
    document = {"commands": {"ping": {"cmd": argv, "argument": "address"}}}
    return write(anybody.folder, **document)


@pytest.mark.lab
def test_ping_without_its_capability(anybody: Anybody, ping: Path, space: Callable[..., Space]) -> None:
    enter = routed(space("net"))
    sh("sysctl -qw net.ipv4.ping_group_range='1 0'", *enter)
    only4(ping)
    within = [*enter, *anybody.within]
    report = check(ping, within=within, program=anybody.program)
    assert report.status == 1
    assert "may not open raw sockets" in report.first["cause"]
    assert report.first["cure"] == f"setcap cap_net_raw+ep {anybody.folder}/ping"
    sh(report.first["cure"])
    assert well(check(ping, within=within, program=anybody.program))


@pytest.mark.lab
def test_ping_where_capabilities_do_not_count(
    anybody: Anybody, ping: Path, space: Callable[..., Space]
) -> None:
    enter = routed(space("net"))
    sh("sysctl -qw net.ipv4.ping_group_range='1 0'", *enter)
    only4(ping)
    within = [*enter, "setpriv", "--no-new-privs", *anybody.within]
    report = check(ping, within=within, program=anybody.program)
    assert "a process without new privileges gets no file capabilities" in report.first["cause"]
    sh(report.first["cure"], *enter)
    assert well(check(ping, within=within, program=anybody.program))


def only4(config: Path) -> None:
    document = json.loads(config.read_text())
    config.write_text(json.dumps({**document, "capabilities": {"ipv6": False}}))


def routed(space: Space) -> list[str]:
    """Give a network namespace addresses and routes, that lead nowhere."""
    sh(
        "ip link set lo up; ip tuntap add d0 mode tap; ip link set d0 up; ip addr add 192.0.2.7/24 dev d0; "
        "ip route add default via 192.0.2.1",
        *space.enter,
    )
    return space.enter


# --- the network


@pytest.mark.lab
def test_loopback_that_is_down(tmp_path: Path, space: Callable[..., Space]) -> None:
    commands = {"ping": {"cmd": ["ping", "-c", "1", "{{TARGET}}"], "argument": "address"}}
    config = write(tmp_path, commands=commands, capabilities={"ipv6": False})
    enter = routed(space("net"))
    sh("ip link set lo down", *enter)
    report = check(config, within=enter)
    assert "the interface lo is down" in report.first["cause"]
    sh(report.first["cure"], *enter)
    assert well(check(config, within=enter))


@pytest.mark.lab
@pytest.mark.parametrize("command", ["ping", "true"])
def test_family_that_the_machine_has_not(tmp_path: Path, space: Callable[..., Space], command: str) -> None:
    commands = {"ping": {**PING, "argument": "address"}, "true": {"cmd": ["true"]}}
    config = write(tmp_path, commands={command: commands[command]}, capabilities={})
    enter = routed(space("net"))
    sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1", *enter)
    report = check(config, within=enter)
    assert report.status == 1
    assert "IPv6" in report.first["cause"]
    told_to_write(config, report.first["cure"])
    assert well(check(config, within=enter))


@pytest.mark.lab
def test_machine_without_any_route(tmp_path: Path, space: Callable[..., Space]) -> None:
    config = write(tmp_path, capabilities={"ipv6": False})
    enter = routed(space("net"))
    sh("ip route del default", *enter)
    report = check(config, within=enter)
    assert "no default route for IPv4" in report.first["cause"]
    assert "a default route" in report.first["cure"]
    sh("ip route add default via 192.0.2.1", *enter)
    assert well(check(config, within=enter))


@pytest.mark.lab
def test_names_that_nobody_resolves(tmp_path: Path, space: Callable[..., Space]) -> None:
    commands = {"look": {"cmd": ["echo", "{{TARGET}}"], "argument": "host"}}
    config = write(tmp_path, commands=commands, capabilities={"ipv6": False})
    enter = routed(space("mount", "net"))
    resolver = tmp_path / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.9\n")
    sh(f"mount --bind {resolver} /etc/resolv.conf", *enter)
    report = check(config, within=enter)
    assert report.status == 1
    assert "names are not resolved" in report.first["cause"]
    assert "nameserver 127.0.0.9" in report.first["cause"]
    assert report.first["cure"].startswith("in /etc/resolv.conf write: nameserver ADDRESS")
    options = ["--no-resolv", "--no-hosts", "--keep-in-foreground", "--local=/#/", "--pid-file="]
    where = ["--listen-address=127.0.0.53", "--bind-interfaces", "--user=root", "--conf-file=/dev/null"]
    dnsmasq = shutil.which("dnsmasq", path=machine.PATH)
    assert dnsmasq
    with subprocess.Popen([*enter, dnsmasq, *options, *where]) as server:
        try:
            resolver.write_text(report.first["cure"].partition("write: ")[2].replace("ADDRESS", "127.0.0.53"))
            time.sleep(0.5)
            resolver.write_text("nameserver 127.0.0.53\n")
            assert well(check(config, within=enter))
        finally:
            server.terminate()


# --- routers behind ssh

SSH = """
Host *
  HostName {address}
  Port {port}
  User {user}
  IdentityFile {folder}/key
  UserKnownHostsFile {folder}/known
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
  IdentitiesOnly yes
  BatchMode yes
  ConnectTimeout 5
  LogLevel ERROR
  RequestTTY force
"""


class Far(SshServer):
    """A router: an sshd on loopback."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        super().__init__(folder, "127.0.0.1", self.port, SSH, ("key", "other"))
        (folder / "known").write_text(f"[127.0.0.1]:{self.port} {self.public('host')}")
        (folder / "authorized").write_text(self.public("key"))
        self.start()

    def write(self, **router: Any) -> Path:
        via = ["ssh", "-F", str(self.folder / "ssh.conf"), "fra1"]
        listed = [{"name": "fra1", "via": via, "commands": TRUE, **router}]
        path = self.folder / "config.json"
        path.write_text(json.dumps({"routers": listed}))
        return path


@pytest.fixture
def far() -> Iterator[Far]:
    with tempfile.TemporaryDirectory() as folder:
        far = Far(Path(folder))
        yield far
        far.remove()


@pytest.mark.lab
def test_router_that_is_well(far: Far) -> None:
    assert well(check(far.write()))
    report = check(far.write(), "--run")
    assert [(each["router"], each["command"], each["passed"]) for each in report.runs] == [
        ("fra1", "true", True),
        ("fra1", "true", True),
    ]
    assert report.runs[0]["argv"][:2] == ["ssh", "-F"]


@pytest.mark.lab
def test_router_whose_host_key_is_not_known(far: Far) -> None:
    (far.folder / "known").write_text("")
    report = check(far.write())
    assert report.status == 1
    assert report.first["path"] == "routers.fra1"
    assert "its host key is not in" in report.first["cause"]
    sh(report.first["cure"])
    assert well(check(far.write()))


@pytest.mark.lab
def test_router_whose_host_key_has_changed(far: Far) -> None:
    other = (far.folder / "other.pub").read_text()
    (far.folder / "known").write_text(f"[127.0.0.1]:{far.port} {other}")
    report = check(far.write())
    assert "its host key is another one" in report.first["cause"]
    sh(report.first["cure"])
    assert well(check(far.write()))


@pytest.mark.lab
def test_router_that_does_not_accept_the_key(far: Far) -> None:
    shutil.copy(far.folder / "other.pub", far.folder / "authorized")
    report = check(far.write())
    assert f"{far.user}@127.0.0.1 does not accept the key" in report.first["cause"]
    told = re.match(r"add the line in (\S+) to \.ssh/authorized_keys of ", report.first["cure"])
    assert told
    with (far.folder / "authorized").open("a") as file:
        file.write(Path(told[1]).read_text())
    assert well(check(far.write()))


@pytest.mark.lab
def test_ssh_config_that_is_not_there_or_has_a_mistake(far: Far) -> None:
    file = far.folder / "ssh.conf"
    text = file.read_text()
    file.unlink()
    report = check(far.write())
    assert f"Can't open user config file {file}: No such file" in report.first["cause"]
    assert report.first["cure"].startswith("write this file: a Host for each router")
    file.write_text(f"{text}HostNam 192.0.2.1\n")
    report = check(far.write())
    line = len(text.splitlines()) + 1
    assert f"{file}: line {line}: Bad configuration option: hostnam" in report.first["cause"]
    assert report.first["cure"].startswith("correct this line")
    file.write_text(text)
    assert well(check(far.write()))


@pytest.mark.lab
def test_folder_of_the_known_hosts_that_is_not_there(far: Far) -> None:
    with (far.folder / "ssh.conf").open("r+") as file:
        text = file.read().replace(f"{far.folder}/known", f"{far.folder}/new/known")
        file.seek(0)
        file.write(text)
    report = check(far.write())
    sh(report.first["cure"])
    assert well(check(far.write()))


@pytest.mark.lab
def test_private_key_that_is_not_there(far: Far) -> None:
    (far.folder / "key").unlink()
    (far.folder / "key.pub").unlink()
    report = check(far.write())
    assert f"there is no private key {far.folder}/key" in report.first["cause"]
    sh(report.first["cure"])
    report = check(far.write())
    assert "does not accept the key" in report.first["cause"]
    shutil.copy(far.folder / "key.pub", far.folder / "authorized")
    assert well(check(far.write()))


@pytest.mark.lab
def test_private_key_that_others_may_read(far: Far) -> None:
    (far.folder / "key").chmod(0o644)
    report = check(far.write())
    assert "others may read the private key" in report.first["cause"]
    sh(report.first["cure"])
    assert well(check(far.write()))


@pytest.mark.lab
@pytest.mark.parametrize("shell", ["/usr/sbin/nologin", "/bin/false"])
def test_account_without_a_shell(far: Far, shell: str) -> None:
    subprocess.run(["usermod", "-s", shell, far.user], check=True)
    report = check(far.write())
    assert f"{far.user} has no shell there" in report.first["cause"]
    sh(report.first["cure"])
    assert well(check(far.write()))


@pytest.mark.lab
def test_program_that_is_not_on_the_routers_path(far: Far) -> None:
    config = far.write(commands={"status": {"cmd": ["birdc", "-r", "show status"]}})
    with (far.folder / "sshd.conf").open("a") as file:
        file.write("SetEnv PATH=/usr/bin:/bin\n")
    far.stop()
    far.start()
    report = check(config)
    assert f"birdc is not on the PATH of {far.user} there, but in /usr/sbin" in report.first["cause"]
    told = re.fullmatch(r"in sshd_config there, below `(Match .*)`, write: (SetEnv .*)", report.first["cure"])
    assert told
    text = (far.folder / "sshd.conf").read_text().replace("SetEnv PATH=/usr/bin:/bin\n", "")
    (far.folder / "sshd.conf").write_text(f"{text}{told[1]}\n  {told[2]}\n")
    far.stop()
    far.start()
    assert well(check(config))


@pytest.mark.lab
def test_program_that_the_router_has_not(far: Far) -> None:
    config = far.write(commands={"look": {"cmd": ["dig", "example"]}})
    report = check(config)
    assert "there is no dig there" in report.first["cause"]
    assert report.first["cure"] == "apt install bind9-dnsutils"


@pytest.mark.lab
def test_router_where_nothing_listens(far: Far) -> None:
    far.stop()
    report = check(far.write())
    assert f"nothing listens at 127.0.0.1 port {far.port}" in report.first["cause"]
    assert report.first["cure"].startswith("systemctl start ssh  #")
    far.start()
    assert well(check(far.write()))


@pytest.mark.lab
def test_router_without_a_shell_of_posix_is_asked_for_nothing_more(far: Far) -> None:
    key = (far.folder / "key.pub").read_text()
    (far.folder / "authorized").write_text(
        f'command="echo unknown command: $SSH_ORIGINAL_COMMAND; exit 1" {key}'
    )
    assert well(check(far.write(remote="cli")))
    (far.folder / "known").write_text("")
    assert "its host key is not in" in check(far.write(remote="cli")).first["cause"]


# --- daemons


@pytest.mark.lab
def test_daemon_that_does_not_run_and_then_may_not_be_asked(anybody: Anybody) -> None:
    where = anybody.folder / "bird.ctl"
    argv = ["birdc", "-r", "-s", str(where), "show", "status"]
    config = write(anybody.folder, commands={"status": {"cmd": argv}})
    user = f"bird{os.getpid()}"
    subprocess.run(["useradd", "--no-create-home", user], check=True)
    within = [
        "setpriv",
        f"--reuid={user}",
        f"--regid={user}",
        "--init-groups",
        *anybody.within[len(NOBODY) :],
    ]
    (anybody.folder / "bird.conf").write_text("router id 192.0.2.1;\nprotocol device {}\n")
    bird = shutil.which("bird", path=machine.PATH)
    assert bird
    process = None
    try:
        report = check(config, within=within, program=anybody.program)
        assert f"BIRD does not listen at {where}" in report.first["cause"]
        assert report.first["cure"] == "systemctl start bird"
        options = ["-f", "-c", str(anybody.folder / "bird.conf"), "-s", str(where)]
        process = subprocess.Popen([bird, *options, "-P", str(anybody.folder / "pid")])
        assert soon(where.exists)
        shutil.chown(where, group="bird")
        where.chmod(0o660)
        report = check(config, within=within, program=anybody.program)
        assert f"{user} may not ask BIRD at {where}" in report.first["cause"]
        systemds = [
            "setpriv",
            "--reuid=64999",
            "--regid=64999",
            "--clear-groups",
            *anybody.within[len(NOBODY) :],
        ]
        of_systemd = check(config, within=systemds, program=anybody.program)
        assert of_systemd.first["cure"] == "in the unit write: SupplementaryGroups=bird"
        sh(report.first["cure"])
        assert well(check(config, within=within, program=anybody.program))
    finally:
        if process:
            process.terminate()
            process.wait()
        subprocess.run(["userdel", user], check=True, capture_output=True)


# --- keys that belong together


def test_https_without_a_trusted_proxy_and_the_other_way_round(tmp_path: Path) -> None:
    config = write(tmp_path, host="https://lg.example.net/")
    report = check(config)
    assert report.first["path"] == "trustproxy"
    told_to_write(config, report.first["cure"])
    assert well(check(config))
    config = write(tmp_path, trustproxy=True)
    report = check(config)
    assert report.first["path"] == "host"
    told_to_write(config, report.first["cure"])
    assert well(check(config))


def test_fewer_files_than_there_may_be_viewers(tmp_path: Path) -> None:
    config = write(tmp_path)
    report = check(config, within=["prlimit", "--nofile=256:256"])
    assert report.status == 1
    assert "256 files may be open" in report.first["cause"]
    cure = report.first["cure"].partition("#")[0]
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] > 256
    assert well(check(config, within=["sh", "-c", f'{cure}\nexec "$@"', "sh"]))


# Has the kernel answer pidfd_open (its number is the same everywhere but on Alpha) with an error for what it
# executes then: seccomp(2), filters of four instructions.
FORBIDDING = """
import ctypes, os, struct, sys
rows = (0x20, 0, 0, 0), (0x15, 0, 1, 434), (0x06, 0, 0, 0x50000 | int(sys.argv[1])), (0x06, 0, 0, 0x7fff0000)
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in rows))
program = ctypes.create_string_buffer(struct.pack("HP", len(rows), ctypes.addressof(code)))
prctl = ctypes.CDLL(None).prctl
if prctl(38, 1, 0, 0, 0) or prctl(22, 2, program, 0, 0):
    sys.exit("no filter")
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOSYS, f"update Linux to 5.3 or newer (this is {os.uname().release})"),  # older than that
        (errno.EPERM, "update Docker to 20.10 or newer"),
    ],
)
def test_machine_on_which_nobody_can_wait_for_the_end_of_a_command(
    tmp_path: Path, number: int, cure: str
) -> None:
    config, port = write(tmp_path), free_port()
    within = [sys.executable, "-c", FORBIDDING, str(number)]
    report = check(config, within=within)
    assert report.status == 2
    assert report.first["severity"] == "error"
    assert os.strerror(number) in report.first["cause"]
    assert cure in report.first["cure"]
    assert well(check(config))
    server = Server([*within, *PROGRAM, "--config", str(config), "--listen", f"127.0.0.1:{port}"], port)
    try:
        server.wait_until_ready()
        status, headers, _ = server.get(f"{V1}/true")
        envelope = server.json(f"{V1}/true")
        assert (status, headers["Retry-After"]) == (503, "5")
        assert envelope["message"].startswith("This looking glass lacks something")
        assert envelope["data"]["failure_source"] == "glass"
        assert not server.children()
    finally:
        server.process.terminate()
        told = server.process.communicate(timeout=60)[1]
    assert f"cannot run 'true': {report.first['cause']}; {report.first['cure']}\n" in told


@pytest.mark.lab
def test_store_in_a_folder_that_may_not_be_written(anybody: Anybody) -> None:
    folder = anybody.folder / "run"
    folder.mkdir(mode=0o755)
    config = write(anybody.folder, store=f"sqlite:{folder}/limits.db")
    report = check(config, within=anybody.within, program=anybody.program)
    assert report.status == 2
    assert report.first["path"] == "store"
    assert "may not write there" in report.first["cause"]
    assert report.first["cure"] == f"chown {pwd.getpwuid(65534).pw_name} {folder}"
    sh(report.first["cure"])
    assert well(check(config, within=anybody.within, program=anybody.program))


def test_store_whose_server_does_not_run(tmp_path: Path) -> None:
    port = free_port()
    config = write(tmp_path, store=f"redis://127.0.0.1:{port}")
    report = check(config)
    assert report.status == 2
    assert "the server of limits does not answer" in report.first["cause"]
    assert "redis-server" in report.first["cure"]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL) as server:
        try:
            time.sleep(0.5)
            assert soon(lambda: check(config).status == 0)
        finally:
            server.terminate()


@pytest.mark.lab
def test_test_files_that_may_not_be_read(anybody: Anybody) -> None:
    folder = anybody.folder / "files"
    folder.mkdir(mode=0o700)
    config = write(anybody.folder, testfiles=str(folder))
    report = check(config, within=anybody.within, program=anybody.program)
    assert report.first["path"] == "testfiles"
    sh(report.first["cure"])
    assert well(check(config, within=anybody.within, program=anybody.program))


@pytest.mark.lab
def test_words_of_the_operator_that_may_not_be_read(anybody: Anybody) -> None:
    words = anybody.folder / "my words.txt"
    words.write_text("x")
    words.chmod(0o600)
    config = write(anybody.folder, theme={"about": words.name})
    report = check(config, within=anybody.within, program=anybody.program)
    assert (report.status, report.first["path"]) == (2, "theme.about")
    cause, _, cure = report.first["cause"].partition("; ")
    assert cause == f"{words} cannot be read: Permission denied"
    sh(cure)
    assert well(check(config, within=anybody.within, program=anybody.program))


# --- what is told besides


def notes(report: Report, check: str) -> list[str]:
    return [each["cause"] for each in report.notes if each["check"] == check]


def test_commands_that_send_packets_are_listed(tmp_path: Path) -> None:
    commands = {
        "ping": {**PING, "argument": "address"},
        "show route": {"cmd": ["ip", "route", "get", "{{TARGET}}"], "argument": "addr"},
        "odd": {"cmd": ["true", "{{TARGET}}"], "argument": "addr"},
    }
    told = notes(check(write(tmp_path, commands=commands)), "probing")
    assert "these send packets to their target: ping, odd" in told
    assert "these only read tables: show route" in told
    assert "odd counts as sending packets, for its program is not known" in told


def test_what_a_running_server_would_change_is_told(tmp_path: Path) -> None:
    config = write(tmp_path)
    assert "there is nothing to compare it with" in notes(check(config), "changes")[0]
    port = free_port()
    server = Server([*PROGRAM, "--config", str(config), "--listen", f"127.0.0.1:{port}"], port)
    try:
        server.wait_until_ready()
        number = f"the server with the process number {server.process.pid} runs with this file. "
        assert notes(check(config), "changes") == [f"{number}Nothing has changed."]
        write(tmp_path, debug=True, commands={**TRUE, "false": {"cmd": ["false"]}})
        report = check(config)
        (told,) = notes(report, "changes")
        assert told.startswith(f"{number}Changed: debug, routers.")
        assert told.endswith(".commands.false.")
        assert report.status == 0
        sh(next(each["cure"] for each in report.notes if each["check"] == "changes"))
        assert soon(lambda: notes(check(config), "changes") == [f"{number}Nothing has changed."])
    finally:
        server.stop()


@pytest.mark.lab
@pytest.mark.parametrize("way", ["clone", "module", "program", "one file", "known"])
def test_root_is_told_the_command_that_checks_as_another_user(
    anybody: Anybody, pyz: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The cure works as printed, from any folder, however this program was called."""
    config = write(anybody.folder)
    monkeypatch.setenv("PYTHONPATH", anybody.within[-2].partition("=")[2] + f":{HERE}")
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    file = Path(shutil.copy(pyz, anybody.folder / "glass.pyz"))
    script = anybody.folder / "lg"
    script.write_text(f"#!{anybody.program[0]}\nimport sys, tinytracer\nsys.exit(tinytracer.main())\n")
    script.chmod(0o755)
    program, said = {
        "clone": (anybody.program, f"{anybody.program[0]} -W ignore {HERE}/tinytracer.py"),
        "module": ([anybody.program[0], "-m", "tinytracer"], f"{anybody.program[0]} {HERE}/tinytracer.py"),
        "program": ([str(script)], str(script)),
        "one file": ([anybody.program[0], "-S", os.path.relpath(file, HERE)], str(file)),
        "known": (["lg"], "lg"),
    }[way]
    if way == "known":
        monkeypatch.setenv("PATH", f"{anybody.folder}:{os.environ['PATH']}")
    report = check(config, program=program)
    (note,) = [each for each in report.notes if each["check"] == "user"]
    assert note["cure"].endswith(f" -- {said} check --config {config}")
    done = subprocess.run(
        note["cure"], shell=True, cwd="/", capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "as root" not in done.stdout


@pytest.mark.lab
def test_root_is_told_nothing_where_the_service_is_roots(tmp_path: Path) -> None:
    config, port = write(tmp_path), free_port()
    assert notes(check(config), "user")
    server = Server([*PROGRAM, "--config", str(config), "--listen", f"127.0.0.1:{port}"], port)
    try:
        server.wait_until_ready()
        assert not notes(check(config), "user")
    finally:
        server.stop()


def test_machine_without_any_program_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TINYTRACER_CONFIG", raising=False)
    lacking = "from lookingglass import spawning; spawning.ENVIRONMENT['PATH'] = '/nowhere'"
    run = f"{lacking}; import sys, tinytracer; sys.exit(tinytracer.main(sys.argv[1:]))"
    for action, status in (["check"], 2), (["--listen", "127.0.0.1:0"], 1):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", run, *action],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(HERE)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == status
        assert "none of ping, traceroute, mtr, ip." in done.stderr
        assert done.stderr.endswith("\n    apt install iputils-ping traceroute mtr-tiny iproute2\n")


# --- every command


def test_every_command_is_asked_and_says_pass_or_fail_with_its_argv(tmp_path: Path) -> None:
    commands = {
        "good": {"cmd": ["echo", "{{TARGET}}"], "argument": "address"},
        "bad": {"cmd": ["sh", "-c", "echo no such thing; exit 3"]},
        "lookup": {
            "cmd": ["sh", "-c", "echo Network not found; exit 1"],
            "argument": "none",
            "probes": False,
        },
        "origin": {"cmd": ["echo", "as{{TARGET}}"], "argument": "asn"},
        "tagged": {"cmd": ["echo", "{{TARGET}}"], "argument": "community"},
        "vrf": {"cmd": ["echo", "{{VRF}}", "{{TARGET}}"], "argument": "addr"},
    }
    router = {"name": "lg", "vrfs": ["red"], "source4": "127.0.0.7", "commands": commands}
    limits = {"rate": "1/day", "burst": 1, "concurrent": 1}
    document = {"routers": [router], "capabilities": {"ipv6": False}, "limits": limits}
    config = tmp_path / "config.json"
    config.write_text(json.dumps(document))
    report = check(config, "--run")
    assert report.status == 1
    runs = {each["command"]: each for each in report.runs}
    assert {name: each["passed"] for name, each in runs.items()} == {
        **dict.fromkeys(commands, True),
        "bad": False,
    }
    assert runs["bad"]["why"] == "no such thing"
    assert runs["good"]["argv"] == ["echo", "127.0.0.7"]
    assert runs["origin"]["argv"] == ["echo", "as64496"]
    assert runs["vrf"]["argv"] == ["echo", "red", "127.0.0.7"]
    argv = [*PROGRAM, "check", "--run", "--config", str(config)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "PASS lg good IPv4: echo 127.0.0.7\n" in done.stdout
    assert done.stdout.endswith(f"{diagnosis.NOT_WELL}\n")
    assert "FAIL lg bad IPv4: sh -c 'echo no such thing; exit 3'  no such thing\n" in done.stdout
    assert "time=" not in done.stderr
