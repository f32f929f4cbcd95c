"""A router behind a real sshd, in the lab: live, one connection, stopped on both sides, and refused."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.lab.lab import Lab
from tests.ssh_server import SshServer
from tests.support import GENEROUS, PATIENT, Glass, commands_of, is_alive, lab_prefix, soon, soon_gone

pytestmark = pytest.mark.lab
ADDRESS = "198.51.100.2"  # of r1
# The first value of an option counts, so these come before what the README recommends.
SSH = """
Host stranger
  UserKnownHostsFile {folder}/none
Host r1 stranger
  IdentityFile {folder}/key
Host nos
  IdentityFile {folder}/cli
Host *
  HostName {address}
  User {user}
  UserKnownHostsFile {folder}/known
  GlobalKnownHostsFile none
  ControlPath {folder}/%n
"""
README = Path(__file__).parent.parent / "examples" / "routers" / "README.md"


def recommended() -> str:
    """Return the README's part of ssh_config, for every host."""
    lines = README.read_text().partition("    Host fra1\n")[2].partition("\n\n")[0].splitlines()
    assert len(lines) > 10
    own = ("IdentityFile", "ControlPath")
    return "\n".join(line for line in lines if not line.strip().startswith(own))


PING = ["ping", "-4", "-n", "-O", "-c", "5", "-i", "0.2", "{{TARGET}}"]
COMMANDS = {
    "ping": {"cmd4": PING, "parser": "ping"},
    "long": {"cmd4": ["ping", "-4", "-c", "1000", "{{TARGET}}"]},
    "silent": {"cmd": ["sleep", "1000"]},
    "quoted": {"cmd": ["printf", "%s|", "a b", "$HOME;id", "'x'"]},
    "both": {"cmd": ["sh", "-c", "echo out; echo err >&2; exit 3"]},
    "missing": {"cmd": ["no-such-program"]},
    "true": {"cmd": ["true"]},
}


class Remote(SshServer):
    """An sshd in r1, and the ways that lead there."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        super().__init__(folder, ADDRESS, 22, SSH, ("key", "cli"), lab.enter("r1"))
        self.lab = lab
        with (folder / "ssh.conf").open("a") as file:
            file.write(recommended())
        host = self.public("host")
        (folder / "known").write_text("".join(f"{name} {host}" for name in (ADDRESS, "r1", "nos")))
        cli = f'command="echo $SSH_ORIGINAL_COMMAND" {self.public("cli")}'
        (folder / "authorized").write_text(self.public("key") + cli)
        self.start()

    def connections(self) -> int:
        return self.log.read_text().count("Accepted publickey")

    def processes(self, name: str) -> list[int]:
        """Return the processes of a name that run for the account, on the router."""
        argv = ["ps", "-u", self.user, "-o", "pid=,comm="]
        listed = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.split()
        pairs = zip(listed[::2], listed[1::2], strict=True)
        return [int(pid) for pid, command in pairs if command == name and is_alive(int(pid))]

    def hang_up(self) -> None:
        """End the shared connections."""
        for name in ("r1", "stranger", "nos"):
            argv = ["ssh", "-F", str(self.folder / "ssh.conf"), "-O", "exit", name]
            subprocess.run(argv, capture_output=True, check=False)


@pytest.fixture(scope="module")
def remote() -> Iterator[Remote]:
    # The account has to read its keys, and pytest's own folders are root's alone.
    with tempfile.TemporaryDirectory() as folder, Lab(lab_prefix()) as lab:
        remote = Remote(lab, Path(folder))
        yield remote
        remote.hang_up()
        remote.remove()


@pytest.fixture(scope="module")
def glass(remote: Remote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Glass]:
    ssh = ["ssh", "-F", str(remote.folder / "ssh.conf")]
    cli = {"show bgp": {"cmd": ["show", "bgp ipv4", "{{TARGET}}", "| no-more"], "argument": "addr"}}
    config = tmp_path_factory.mktemp("glass") / "config.json"
    routers = [
        {"name": "r1.example", "via": [*ssh, "r1"], "commands": COMMANDS},
        {"name": "stranger.example", "via": [*ssh, "stranger"], "commands": COMMANDS},
        {"name": "nos.example", "via": [*ssh, "nos"], "remote": "cli", "commands": cli},
    ]
    config.write_text(json.dumps({"routers": routers, "limits": GENEROUS, "targets": {"deny": []}}))
    glass = Glass(remote.lab, config)
    yield glass
    glass.stop()


def wait_for(remote: Remote, name: str) -> list[int]:
    assert soon(lambda: remote.processes(name))
    return remote.processes(name)


def test_ping_through_a_router_is_live(glass: Glass) -> None:
    glass.ask("true")  # connects
    arrivals = glass.arrivals("ping/203.0.113.10", "icmp_seq=")
    assert len(arrivals) == 5
    assert arrivals[-1] - arrivals[0] > 0.5


def test_output_and_status_of_the_router_come_back(glass: Glass) -> None:
    status, data = glass.ask("ping/203.0.113.10")
    assert (status, data["router"], data["rate"]) == ("success", "r1.example", 100)
    assert not any("\r" in line for line in data["output"])
    status, data = glass.ask("both")
    assert (status, data["output"]) == ("fail", ["out", "err"])


def test_arguments_arrive_as_they_are(glass: Glass) -> None:
    _, data = glass.ask("quoted")
    assert data["output"] == ["a b|$HOME;id|'x'|"]


def test_network_operating_system_gets_the_words(glass: Glass) -> None:
    _, data = glass.ask("show/bgp/2001:DB8::/32?router=nos.example")
    assert data["output"] == ["show bgp ipv4 2001:db8::/32 | no-more"]


def test_hundred_runs_in_a_row_use_one_connection(glass: Glass, remote: Remote) -> None:
    glass.ask("true")
    before = remote.connections()
    for _ in range(100):
        assert glass.ask("true")[0] == "success"
    assert remote.connections() == before


@pytest.mark.parametrize(("path", "name"), [("long/203.0.113.10", "ping"), ("silent", "sleep")])
@pytest.mark.parametrize("accept", ["application/json", "text/plain"])
def test_stopped_run_leaves_no_process_on_either_side(
    glass: Glass, remote: Remote, path: str, name: str, accept: str
) -> None:
    glass.ask("true")
    argv = [*glass.lab.enter("lg"), "curl", "-sN", "-H", f"Accept: {accept}"]
    process = subprocess.Popen(
        [*argv, f"{glass.home}/.well-known/looking-glass/v1/{path}"], stdout=subprocess.DEVNULL
    )
    there = wait_for(remote, name)
    assert len(there) == 1
    process.terminate()
    process.wait()
    assert soon_gone(*there)
    assert soon(lambda: not commands_of(glass.process.pid))


def test_time_limit_holds_on_the_router_too(glass: Glass, remote: Remote) -> None:
    status, data = glass.ask("long/203.0.113.10?runtime=3")
    assert status == "error"
    assert any("icmp_seq=1" in line for line in data["data"]["output"])
    assert soon_gone(*remote.processes("ping"))


def test_program_that_the_router_lacks_is_502(glass: Glass) -> None:
    status, data = glass.ask("missing")
    assert (status, data["code"]) == ("error", 502)


def test_router_with_an_unknown_host_key_is_502_and_gets_no_command(glass: Glass, remote: Remote) -> None:
    before = remote.connections()
    status, data = glass.ask("true?router=stranger.example")
    assert (status, data["code"]) == ("error", 502)
    assert remote.connections() == before
    text = glass.get("true?router=stranger.example", "-H", "Accept: text/plain")
    for secret in (ADDRESS, "key", "ssh", remote.user):
        assert secret not in text + json.dumps(data)


def test_log_tells_the_operator_what_a_visitor_is_not_told(remote: Remote, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    via = ["ssh", "-F", str(remote.folder / "ssh.conf"), "stranger"]
    config.write_text(json.dumps({"routers": [{"name": "r9.example", "via": via, "commands": COMMANDS}]}))
    glass = Glass(remote.lab, config, port=8082)
    glass.ask("true")
    glass.process.terminate()
    _, log = glass.process.communicate(timeout=60)
    assert "Host key verification failed" in log
    assert "router=r9.example command=true outcome=unreachable status=502" in log
    assert 'message="The router could not be reached."' in log


def test_router_that_falls_silent_is_502_and_comes_back(glass: Glass, remote: Remote) -> None:
    glass.ask("true")
    silence = ["ip", "route", "{}", "blackhole", "198.51.100.1/32"]  # what r1 answers is lost
    started = time.monotonic()
    assert remote.lab.exec("r1", [word.format("add") for word in silence]).returncode == 0
    try:
        status, data = glass.ask("true")
    finally:
        remote.lab.exec("r1", [word.format("del") for word in silence])
    assert (status, data["code"]) == ("error", 502)
    assert time.monotonic() - started < 2 * PATIENT
    assert glass.ask("true")[0] == "success"


def test_router_that_is_down_is_502_within_the_time(glass: Glass, remote: Remote) -> None:
    remote.hang_up()
    remote.stop()
    started = time.monotonic()
    status, data = glass.ask("ping/203.0.113.10")
    assert time.monotonic() - started < PATIENT
    assert (status, data["code"]) == ("error", 502)
    assert ADDRESS not in json.dumps(data)
    remote.start()
    assert glass.ask("true")[0] == "success"
